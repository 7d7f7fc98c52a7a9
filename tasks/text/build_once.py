"""A folder that one process makes once, and that others find complete or not at all.

Next to a folder `NAME` there may be:
  NAME.lock      a lock, which the system frees when the process that holds it dies
  NAME.building  what is made, renamed to `NAME` when it is whole

Other processes wait and then use the folder of the first one. What a killed process leaves is
deleted by the next one that makes the folder.
"""

from collections.abc import Callable, Iterator
import contextlib
import pathlib
import shutil

import filelock

from tasks import base, storage


def build_once(
    folder: pathlib.Path,
    build: Callable[[pathlib.Path], None],
    damage: Callable[[], str] = str,
    progress: base.Progress = base.SILENT,
) -> None:
    """Makes a folder unless it is there and whole.

    Args:
      folder: the folder.
      build: fills an empty folder, whose parent is free for scratch files and deleted afterwards.
      damage: returns what is wrong with the folder that is there, '' if nothing is.
      progress: receives a line if this process has to wait, or to replace a damaged folder.

    Raises:
      OSError: a folder or file cannot be written.
    """
    if folder.exists() and not damage():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _only_process(folder, progress), _scratch(folder) as scratch:
        if folder.exists() and (reason := damage()):
            progress.say(f'{folder} is damaged ({reason}): preparing it again')
            folder.rename(scratch / 'damaged')  # at once, so that nobody opens half of it
        if not folder.exists():
            whole = scratch / 'whole'
            whole.mkdir()
            build(whole)
            whole.rename(folder)
            storage.sync(folder.parent)


@contextlib.contextmanager
def _only_process(folder: pathlib.Path, progress: base.Progress) -> Iterator[None]:
    """Holds the lock of a folder, after waiting for the process that does."""
    lock = storage.lock(folder.with_name(f'{folder.name}.lock'))
    try:
        held = lock.acquire(timeout=0)
    except filelock.Timeout:
        progress.say(f'waiting for another process that prepares {folder}')
        held = lock.acquire()
    with held:
        yield


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
