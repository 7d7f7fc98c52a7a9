"""The directory of a run: who owns it, what is in it, and whether a configuration may go on in it.

`run.json` says what the run is, for whoever reads its metrics:
  program           the module in `launch`
  config            all flags by name
  parameters        how many numbers are trained
  unit              what is counted, in the plural: words
  units_per_update  how many of them an update reads
  measure           the metric by which such runs are compared: valid_perplexity
  higher_is_better  whether more of it is better; runs without this entry say no
"""

from collections.abc import Mapping
import fcntl
import json
import os
import pathlib
import socket
from typing import Any

from launch.runs import errors
from tasks import base

DESCRIPTION = 'run.json'
EVALUATION = 'evaluation.json'
_FIELDS = {'program', 'config', 'parameters', 'unit', 'units_per_update', 'measure'}


class RunDirectory:
    """Owns a run's directory while its `with` block lasts; the system frees it when a run dies."""

    def __init__(self, path: str | os.PathLike[str], flag: str = 'run_dir'):
        """Names the directory, which is created on entry.

        Args:
          path: the run's directory.
          flag: by which the user named it, for messages.
        """
        self.path = pathlib.Path(path)
        self._flag = flag
        self._file: Any = None

    def __enter__(self) -> pathlib.Path:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path / '.lock', 'a+', encoding='utf-8')
        except OSError as error:
            message = f'--{self._flag}={self.path}: cannot be used: {error.strerror}'
            raise errors.RunError(errors.CANNOT_SAVE, message) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.seek(0)
            owner = self._file.read().strip() or 'another run'
            self._file.close()
            message = f'--{self._flag}={self.path}: in use by {owner}; wait for it or take another'
            raise errors.RunError(errors.IN_USE, message) from error
        self._file.truncate(0)
        self._file.write(f'process {os.getpid()} on {socket.gethostname()}\n')
        self._file.flush()
        return self.path

    def __exit__(self, *error: object) -> None:
        self._file.close()


def describe(
    path: str | os.PathLike[str],
    program: str,
    config: Mapping[str, Any],
    parameters: int,
    unit: str,
    units_per_update: int,
    measure: str,
    higher_is_better: bool = False,
) -> None:
    """Writes `run.json`.

    Args:
      path: the run's directory.
      program: the module's name in `launch`.
      config: the flags and their values.
      parameters: how many numbers are trained.
      unit: what is counted, in the plural.
      units_per_update: how many of them an update reads.
      measure: the name in `metrics.jsonl` by which such runs are compared.
      higher_is_better: whether more of it is better.

    Raises:
      RunError: the file cannot be written.
    """
    description = {
        'program': program,
        'config': dict(config),
        'parameters': parameters,
        'unit': unit,
        'units_per_update': units_per_update,
        'measure': measure,
        'higher_is_better': higher_is_better,
    }
    write_json(pathlib.Path(path) / DESCRIPTION, description)


def read_description(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads `run.json`.

    Args:
      path: the run's directory.

    Returns:
      What the file holds; nothing for a run that is older than this file.

    Raises:
      DataError: the file is damaged.
    """
    file = pathlib.Path(path) / DESCRIPTION
    description = read_json(file)
    lacks = sorted(_FIELDS - description.keys())
    if description and lacks:
        raise base.DataError(f'{file} has no {", ".join(lacks)}: train on to have it written anew')
    return description


def write_json(path: pathlib.Path, value: Mapping[str, Any]) -> None:
    """Replaces a file at once, or leaves it as it is; the same value gives the same bytes.

    Args:
      path: the file.
      value: what JSON can hold, every number finite.

    Raises:
      RunError: the file cannot be written.
    """
    temporary = path.with_name(f'{path.name}.tmp')
    try:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + '\n', 'utf-8')
        os.replace(temporary, path)
    except OSError as error:
        message = f'{path} cannot be written: {error.strerror}'
        raise errors.RunError(errors.CANNOT_SAVE, message) from error


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Reads what `write_json` wrote.

    Args:
      path: the file; a missing one holds nothing.

    Raises:
      DataError: the file does not hold an object of JSON.
    """
    try:
        value = json.loads(path.read_text('utf-8'))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise base.DataError(f'{path} cannot be read: {error}; delete it or restore it') from error
    if not isinstance(value, dict):
        raise base.DataError(f'{path}: wanted an object of JSON, got {type(value).__name__}')
    return value


def check_config(
    saved: Mapping[str, Any], now: Mapping[str, Any], on_resume: Mapping[str, str]
) -> list[str]:
    """Compares the configuration of a checkpoint with the one of this run.

    Args:
      saved: fields and values out of the checkpoint.
      now: fields and values of this run.
      on_resume: 'fixed', 'warn' or 'free' for every field of `now`; a field that only the
        checkpoint has is fixed.

    Returns:
      One line for each changed field that is 'warn'.

    Raises:
      RunError: a field that is 'fixed' differs.
    """
    old, new = json.loads(json.dumps(dict(saved))), json.loads(json.dumps(dict(now)))
    changed = {
        name: f'{name}: {old.get(name, "absent")} -> {new.get(name, "absent")}'
        for name in {**old, **new}
        if name not in old or name not in new or old[name] != new[name]
    }
    refused = [line for name, line in changed.items() if on_resume.get(name, 'fixed') == 'fixed']
    if refused:
        message = f'the checkpoint has another configuration ({"; ".join(refused)})'
        remedy = 'use the same values or another --run_dir'
        raise errors.RunError(errors.MISMATCH, f'{message}; {remedy}')
    return [line for name, line in changed.items() if on_resume[name] == 'warn']


owned = RunDirectory
