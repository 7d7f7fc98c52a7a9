"""A run's numbers over its steps: `metrics.jsonl`, and TensorBoard's event files.

`metrics.jsonl` holds one JSON object a line, `{"step": 20, "loss": 5.1, …}`, in the order of the
steps and without repeats, however often the run was stopped; a number that is not finite is null.
"""

from collections.abc import Mapping, Sequence
import json
import math
import os
import pathlib
import sys
from typing import Any, Self

import numpy as np

from launch.runs import errors, fields
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
        folder = pathlib.Path(run_dir)
        path = folder / 'metrics.jsonl'
        try:
            folder.mkdir(parents=True, exist_ok=True)
            kept = [json.dumps(row) for row in read_metrics(path) if row['step'] <= step]
            storage.write_text(path, ''.join(f'{line}\n' for line in kept))
            self._file = open(path, 'a', encoding='utf-8')  # noqa: SIM115
            self._events = _open_events(folder / 'tensorboard', step) if tensorboard else None
        except OSError as error:
            message = f'{path} cannot be written: {error.strerror}'
            raise errors.RunError(errors.CANNOT_SAVE, message) from error

    def write(self, step: int, values: Row) -> None:
        """Writes the scalars of one step.

        Args:
          step: the count of finished training steps.
          values: numbers by name; those that are not finite are written as null.
        """
        scalars = {name: _finite(value) for name, value in values.items()}
        try:
            self._file.write(json.dumps({'step': step, **scalars}, allow_nan=False) + '\n')
            self._file.flush()
        except OSError as error:  # a full disk costs a line of metrics, not the run
            line = f'metrics of step {step} could not be written: {error.strerror}'
            print(line, file=sys.stderr, flush=True)
            return
        for name, value in scalars.items():
            if self._events is not None and value is not None:
                self._events.add_scalar(name, value, step)

    def close(self) -> None:
        """Closes the files."""
        self._file.close()
        if self._events is not None:
            self._events.close()

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


def _open_events(folder: pathlib.Path, step: int) -> Any:
    """Opens TensorBoard's files; what they hold for later steps is hidden from the curves."""
    import tensorboardX  # only a training run needs it

    # The suffix keeps a run that is resumed within a second from overwriting its first file.
    return tensorboardX.SummaryWriter(str(folder), purge_step=step + 1, filename_suffix=f'.{step}')


def _finite(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    number = float(value)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number
