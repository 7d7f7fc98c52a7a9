"""What a run tells about itself: metrics in files, progress on the terminal, numbers as text.

`metrics.jsonl` holds one JSON object a line, `{"step": 20, "loss": 5.1, …}`, in the order of the
steps and without repeats, however often the run was stopped; a number that is not finite is null.
"""

from collections.abc import Mapping, Sequence
import json
import math
import os
import pathlib
import shutil
import sys
import time
from typing import Any, Self, TextIO

import numpy as np
import tqdm

from launch.runs import errors

Row = Mapping[str, float | None]


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Reads a `metrics.jsonl`, without lines that were cut short.

    Args:
      path: the file; a missing one holds no lines.

    Returns:
      One dict for each line, each with an integer `step`.
    """
    try:
        text = pathlib.Path(path).read_text('utf-8', errors='replace')
    except FileNotFoundError:
        return []
    rows = []
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get('step'), int):
            rows.append(row)
    return rows


class Metrics:
    """Appends scalars to `metrics.jsonl` and to TensorBoard's event files; a context manager."""

    def __init__(self, run_dir: str | os.PathLike[str], step: int = 0, tensorboard: bool = True):
        """Opens the files of a run.

        Args:
          run_dir: the run's directory.
          step: the step from which training goes on; what was written for later ones is dropped.
          tensorboard: whether to write `run_dir/tensorboard` too.

        Raises:
          RunError: the files cannot be written.
        """
        folder = pathlib.Path(run_dir)
        path = folder / 'metrics.jsonl'
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _rewrite(path, [row for row in read_metrics(path) if row['step'] <= step])
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


def _rewrite(path: pathlib.Path, rows: Sequence[Row]) -> None:
    """Replaces a file by these rows at once, or leaves it as it is."""
    temporary = path.with_name(f'{path.name}.tmp')
    with open(temporary, 'w', encoding='utf-8') as file:
        file.writelines(json.dumps(row) + '\n' for row in rows)
    os.replace(temporary, path)


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


class Progress:
    """A bar on a terminal, plain lines elsewhere; a context manager."""

    def __init__(
        self, num_steps: int, step: int = 0, stream: TextIO | None = None, unit: str = 'step'
    ):
        """Starts the clock.

        Args:
          num_steps: the step at which the work ends.
          step: the step at which it starts.
          stream: where to write, standard output by default.
          unit: what is counted.
        """
        self._num_steps = num_steps
        self._first = self._step = step
        self._stream = stream or sys.stdout
        self._unit = unit
        self._start = time.monotonic()
        self._bar = None
        if self._stream.isatty():
            size = shutil.get_terminal_size()  # 80 x 24 where a terminal tells none
            self._bar = tqdm.tqdm(
                total=num_steps,
                initial=step,
                unit='step',
                file=self._stream,
                ncols=size.columns,
                nrows=size.lines,
                bar_format='{bar:10}| {n}/{total} {remaining} left{postfix}',
            )

    def update(self, step: int, values: Row | None = None) -> None:
        """Shows that a step is done.

        Args:
          step: the count of finished steps.
          values: what to show beside it, at the steps that are logged; with `loss`, `perplexity`
            and `words_per_second` in the order they should appear.
        """
        if self._bar is not None:
            if values is not None:
                self._bar.set_postfix_str(describe(values), refresh=False)
            self._bar.update(step - self._step)
        elif values is not None:
            counter = f'{self._unit} {step}/{self._num_steps}'
            self.say(f'{counter}  {describe(values)}  {self._time_left(step)} left')
        self._step = step

    def say(self, line: str) -> None:
        """Writes a line of its own, above the bar where there is one."""
        if self._bar is not None:
            self._bar.write(line, file=self._stream)
        else:
            print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """Leaves the bar as it is and ends its line."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _time_left(self, step: int) -> str:
        if step <= self._first:
            return '?'
        seconds = (time.monotonic() - self._start) / (step - self._first)
        return tqdm.tqdm.format_interval(round(seconds * (self._num_steps - step)))


def perplexity(nats: float) -> float:
    """Returns the perplexity for a mean loss in nats; above 700 it would overflow and is cut."""
    return math.exp(min(nats, 700.0))


def describe(values: Row) -> str:
    """Returns numbers by name as one readable line.

    Args:
      values: for example `{'loss': 5.12345, 'words_per_second': 12345.6}`.

    Returns:
      For example `loss 5.123  words/s 12,346`.
    """
    names = {name: name.replace('_per_second', '/s').replace('_', ' ') for name in values}
    return '  '.join(f'{names[name]} {number(value)}' for name, value in values.items())


def number(value: float | None) -> str:
    """Returns a number in about four digits, with commas, and ? for None."""
    if value is None:
        return '?'
    if math.isfinite(value) and (abs(value) >= 1000 or float(value).is_integer()):
        return f'{value:,.0f}'
    return f'{value:.4g}'


def points(rows: Sequence[Mapping[str, Any]], column: str) -> list[tuple[float, float]]:
    """Returns step and value of the rows that have a number in a column."""
    return [(row['step'], row[column]) for row in rows if isinstance(row.get(column), int | float)]


def training_seconds(rows: Sequence[Mapping[str, Any]], steps: Sequence[float]) -> list[float]:
    """Returns how many seconds of training alone had passed at some steps."""
    logged = points(rows, 'seconds')  # each since the line before
    known, seconds = zip((0.0, 0.0), *logged, strict=True)
    return np.interp(steps, known, np.cumsum(seconds)).tolist()


def table(rows: Sequence[Sequence[str]]) -> str:
    """Returns rows of cells as text: the first column to the left, the others to the right.

    Args:
      rows: the header and the rows below it, all of one length.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        '  '.join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return '\n'.join(line.rstrip() for line in lines)
