"""Files that are written whole or not at all, and locks between processes."""

from collections.abc import Iterator
import contextlib
import hashlib
import io
import os
import pathlib

import filelock

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def write_text(path: pathlib.Path, text: str) -> None:
    """Does what `write` does, with a text as UTF-8."""
    write(path, text.encode())


def write(path: pathlib.Path, data: bytes) -> None:
    """Replaces a file at once: readers, and a crash, find the old bytes or the new ones.

    A link is replaced, and what it points to stays. A device or a pipe is written to.

    Args:
      path: the file.
      data: its new content.

    Raises:
      OSError: the file cannot be written; the old one is untouched.
    """
    if path.exists() and not path.is_file() and not path.is_symlink():
        path.write_bytes(data)
        return
    temporary = path.with_name(f'{path.name}.{os.getpid()}.tmp')  # no other process has this name
    temporary.unlink(missing_ok=True)  # of a process that was killed
    try:
        with open(temporary, 'xb') as file:  # follows no link
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)  # what it has of a full disk
        raise
    sync(path.parent)


def sha256(path: pathlib.Path) -> str:
    """Returns the SHA-256 of a file in hex; raises an OSError if it cannot be read."""
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def append(file: io.FileIO, record: bytes) -> None:
    """Adds a record at the end of a file, whole or not at all.

    Args:
      file: opened with `buffering=0`, so that nothing is left to be written later.
      record: what to add.

    Raises:
      OSError: it cannot be written.
    """
    end = file.seek(0, os.SEEK_END)
    rest = memoryview(record)
    try:
        while rest:  # the disk may take a part before it reports that it is full
            rest = rest[file.write(rest) :]
    except BaseException:
        file.truncate(end)
        raise


def sync(folder: pathlib.Path) -> None:
    """Writes a folder's list of files to the disk, so that a rename survives a crash.

    Windows opens no folders and is left to write its list by itself.
    """
    if os.name == 'nt':
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def lock_folder(folder: pathlib.Path) -> Iterator[None]:
    """Holds a folder as `lock` holds a file, while its `with` block lasts.

    In contrast to a lock's file nobody deletes it by mistake. Some file systems, such as NFS, have
    no locks of folders; there this does nothing.

    Args:
      folder: a folder that is there.

    Raises:
      filelock.Timeout: another process holds it.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise filelock.Timeout(str(folder)) from error
    except OSError:
        pass
    try:
        yield
    finally:
        os.close(descriptor)


def lock(path: pathlib.Path) -> filelock.BaseFileLock:
    """Returns a lock that one process at a time holds; the system frees it when a process dies.

    Args:
      path: the lock's file, which is created where it is missing.

    Returns:
      A context manager; `acquire(timeout=0)` raises `filelock.Timeout` if another process holds it.
    """
    return filelock.FileLock(path)
