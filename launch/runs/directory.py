"""The directory of a run: who owns it, how it describes the run, and what may change on resuming.

`run.json` describes the run to readers of its metrics:
  program           the module in `launch`
  config            all flags by name
  parameters        how many numbers are trained
  unit              what is counted, in the plural: words
  units_per_update  how many of them an update reads
  measure           the name in `metrics.jsonl` by which such runs are compared
  higher_is_better  whether more of it is better; False where the file does not state it
  data              names the data, where they are not made on the way: of a corpus, a digest of it
                    and its vocabulary; '' where the file does not state it
  starts            where its numbers come from: a record for each start of training, the first one
                    first (see `provenance`); [] where the file does not state it
"""

from collections.abc import Collection, Iterator, Mapping
import contextlib
import json
import os
import pathlib
import socket
from typing import Any

import filelock

from launch.runs import errors, fields, plain
from tasks import base, storage

DESCRIPTION = 'run.json'
EVALUATION = 'evaluation.json'
_LONGEST_NAME = 240  # bytes; file systems take 255, and files are written under longer names
_LONGEST_PATH = 2000  # of the 4096 bytes that Linux takes, for the run's own files are below it
_SHAPE = {
    'program': str,
    'config': dict,
    'parameters': int,
    'unit': str,
    'units_per_update': fields.NUMBER,
    'measure': str,
}
_NEWER: dict[str, Any] = {'data': str, 'starts': [dict]}  # than the first files


@contextlib.contextmanager
def owned(path: str | os.PathLike[str], flag: str = 'run_dir') -> Iterator[pathlib.Path]:
    """Owns a directory while its `with` block lasts; the system frees it when the process dies.

    Args:
      path: the directory, which is created where it is missing.
      flag: by which the user named it, for messages.

    Yields:
      The directory.

    Raises:
      RunError: another process owns it, or it cannot be written.
    """
    folder, name = pathlib.Path(path), f'--{flag}={path}'
    owner = folder / '.owner'
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(storage.lock(folder / '.lock').acquire(timeout=0))
            stack.enter_context(storage.lock_folder(folder))  # whose lock may have been deleted
            storage.write_text(owner, f'process {os.getpid()} on {socket.gethostname()}\n')
        except filelock.Timeout as error:
            other = owner.read_text('utf-8').strip() if owner.exists() else 'another run'
            message = f'{name}: in use by {other}; wait for it or take another'
            raise errors.RunError(errors.IN_USE, message) from error
        except OSError as error:
            message = f'{name}: cannot be used: {error.strerror}'
            raise errors.RunError(errors.CANNOT_SAVE, message) from error
        try:
            yield folder
        except BaseException:
            _remove(missing)
            raise


def _remove(created: list[pathlib.Path]) -> None:
    """Removes the folders of a run that left nothing in them, the innermost first."""
    if created and {path.name for path in created[0].iterdir()} <= {'.lock', '.owner'}:
        with contextlib.suppress(OSError):  # Windows deletes no open file
            for name in ('.lock', '.owner'):
                (created[0] / name).unlink(missing_ok=True)
            for folder in created:
                folder.rmdir()


@contextlib.contextmanager
def optional() -> Iterator[None]:
    """Ends its `with` block with a warning where a file cannot be written."""
    try:
        yield
    except (OSError, errors.RunError) as error:
        if getattr(error, 'code', errors.CANNOT_SAVE) != errors.CANNOT_SAVE:
            raise
        plain.warn(f'warning: {errors.first_line(error)}; the rest is done')


def describe(
    path: str | os.PathLike[str],
    program: str,
    config: Mapping[str, Any],
    parameters: int,
    unit: str,
    units_per_update: int,
    measure: str,
    higher_is_better: bool = False,
    start: Mapping[str, Any] | None = None,
    data: str = '',
) -> None:
    """Writes `run.json`; the arguments after the run's directory are its fields.

    `start` is the record that is added to those in `starts`.

    Raises:
      RunError: the file cannot be written.
    """
    file = pathlib.Path(path) / DESCRIPTION
    description = {
        'program': program,
        'config': dict(config),
        'parameters': parameters,
        'unit': unit,
        'units_per_update': units_per_update,
        'measure': measure,
        'higher_is_better': higher_is_better,
        'data': data,
        'starts': [*_starts(file), *([start] if start else [])],
    }
    write_json(file, description)


def _starts(file: pathlib.Path) -> list[Any]:
    """Returns the records of the starts before this one; damaged ones are dropped."""
    with contextlib.suppress(base.DataError):
        starts = read_json(file).get('starts', [])
        return starts if isinstance(starts, list) else []
    return []


def read_description(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads the `run.json` of a run's directory; a run that is older than this file has none: {}.

    Raises:
      DataError: the file is damaged.
    """
    file = pathlib.Path(path) / DESCRIPTION
    description = read_json(file)
    if description:
        shape = _SHAPE | {x: kind for x, kind in _NEWER.items() if x in description}
        fields.check(file, description, shape, 'resume the run to have it written again')
    return description


def require_description(path: str | os.PathLike[str], programs: Collection[str]) -> dict[str, Any]:
    """Reads the `run.json` of a run of one of some programs.

    Raises:
      RunError, DataError: it is no run, not one of these programs, or the file is damaged.
    """
    description = read_description(path)
    if description and description['program'] in programs:
        return description
    message = f'wanted the directory of a trained run, it has no {DESCRIPTION}'
    if description:
        message = f'wanted a run of {" or ".join(programs)}, got one of {description["program"]}'
    raise errors.RunError(errors.BAD_DATA, f'--run_dir={path}: {message}')


def write_json(path: pathlib.Path, value: Mapping[str, Any]) -> None:
    """Replaces a file at once; the same value gives the same bytes.

    Args:
      path: the file.
      value: what JSON can hold, every number finite.

    Raises:
      RunError: the file cannot be written.
    """
    try:
        storage.write_text(path, json.dumps(value, indent=1, allow_nan=False) + '\n')
    except OSError as error:
        message = f'{path} cannot be written: {error.strerror}'
        raise errors.RunError(errors.CANNOT_SAVE, message) from error


def check_output(output: str) -> None:
    """Raises a ValueError unless --output is empty or a file in a folder that is there."""
    check_path('output', output)
    path = pathlib.Path(output)
    if output and (not path.parent.is_dir() or path.is_dir()):
        raise ValueError(f'--output: wanted a file in an existing folder, got {output!r}')


def check_path(flag: str, path: str | None) -> None:
    """Raises a ValueError for a path with names that are longer than file systems take."""
    longest = max(map(len, os.fsencode(path or '').split(b'/')))
    if longest > _LONGEST_NAME or len(path or '') > _LONGEST_PATH:
        wanted = f'wanted names of at most {_LONGEST_NAME} bytes and {_LONGEST_PATH} in all'
        raise ValueError(f'--{flag}: {wanted}, got {longest} and {len(path or "")}')


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
    except (OSError, ValueError, RecursionError) as error:
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

    def shown(values: Mapping[str, Any], name: str) -> str:
        return errors.shorten(values.get(name, 'absent'))

    old, new = json.loads(json.dumps(dict(saved))), json.loads(json.dumps(dict(now)))
    changed = {
        name: ' '.join([f'{errors.shorten(name)}:', shown(old, name), '->', shown(new, name)])
        for name in {**old, **new}
        if name not in old or name not in new or old[name] != new[name]
    }
    refused = [line for name, line in changed.items() if on_resume.get(name, 'fixed') == 'fixed']
    if refused:
        message = f'the checkpoint has another configuration ({"; ".join(refused)})'
        remedy = 'use the same values or another --run_dir'
        raise errors.RunError(errors.MISMATCH, f'{message}; {remedy}')
    return [line for name, line in changed.items() if on_resume[name] == 'warn']
