"""A run's numbers over its steps: `metrics.jsonl`, and TensorBoard's event files.

`metrics.jsonl` holds one JSON object a line, `{"step": 20, "loss": 5.1, …, "time": 1796000000.0}`,
in the order of the steps and without repeats, however often the run was stopped; a number that is
not finite is null, and `time` is when the line was written, in seconds since 1970 (UTC).
A file that cannot be written, for example on a full disk, costs lines and one warning, not the run.
"""

from collections.abc import Mapping, Sequence
import contextlib
import json
import math
import os
import pathlib
import time
from typing import Any, Self

import numpy as np

from launch.runs import errors, fields, plain
from tasks import storage

Row = Mapping[str, float | None]


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Reads a `metrics.jsonl`, without truncated lines.

    Args:
      path: the file; a missing one holds no lines.

    Returns:
      One dict for each line, with an integer `step` and, by name, numbers that are finite or None.
    """
    try:
        text = pathlib.Path(path).read_text('utf-8', errors='replace')
    except FileNotFoundError:
        return []
    rows: list[dict[str, Any]] = []
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and isinstance(row.get('step'), int) and row['step'] >= 0:
            rows.append({x: y for x, y in row.items() if y is None or fields.is_number(y)})
    return [row for row in rows if 'step' in row]


class Metrics:
    """Appends scalars to `metrics.jsonl` and to TensorBoard's event files; a context manager."""

    def __init__(self, run_dir: str | os.PathLike[str], step: int = 0, tensorboard: bool = True):
        """Opens the files of a run.

        Args:
          run_dir: the run's directory.
          step: the step from which training resumes; lines of later steps are dropped.
          tensorboard: whether to write `run_dir/tensorboard` too.

        Raises:
          RunError: the files cannot be written.
        """
        path = pathlib.Path(run_dir, 'metrics.jsonl')
        with contextlib.ExitStack() as stack:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                kept = [json.dumps(row) for row in read_metrics(path) if row['step'] <= step]
                storage.write_text(path, ''.join(f'{line}\n' for line in kept))
                self._lines = stack.enter_context(_Log(path))
                self._events = None
                if tensorboard:
                    self._events = stack.enter_context(_open_events(path.parent, step))
            except OSError as error:
                message = f'{error.filename or path} cannot be written: {error.strerror}'
                raise errors.RunError(errors.CANNOT_SAVE, message) from error
            self._files = stack.pop_all()

    def write(self, step: int, values: Row) -> None:
        """Writes the scalars of one step.

        Args:
          step: the count of finished training steps.
          values: numbers by name; those that are not finite are written as null.
        """
        scalars = {name: _finite(value) for name, value in values.items()}
        row = {'step': step, **scalars, 'time': round(time.time(), 1)}
        line = json.dumps(row, allow_nan=False)
        self._lines.write(f'{line}\n'.encode())
        if self._events is not None:
            from launch.runs import events

            finite = {name: x for name, x in scalars.items() if x is not None}
            self._events.write(events.scalars(step, finite))

    def close(self) -> None:
        """Closes the files."""
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def points(rows: Sequence[Mapping[str, Any]], column: str) -> list[tuple[float, float]]:
    """Returns step and value of the rows that have a number in a column."""
    return [(row['step'], row[column]) for row in rows if isinstance(row.get(column), int | float)]


def training_seconds(rows: Sequence[Mapping[str, Any]], steps: Sequence[float]) -> list[float]:
    """Returns how many seconds of training alone had passed at some steps."""
    logged = points(rows, 'seconds')  # each since the line before
    known, seconds = zip((0.0, 0.0), *logged, strict=True)
    return np.interp(steps, known, np.cumsum(seconds)).tolist()


class _Log:
    """A file that grows by whole records; one that cannot be written is lost, with a warning."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._file = open(path, 'ab', buffering=0)  # noqa: SIM115
        self._lost = 0  # records in a row

    def write(self, record: bytes) -> None:
        try:
            storage.append(self._file, record)
        except OSError as error:
            if not self._lost:
                reason = f'{self._path} cannot be written: {error.strerror}'
                plain.warn(f'warning: {reason}; training continues without')
            self._lost += 1
            return
        if self._lost:
            plain.warn(f'{self._path} is written again; {self._lost} updates are missing in it')
        self._lost = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):  # some file systems report a full disk only here
            self._file.close()


def _open_events(run_dir: pathlib.Path, step: int) -> _Log:
    """Opens a new file of TensorBoard's."""
    from launch.runs import events  # only a training run needs tensorboardX

    folder = run_dir / 'tensorboard'
    folder.mkdir(exist_ok=True)
    log = _Log(events.path(folder, step))
    log.write(events.header(step))
    return log


def _finite(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    number = float(value)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number
