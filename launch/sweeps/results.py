"""What the runs of a sweep have reached: read from what they write, shown as a table.

A run that ended well has a `done.json` with its flags, which the sweep wrote; everything else is
what any run writes, `metrics.jsonl` and `run.json`. It may be read while the runs are going on.
"""

from collections.abc import Sequence
import pathlib
from typing import NamedTuple

from launch.runs import directory, display, metrics
from launch.sweeps import grid as grid_lib

FILE = 'done.json'


class Result(NamedTuple):
    """What a run has reached. A curve has K values of the measure."""

    configuration: grid_lib.Configuration
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


def read(
    folder: pathlib.Path, grid: grid_lib.Grid, configuration: grid_lib.Configuration
) -> Result:
    """Returns what a configuration has reached.

    Args:
      folder: the sweep's directory.
      grid: what it runs.
      configuration: one of the grid.

    Raises:
      DataError: a file of the run is damaged.
    """
    run_dir = folder / grid_lib.name(configuration)
    rows = metrics.read_metrics(run_dir / 'metrics.jsonl')
    about = directory.read_description(run_dir)
    measure = about.get('measure', '')
    curve = metrics.points(rows, measure)
    steps = [int(step) for step, _ in curve]
    begun = 'begun' if rows else 'waiting'
    last = max((row['step'] for row in rows), default=0)
    return Result(
        configuration,
        'done' if is_done(folder, grid, configuration) else begun,
        measure,
        about.get('higher_is_better', False),
        steps,
        metrics.training_seconds(rows, steps),
        [value for _, value in curve],
        last,
        metrics.training_seconds(rows, [last])[0],
    )


def is_done(
    folder: pathlib.Path, grid: grid_lib.Grid, configuration: grid_lib.Configuration
) -> bool:
    """Returns whether a run with the very flags of a configuration has ended well."""
    done = directory.read_json(folder / grid_lib.name(configuration) / FILE)
    return done.get('flags') == grid.flags(configuration)


def mark_done(
    folder: pathlib.Path, grid: grid_lib.Grid, configuration: grid_lib.Configuration
) -> None:
    """Notes that a run with the flags of a configuration has ended well."""
    path = folder / grid_lib.name(configuration) / FILE
    directory.write_json(path, {'flags': grid.flags(configuration)})


def describe(result: Result) -> str:
    """Returns a result in short, for example `accuracy 0.91 (best 0.92), 4.1 min`."""
    if not result.values:
        return 'nothing measured'
    last, best = display.number(result.values[-1]), display.number(result.best)
    return f'{result.measure} {last} (best {best}), {_minutes(result.all_seconds)} min'


def table(results: Sequence[Result], target: float | None = None) -> str:
    """Returns a table with a line for each configuration.

    Args:
      results: what the configurations have reached.
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
    cells = [grid_lib.name(result.configuration), result.state]
    cells += [display.number(result.best), display.number(last)]
    if target is not None:
        k = result.reached(target)
        at = ('never', '') if k is None else (f'{result.steps[k]:,}', _minutes(result.seconds[k]))
        cells += at
    return [*cells, _minutes(result.all_seconds), f'{result.num_updates:,}']


def _minutes(seconds: float) -> str:
    return f'{seconds / 60:,.1f}'
