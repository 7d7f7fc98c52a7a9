import os
import subprocess
import sys
import threading

import pytest

from tasks.text import build_once

# Makes the folder that it is given, says so, and goes on until its input is closed.
MAKER = """
import pathlib, sys
from tasks import build_once

def build(whole):
    (whole / 'half').write_text('made')
    print('making', flush=True)
    sys.stdin.read()

folder = pathlib.Path(sys.argv[1])
build_once.build_once(folder, build, lambda: '', print, lambda: None)
"""


class StoppedError(Exception):
    pass


def make(folder, content='whole', damage='', lines=None, check=lambda: None):
    """Makes a folder with one file."""
    build_once.build_once(
        folder,
        lambda whole: (whole / 'file').write_text(content),
        lambda: damage if damage and (folder / 'file').read_text() == 'damaged' else '',
        (lines if lines is not None else []).append,
        check,
    )


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*'))


@pytest.fixture
def other(tmp_path):
    """A process that is making a folder, until its input is closed."""
    command = [sys.executable, '-c', MAKER, str(tmp_path / 'folder')]
    pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True) as process:
        assert process.stdout.readline() == 'making\n'
        yield process


def test_a_folder_is_made_with_those_above_it(tmp_path):
    make(tmp_path / 'new' / 'folder')
    assert names(tmp_path) == ['new', 'new/folder', 'new/folder/file']


def test_one_that_is_whole_is_left_alone_without_a_lock(tmp_path, monkeypatch):
    make(tmp_path / 'folder', 'first')
    monkeypatch.setattr(build_once, '_only_process', None)  # it may lie where nobody may write
    make(tmp_path / 'folder', 'second')
    assert (tmp_path / 'folder' / 'file').read_text() == 'first'


def test_a_damaged_one_is_made_anew_with_a_notice(tmp_path):
    lines = []
    make(tmp_path / 'folder', 'damaged')
    (tmp_path / 'folder' / 'more').touch()
    make(tmp_path / 'folder', 'mended', 'it smells', lines)
    assert lines == [f'{tmp_path / "folder"} is damaged (it smells): preparing it anew']
    assert names(tmp_path) == ['folder', 'folder/file']
    assert (tmp_path / 'folder' / 'file').read_text() == 'mended'


def test_what_fails_leaves_nothing(tmp_path):
    def build(whole):
        (whole.parent / 'scratch').touch()
        raise StoppedError

    with pytest.raises(StoppedError):
        build_once.build_once(tmp_path / 'folder', build, str, print, lambda: None)
    assert names(tmp_path) == []


def test_what_a_killed_process_leaves_is_taken_away(tmp_path, other):
    other.kill()
    other.communicate()
    left = ['folder.building', 'folder.building/whole', 'folder.building/whole/half', 'folder.lock']
    assert names(tmp_path) == left
    make(tmp_path / 'folder')
    assert names(tmp_path) == ['folder', 'folder/file']


def test_others_wait_say_so_once_and_use_what_the_first_made(tmp_path, other):
    lines, checks = [], []

    def check():
        if len(checks) < 3:
            checks.append(names(tmp_path))
        else:
            other.stdin.close()

    make(tmp_path / 'folder', 'second', '', lines, check)
    assert lines == [f'waiting for another process that prepares {tmp_path / "folder"}']
    assert all('folder.building/whole/half' in found for found in checks)
    assert names(tmp_path) == ['folder', 'folder/half']
    assert other.wait() == 0


def test_waiting_can_be_stopped_and_leaves_the_other_at_its_work(tmp_path, other):
    def check():
        raise StoppedError

    with pytest.raises(StoppedError):
        make(tmp_path / 'folder', check=check)
    other.communicate()
    assert other.returncode == 0
    assert names(tmp_path) == ['folder', 'folder/half']


def test_of_many_at_once_one_makes_it(tmp_path):
    made, whole = [], []

    def build(folder):
        made.append(folder)
        (folder / 'file').write_text('whole')

    def work():
        build_once.build_once(tmp_path / 'folder', build, str, str, lambda: None)
        whole.append((tmp_path / 'folder' / 'file').read_text())

    threads = [threading.Thread(target=work) for _ in range(7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert whole == ['whole'] * 7
    assert names(tmp_path) == ['folder', 'folder/file']


def test_a_lock_that_was_deleted_meanwhile_is_not_taken(tmp_path, monkeypatch):
    lock = tmp_path / 'folder.lock'
    flock = build_once.fcntl.flock

    def late(file, operation):
        flock(file, operation)
        os.unlink(lock)  # by the process that held it

    monkeypatch.setattr(build_once.fcntl, 'flock', late)
    assert build_once._take(lock) is None
    monkeypatch.undo()
    with build_once._take(lock):
        assert build_once._take(lock) is None
