"""A folder that is made once, by one process, and is seen whole or not at all.

Beside a folder `NAME` there may be, while it is made:
  NAME.lock      held by the process that makes it; the system frees it when that process dies
  NAME.building  what is made, renamed to `NAME` when it is whole

Other processes wait and then use what the first made. A process that is killed leaves both; the
next one that makes the folder takes them away.
"""

from collections.abc import Callable, Iterator
import contextlib
import fcntl
import os
import pathlib
import shutil
import time
from typing import TextIO

_POLL_SECONDS = 0.2


def build_once(
    folder: pathlib.Path,
    build: Callable[[pathlib.Path], None],
    damage: Callable[[], str],
    say: Callable[[str], None],
    check: Callable[[], None],
) -> None:
    """Makes a folder unless it is there and whole.

    Args:
      folder: the folder.
      build: fills an empty folder, whose parent is free for scratch files and deleted afterwards.
      damage: says what is wrong with the folder that is there, '' if nothing is.
      say: is called with a line if this process has to wait, or has to replace a damaged folder.
      check: is called while waiting; what it raises ends that.

    Raises:
      OSError: a folder or file cannot be written.
    """
    if folder.exists() and not damage():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _only_process(folder, say, check), _scratch(folder) as scratch:
        if folder.exists() and (reason := damage()):
            say(f'{folder} is damaged ({reason}): preparing it anew')
            folder.rename(scratch / 'damaged')  # at once, so that nobody opens half of it
        if not folder.exists():
            whole = scratch / 'whole'
            whole.mkdir()
            build(whole)
            whole.rename(folder)


@contextlib.contextmanager
def _scratch(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    path = folder.with_name(f'{folder.name}.building')
    if path.exists():  # of a process that was killed
        shutil.rmtree(path)
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _only_process(
    folder: pathlib.Path, say: Callable[[str], None], check: Callable[[], None]
) -> Iterator[None]:
    """Owns the lock of a folder, after waiting for the process that does."""
    path = folder.with_name(f'{folder.name}.lock')
    waited = False
    while (lock := _take(path)) is None:
        if not waited:
            say(f'waiting for another process that prepares {folder}')
        waited = True
        check()
        time.sleep(_POLL_SECONDS)
    with lock:
        try:
            yield
        finally:
            path.unlink()


def _take(path: pathlib.Path) -> TextIO | None:
    """Locks a file; None if another process has locked it, or has just deleted it."""
    file = path.open('a', encoding='utf-8')
    with contextlib.suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
    file.close()
    return None
