"""What the runs of a sweep have reached: read from what they write, shown as a table.

A run that ended well has a `done.json` with its flags, which the sweep wrote; everything else is
what any run writes, `metrics.jsonl` and `run.json`. It may be read while the runs go on. Values of
a run that trains several networks are their means.
"""

from collections.abc import Sequence
import pathlib
from typing import NamedTuple

from launch.runs import directory, display, metrics
from launch.sweeps import grid as grid_lib
from launch.training import seeds

FILE = 'done.json'
SECONDS = {'minutes': 60, 'hours': 3600}  # of what the horizontal axis may show beside steps


class Result(NamedTuple):
    """What a run has reached. A curve has K values of the measure."""

    point: grid_lib.Point
    state: str  # 'done', 'begun' or 'waiting'
    measure: str  # its name; '' before the run has described itself
    higher_is_better: bool
    steps: list[int]  # [K], of the curve
    seconds: list[float]  # [K], of training until then
    values: list[float]  # [K]
    last_step: int  # of all that was logged
    all_seconds: float
    ranges: Sequence[tuple[float, float]] = ()  # [K], lowest and highest network; [0] with one

    @property
    def best(self) -> float | None:
        """The best value, None before the first."""
        return (max if self.higher_is_better else min)(self.values, default=None)

    def passed(self, level: float) -> int | None:
        """Returns which value of the curve was the first as good as a level, None if none was."""
        sign = 1 if self.higher_is_better else -1
        good = (k for k, value in enumerate(self.values) if sign * value >= sign * level)
        return next(good, None)


def read(folder: pathlib.Path, grid: grid_lib.Grid) -> list[Result]:
    """Returns what each point of a sweep has reached, in the order of the grid.

    Args:
      folder: the sweep's directory.
      grid: what it runs.

    Raises:
      DataError: a file of a run is damaged.
    """
    return [read_point(folder, grid, point) for point in grid.ordered()]


def read_point(folder: pathlib.Path, grid: grid_lib.Grid, point: grid_lib.Point) -> Result:
    """Returns what one point of a sweep has reached.

    Args:
      folder: the sweep's directory.
      grid: what it runs.
      point: one of its points.

    Raises:
      DataError: a file of the run is damaged.
    """
    run_dir = folder / grid.name(point)
    rows = metrics.read_metrics(run_dir / 'metrics.jsonl')
    about = directory.read_description(run_dir)
    measure = about.get('measure', '')
    curve = metrics.points(rows, measure)
    steps = [int(step) for step, _ in curve]
    begun = 'begun' if rows else 'waiting'
    last = max((row['step'] for row in rows), default=0)
    return Result(
        point,
        'done' if is_done(folder, grid, point) else begun,
        measure,
        about.get('higher_is_better', False),
        steps,
        metrics.training_seconds(rows, steps),
        [value for _, value in curve],
        last,
        metrics.training_seconds(rows, [last])[0],
        seeds.ranges(rows, measure),
    )


def is_done(folder: pathlib.Path, grid: grid_lib.Grid, point: grid_lib.Point) -> bool:
    """Returns whether a run with the very flags of a point has ended well."""
    done = directory.read_json(folder / grid.name(point) / FILE)
    return done.get('flags') == grid.flags(point)


def mark_done(folder: pathlib.Path, grid: grid_lib.Grid, point: grid_lib.Point) -> None:
    """Notes that a run with the flags of a point has ended well."""
    directory.write_json(folder / grid.name(point) / FILE, {'flags': grid.flags(point)})


def describe(result: Result) -> str:
    """Returns a result in a few words, for example `accuracy 0.91 (best 0.92), 4.1 min`."""
    if not result.values:
        return 'nothing measured'
    last, best = display.number(result.values[-1]), display.number(result.best)
    return f'{result.measure} {last} (best {best}), {_minutes(result.all_seconds)} min'


def table(grid: grid_lib.Grid, results: Sequence[Result], level: float | None = None) -> str:
    """Returns a table with a row for each point.

    Args:
      grid: what was run.
      results: what the points have reached.
      level: of the measure; the table tells when it was passed.
    """
    measure = next((result.measure for result in results if result.measure), 'measure')
    mean = 'mean ' if any(result.ranges for result in results) else ''
    header = ['point', 'state', f'best {mean}{measure}', 'last (range)' if mean else 'last']
    if level is not None:
        header += [f'{measure} {level:g} at update', 'at minute']
    header += ['minutes', 'updates']
    return display.table([header, *(_row(grid, result, level) for result in results)])


def _row(grid: grid_lib.Grid, result: Result, level: float | None) -> list[str]:
    last = display.number(result.values[-1] if result.values else None)
    if result.ranges:
        lowest, highest = map(display.number, result.ranges[-1])
        last += f' ({lowest} to {highest})'
    cells = [
        grid.name(result.point),
        result.state,
        display.number(result.best),
        last,
    ]
    if level is not None:
        place = result.passed(level)
        cells += (
            ['never', '']
            if place is None
            else [f'{result.steps[place]:,}', _minutes(result.seconds[place])]
        )
    return [*cells, _minutes(result.all_seconds), f'{result.last_step:,}']


def _minutes(seconds: float) -> str:
    return f'{seconds / 60:,.1f}'
