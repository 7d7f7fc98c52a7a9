import os
import resource
import subprocess
import sys
import textwrap

import filelock
import pytest

from tasks import storage


def test_a_file_is_replaced_and_nothing_else_stays(tmp_path):
    storage.write_text(tmp_path / 'file', 'old, and longer')
    storage.write_text(tmp_path / 'file', 'new\r\né\u2028')
    assert (tmp_path / 'file').read_bytes() == 'new\r\né\u2028'.encode()
    assert os.listdir(tmp_path) == ['file']


@pytest.mark.parametrize('name', ['fsync', 'replace'])
def test_a_reader_finds_the_old_text_until_the_new_one_is_on_the_disk(tmp_path, monkeypatch, name):
    def stop(*arguments):
        raise OSError(28, 'No space left on device')

    storage.write_text(tmp_path / 'file', 'old')
    monkeypatch.setattr(os, name, stop)
    with pytest.raises(OSError, match='No space left'):
        storage.write_text(tmp_path / 'file', 'new')
    monkeypatch.undo()
    assert (tmp_path / 'file').read_text() == 'old'
    assert os.listdir(tmp_path) == ['file']


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path):
    target, path = tmp_path / 'target', tmp_path / 'file'
    target.write_text('precious')
    path.symlink_to(target)
    (tmp_path / f'file.{os.getpid()}.tmp').symlink_to(target)
    storage.write_text(path, 'new')
    assert (path.read_text(), path.is_symlink(), target.read_text()) == ('new', False, 'precious')
    assert sorted(os.listdir(tmp_path)) == ['file', 'target']


def test_a_pipe_is_written_to(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    reader = os.open(tmp_path / 'pipe', os.O_RDONLY | os.O_NONBLOCK)
    storage.write_text(tmp_path / 'pipe', 'text')
    assert os.read(reader, 9) == b'text'
    os.close(reader)
    assert os.listdir(tmp_path) == ['pipe']


def test_a_record_is_added_whole_or_not_at_all(tmp_path):
    with open(tmp_path / 'file', 'ab', buffering=0) as file:
        storage.append(file, b'one\n')
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (6, before[1]))
        with pytest.raises(OSError, match='File too large'):
            storage.append(file, b'two\n')
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert (tmp_path / 'file').read_bytes() == b'one\n'
        storage.append(file, b'three\n')
    assert (tmp_path / 'file').read_bytes() == b'one\nthree\n'


def test_one_holds_a_folder_at_a_time(tmp_path):
    for _ in range(2):
        with (
            storage.lock_folder(tmp_path),
            pytest.raises(filelock.Timeout),
            storage.lock_folder(tmp_path),
        ):
            pass


def test_file_and_folder_reach_the_disk_in_this_order(tmp_path, monkeypatch):
    events, fsync, replace = [], os.fsync, os.replace

    def record_fsync(descriptor):
        events.append(os.path.basename(os.readlink(f'/proc/self/fd/{descriptor}')))
        fsync(descriptor)

    def record_replace(*arguments):
        events.append('replaced')
        replace(*arguments)

    monkeypatch.setattr(os, 'fsync', record_fsync)
    monkeypatch.setattr(os, 'replace', record_replace)
    storage.write_text(tmp_path / 'file', 'text')
    assert events == [f'file.{os.getpid()}.tmp', 'replaced', tmp_path.name]


def test_where_folders_cannot_be_opened_files_are_written_all_the_same(tmp_path, monkeypatch):
    def refuse(path, *arguments):
        raise PermissionError(13, 'Permission denied', str(path))

    with monkeypatch.context() as patch:
        patch.setattr(os, 'name', 'nt')
        patch.setattr(os, 'open', refuse)
        storage.write_text(tmp_path / 'file', 'text')
    assert (tmp_path / 'file').read_text() == 'text'


def test_one_holds_a_lock_at_a_time(tmp_path):
    with storage.lock(tmp_path / 'lock'):
        with pytest.raises(filelock.Timeout):
            storage.lock(tmp_path / 'lock').acquire(timeout=0)
        with storage.lock(tmp_path / 'other').acquire(timeout=0):
            pass
    with storage.lock(tmp_path / 'lock').acquire(timeout=0):
        pass


def test_a_lock_is_free_when_its_process_is_killed(tmp_path):
    code = """
        import os, signal, sys
        import filelock
        filelock.FileLock(sys.argv[1]).acquire()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    command = [sys.executable, '-c', textwrap.dedent(code), str(tmp_path / 'lock')]
    assert subprocess.run(command, check=False).returncode == -9
    with storage.lock(tmp_path / 'lock').acquire(timeout=0):
        pass
