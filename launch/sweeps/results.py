"""What the runs of a sweep have reached: read from what they write, shown as a table.

A run that ended well has a `done.json` with its flags, which the sweep wrote; everything else is
what any run writes, `metrics.jsonl` and `run.json`. It may be read while the runs are going on.
"""

from collections.abc import Sequence
from typing import NamedTuple

from launch.runs import directory, display, metrics
from launch.sweeps import grid as grid_lib

FILE = 'done.json'


class Result(NamedTuple):
    """What a run has reached. A curve has K values of the measure."""

    run: grid_lib.Run
    state: str  # 'done', 'begun' or 'waiting'
    measure: str  # its name; '' before the run has described itself
    higher_is_better: bool
    steps: list[int]  # [K], of the curve
    seconds: list[float]  # [K], of training until then
    values: list[float]  # [K]
    num_updates: int  # all that were logged
    all_seconds: float

    @property
    def best(self) -> float | None:
        """The best value, None before the first."""
        return (max if self.higher_is_better else min)(self.values, default=None)

    def reached(self, target: float) -> int | None:
        """Returns which value of the curve was the first as good as a target, None if none was."""
        sign = 1 if self.higher_is_better else -1
        good = (k for k, value in enumerate(self.values) if sign * value >= sign * target)
        return next(good, None)


def read(run: grid_lib.Run) -> Result:
    """Returns what a run has reached.

    Raises:
      DataError: a file of the run is damaged.
    """
    rows = metrics.read_metrics(run.folder / 'metrics.jsonl')
    about = directory.read_description(run.folder)
    measure = about.get('measure', '')
    curve = metrics.points(rows, measure)
    steps = [int(step) for step, _ in curve]
    last = max((row['step'] for row in rows), default=0)
    *seconds, all_seconds = metrics.training_seconds(rows, [*steps, last])
    state = 'done' if is_done(run) else 'begun' if rows else 'waiting'
    higher, values = about.get('higher_is_better', False), [value for _, value in curve]
    return Result(run, state, measure, higher, steps, seconds, values, last, all_seconds)


def is_done(run: grid_lib.Run) -> bool:
    """Returns whether a run with these very flags has ended well."""
    return directory.read_json(run.folder / FILE).get('flags') == run.flags


def mark_done(run: grid_lib.Run) -> None:
    """Notes that a run has ended well."""
    directory.write_json(run.folder / FILE, {'flags': run.flags})


def describe(result: Result) -> str:
    """Returns a result in short, for example `accuracy 0.91 (best 0.92), 4.1 min`."""
    if not result.values:
        return 'nothing measured'
    last, best = display.number(result.values[-1]), display.number(result.best)
    return f'{result.measure} {last} (best {best}), {_minutes(result.all_seconds)} min'


def table(results: Sequence[Result], target: float | None = None) -> str:
    """Returns a table with a line for each run.

    Args:
      results: what the runs have reached.
      target: of the measure; the table tells when it was reached.
    """
    measure = next((result.measure for result in results if result.measure), 'measure')
    header = ['configuration', 'state', f'best {measure}', 'last']
    if target is not None:
        header += [f'{measure} {target:g} at update', 'at minute']
    header += ['minutes', 'updates']
    return display.table([header, *(_cells(result, target) for result in results)])


def _cells(result: Result, target: float | None) -> list[str]:
    last = result.values[-1] if result.values else None
    cells = [result.run.name, result.state, display.number(result.best), display.number(last)]
    if target is not None:
        k = result.reached(target)
        at = ('never', '') if k is None else (f'{result.steps[k]:,}', _minutes(result.seconds[k]))
        cells += at
    return [*cells, _minutes(result.all_seconds), f'{result.num_updates:,}']


def _minutes(seconds: float) -> str:
    return f'{seconds / 60:,.1f}'
