"""Files that are written whole or not at all, and locks between processes."""

import hashlib
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


def sha256(path: pathlib.Path) -> str:
    """Returns the SHA-256 of a file in hex; raises an OSError if it cannot be read."""
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


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


def lock(path: pathlib.Path) -> filelock.BaseFileLock:
    """Returns a lock that one process at a time holds; the system frees it when a process dies.

    Args:
      path: the lock's file, which is created where it is missing.

    Returns:
      A context manager; `acquire(timeout=0)` raises `filelock.Timeout` if another process holds it.
    """
    return filelock.FileLock(path)
