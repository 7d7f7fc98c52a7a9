"""What the runs of a sweep have reached: read from what they write, shown as a table.

A run that ended well has a `done.json` with its flags, which the sweep wrote; everything else is
what any run writes, `metrics.jsonl` and `run.json`. It may be read while the runs are going on.
Configurations that differ in the seed alone are also shown together, as mean and standard error.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from launch.reports import seeds, settings, sources
from launch.runs import directory, display, metrics, plots
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
    description: Mapping[str, Any] = {}  # `run.json`

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
    return Result(run, state, measure, higher, steps, seconds, values, last, all_seconds, about)


def by_seed(results: Sequence[Result]) -> list[list[Result]]:
    """Returns the results in groups that differ in the seed alone."""
    groups = seeds.by_seed([result.run.flags for result in results], {'seed'})
    return [[results[index] for index in group] for group in groups]


def by_setting(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Returns the results with a curve in groups that can be compared, by their titles."""
    groups: dict[settings.Setting, list[Result]] = {}
    for result in results:
        if result.values:
            groups.setdefault(settings.of(result.description), []).append(result)
    titles = [settings.title(setting) for setting in groups]
    return {
        title if titles.count(title) == 1 else f'{title}, {index}': group
        for index, (title, group) in enumerate(zip(titles, groups.values(), strict=True), 1)
    }


def without_seed(result: Result) -> str:
    """Returns the name of a configuration without its seed."""
    rest = [part for part in result.run.name.split(',') if not part.startswith('seed=')]
    return ','.join(rest) or 'all'


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
    """Returns a table with a line for each run, and one with the means over their seeds, if any.

    Args:
      results: what the runs have reached.
      target: of the measure; the table tells when it was reached.
    """
    tables = [display.table(rows(results, target))]
    means = mean_rows(results, target)
    return '\n\n'.join(tables + ([display.table(means)] if means else []))


def rows(results: Sequence[Result], target: float | None = None) -> list[list[str]]:
    """Returns the table of single runs as cells; arguments as of `table`."""
    measure = _measure(results)
    header = ['configuration', 'state', f'best {measure}', 'last']
    if target is not None:
        header += [f'{measure} {target:g} at update', 'at minute']
    header += ['minutes', 'updates']
    return [header, *(_cells(result, target) for result in results)]


def mean_rows(results: Sequence[Result], target: float | None = None) -> list[list[str]]:
    """Returns the table of means as cells, nothing if there are no seeds; as of `table`.

    Best and last are of the n runs that have measured something.
    """
    groups = by_seed(results)
    if all(len(group) == 1 for group in groups):
        return []
    measure = _measure(results)
    header = ['mean ± standard error', 'n', f'best {measure}', 'last']
    header += [] if target is None else [f'reached {target:g}', 'at update']
    return [[*header, 'minutes', 'updates'], *(_mean_cells(group, target) for group in groups)]


def _mean_cells(group: Sequence[Result], target: float | None) -> list[str]:
    known = [result for result in group if result.values]
    cells = [without_seed(group[0]), str(len(known))]
    for estimate in _estimates(group).values():
        cells.append(seeds.show(estimate))
    if target is not None:
        reached = [(each, k) for each in known if (k := each.reached(target)) is not None]
        at = seeds.estimate([each.steps[k] for each, k in reached])
        cells += [f'{len(reached)} of {len(known)}', seeds.show(at) if at else 'never']
    minutes = seeds.estimate([each.all_seconds / 60 for each in known])
    updates = sorted({each.num_updates for each in known}) or [0]
    spread = dict.fromkeys(f'{count:,}' for count in (updates[0], updates[-1]))
    return [*cells, seeds.show(minutes), ' to '.join(spread)]


def _estimates(group: Sequence[Result]) -> dict[str, seeds.Estimate | None]:
    lasts = [result.values[-1] if result.values else None for result in group]
    best = [result.best for result in group]
    return {'best': seeds.estimate(best), 'last': seeds.estimate(lasts)}


def facts(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Returns what `rows` and `mean_rows` show as numbers, and where they come from."""
    groups = [group for group in by_seed(results) if len(group) > 1]
    named = [(without_seed(group[0]), group) for group in groups]
    return [_fact(name, group) for name, group in [*named, *((x.run.name, [x]) for x in results)]]


def _fact(name: str, group: Sequence[Result]) -> dict[str, Any]:
    row: dict[str, Any] = {
        'configuration': name,
        'n': sum(bool(result.values) for result in group),
        'state': ' '.join(dict.fromkeys(result.state for result in group)),
        'measure': _measure(group),
    }
    for column, estimate in _estimates(group).items():
        row[column] = estimate.mean if estimate else None
        row[f'{column}_standard_error'] = estimate.error if estimate else None
    row['minutes'] = sum(result.all_seconds for result in group) / 60 / len(group)
    row['updates'] = max(result.num_updates for result in group)
    return row | sources.merge([trace(result) for result in group])


def trace(result: Result) -> dict[str, str]:
    """Returns where the numbers of a run come from."""
    return sources.trace(result.run.folder, result.description)


def page(title: str, results: Sequence[Result], target: float | None = None) -> str:
    """Returns the tables of a sweep in Markdown, and where their numbers come from."""
    means = mean_rows(results, target)
    parts = [f'# {title}\n', *([sources.markdown(means)] if means else [])]
    parts.append(sources.markdown(rows(results, target)))
    begun = [result for result in results if result.state != 'waiting']
    names = [result.run.name for result in begun]
    return '\n'.join([*parts, sources.markdown_traces(names, [trace(x) for x in begun])])


def curve(group: Sequence[Result], place: Callable[[Result], Sequence[float]]) -> plots.Curve:
    """Returns the curve of a group of `by_seed`.

    Args:
      group: the results.
      place: the x values [K] of a result.
    """
    return seeds.mean_curve([list(zip(place(x), x.values, strict=True)) for x in group])


def _measure(results: Sequence[Result]) -> str:
    return next((result.measure for result in results if result.measure), 'measure')


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
