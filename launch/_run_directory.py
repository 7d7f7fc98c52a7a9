"""The directory of a run: who owns it, and whether a configuration may go on in it."""

from collections.abc import Mapping
import fcntl
import json
import os
import pathlib
import socket
from typing import Any

from launch import _errors


class RunDirectory:
    """Owns a run's directory while its `with` block lasts; the system frees it when a run dies."""

    def __init__(self, path: str | os.PathLike[str]):
        """Names the directory, which is created on entry.

        Args:
          path: the run's directory.
        """
        self.path = pathlib.Path(path)
        self._file: Any = None

    def __enter__(self) -> pathlib.Path:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path / '.lock', 'a+', encoding='utf-8')
        except OSError as error:
            message = f'--run_dir={self.path}: cannot be used: {error.strerror}'
            raise _errors.RunError(_errors.CANNOT_SAVE, message) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.seek(0)
            owner = self._file.read().strip() or 'another run'
            self._file.close()
            message = f'--run_dir={self.path}: in use by {owner}; wait for it or take another'
            raise _errors.RunError(_errors.IN_USE, message) from error
        self._file.truncate(0)
        self._file.write(f'process {os.getpid()} on {socket.gethostname()}\n')
        self._file.flush()
        return self.path

    def __exit__(self, *error: object) -> None:
        self._file.close()


def check_config(
    saved: Mapping[str, Any], now: Mapping[str, Any], classes: Mapping[str, str]
) -> list[str]:
    """Compares the configuration of a checkpoint with the one of this run.

    Args:
      saved: fields and values out of the checkpoint.
      now: fields and values of this run.
      classes: 'identity', 'schedule' or 'free' for every field of `now`; a field that only the
        checkpoint has counts as identity.

    Returns:
      One line for each changed field of class 'schedule'.

    Raises:
      RunError: a field of class 'identity' differs.
    """
    old, new = json.loads(json.dumps(dict(saved))), json.loads(json.dumps(dict(now)))
    changed = {
        name: f'{name}: {old.get(name, "absent")} -> {new.get(name, "absent")}'
        for name in {**old, **new}
        if name not in old or name not in new or old[name] != new[name]
    }
    refused = [
        line for name, line in changed.items() if classes.get(name, 'identity') == 'identity'
    ]
    if refused:
        message = f'the checkpoint has another configuration ({"; ".join(refused)})'
        remedy = 'use the same values or another --run_dir'
        raise _errors.RunError(_errors.MISMATCH, f'{message}; {remedy}')
    return [line for name, line in changed.items() if classes[name] == 'schedule']
