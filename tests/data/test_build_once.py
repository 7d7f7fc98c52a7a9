import signal
import threading

import pytest

from tasks.text import build_once
from tests.support import recorded_progress


class StoppedError(Exception):
    pass


def make(folder, content='whole', damage='', progress=None):
    """Makes a folder with one file."""
    build_once.build_once(
        folder,
        lambda whole: (whole / 'file').write_text(content),
        lambda: damage if damage and (folder / 'file').read_text() == 'damaged' else '',
        progress or recorded_progress.Recorder(),
    )


def names(folder):
    """All that lies under a folder, but for its lock."""
    paths = (str(path.relative_to(folder)) for path in folder.rglob('*'))
    return sorted(path for path in paths if path != 'folder.lock')


@pytest.fixture
def other(tmp_path):
    """An event, up to which another thread is making a folder."""
    making, finish = threading.Event(), threading.Event()

    def build(whole):
        (whole / 'half').write_text('made')
        making.set()
        assert finish.wait(60)

    thread = threading.Thread(
        target=build_once.build_once, args=(tmp_path / 'folder', build), daemon=True
    )
    thread.start()
    assert making.wait(60)
    yield finish
    finish.set()
    thread.join()
    assert names(tmp_path) == ['folder', 'folder/half']


def test_a_folder_is_made_with_those_above_it(tmp_path):
    make(tmp_path / 'new' / 'folder')
    assert names(tmp_path / 'new') == ['folder', 'folder/file']


def test_one_that_is_whole_is_left_alone_without_a_lock(tmp_path, monkeypatch):
    make(tmp_path / 'folder', 'first')
    monkeypatch.setattr(build_once, '_only_process', None)  # it may lie where nobody may write
    make(tmp_path / 'folder', 'second')
    assert (tmp_path / 'folder' / 'file').read_text() == 'first'


def test_a_damaged_one_is_made_again_with_a_notice(tmp_path):
    progress = recorded_progress.Recorder()
    make(tmp_path / 'folder', 'damaged')
    (tmp_path / 'folder' / 'more').touch()
    make(tmp_path / 'folder', 'mended', 'it smells', progress)
    assert progress.lines == [f'{tmp_path / "folder"} is damaged (it smells): preparing it again']
    assert names(tmp_path) == ['folder', 'folder/file']
    assert (tmp_path / 'folder' / 'file').read_text() == 'mended'


def test_what_fails_leaves_nothing_and_frees_the_lock(tmp_path):
    def build(whole):
        (whole.parent / 'scratch').touch()
        raise StoppedError

    with pytest.raises(StoppedError):
        build_once.build_once(tmp_path / 'folder', build)
    assert names(tmp_path) == []
    progress = recorded_progress.Recorder()
    make(tmp_path / 'folder', progress=progress)
    assert progress.lines == []


def test_what_a_killed_process_leaves_is_taken_away(tmp_path):
    (tmp_path / 'folder.building' / 'whole').mkdir(parents=True)
    (tmp_path / 'folder.building' / 'whole' / 'half').touch()
    (tmp_path / 'folder.lock').touch()  # no one holds it
    make(tmp_path / 'folder')
    assert names(tmp_path) == ['folder', 'folder/file']


def test_others_wait_and_use_what_the_first_made(tmp_path, other):
    class Progress(recorded_progress.Recorder):
        def say(self, line):
            super().say(line)
            assert 'folder.building/whole/half' in names(tmp_path)
            other.set()

    progress = Progress()
    make(tmp_path / 'folder', 'second', progress=progress)
    assert progress.lines == [f'waiting for another process that prepares {tmp_path / "folder"}']
    assert names(tmp_path) == ['folder', 'folder/half']


def test_a_signal_ends_waiting_and_leaves_the_other_at_its_work(tmp_path, other):
    class Progress(recorded_progress.Recorder):
        def say(self, line):
            signal.setitimer(signal.ITIMER_REAL, 0.1)

    def stop(*_):
        raise StoppedError

    before = signal.signal(signal.SIGALRM, stop)
    with pytest.raises(StoppedError):
        make(tmp_path / 'folder', progress=Progress())
    signal.signal(signal.SIGALRM, before)
    assert 'folder.building/whole/half' in names(tmp_path)


def test_of_many_at_once_one_makes_it(tmp_path):
    made, whole = [], []

    def build(folder):
        made.append(folder)
        (folder / 'file').write_text('whole')

    def work():
        build_once.build_once(tmp_path / 'folder', build)
        whole.append((tmp_path / 'folder' / 'file').read_text())

    threads = [threading.Thread(target=work) for _ in range(7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert whole == ['whole'] * 7
    assert names(tmp_path) == ['folder', 'folder/file']
