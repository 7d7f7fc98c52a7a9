"""Files that are written whole or not at all, and locks between processes."""

import io
import os
import pathlib

import filelock


def write_text(path: pathlib.Path, text: str) -> None:
    """Replaces a file at once: readers, and a crash, find the old text or the new one.

    Args:
      path: the file.
      text: its new content, written as UTF-8.

    Raises:
      OSError: the file cannot be written; the old one is untouched.
    """
    temporary = path.with_name(f'{path.name}.tmp')
    with open(temporary, 'w', encoding='utf-8', newline='') as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync(path.parent)


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
    """Writes a folder's list of files to the disk, so that a rename survives a crash."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
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
