"""The table of a comparison: what runs have reached, with means and errors over their seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

from launch.reports import records, seeds, sources
from launch.reports import series as series_lib
from launch.runs import metrics

HEADER = ('run', 'n', 'parameters', 'updates', 'seen', 'measure', 'best', 'last', 'test', 'speed')
_MEASURED = ('best', 'last', 'test', 'speed')


def is_loss(column: str) -> bool:
    """Returns whether less is better."""
    return column.endswith(('perplexity', 'loss'))


def rows(comparison: series_lib.Comparison, column: str) -> list[list[str]]:
    """Returns a table: the header, and a row for each series.

    Args:
      comparison: runs that can be compared.
      column: of `metrics.jsonl`, the measure that is shown.
    """
    return [list(HEADER), *(_cells(each, column) for each in comparison.series)]


def facts(comparison: series_lib.Comparison, column: str) -> list[dict[str, Any]]:
    """Returns the same as numbers: a row for each series, below a mean those of its single runs."""
    found = []
    for each in comparison.series:
        singles = each.runs if len(each.runs) > 1 else []
        labelled = [(each.label, each.runs), *((run.label, [run]) for run in singles)]
        found += [_row(comparison, column, label, runs) for label, runs in labelled]
    return found


def _row(
    comparison: series_lib.Comparison, column: str, label: str, runs: Sequence[records.Run]
) -> dict[str, Any]:
    about, updates = runs[0].description, [run.rows[-1]['step'] for run in runs]
    row: dict[str, Any] = {
        'task': comparison.title,
        'run': label,
        'n': len(runs),
        'program': about['program'],
        'core': about['config'].get('core'),
        'parameters': about['parameters'],
        'updates': max(updates),
        'seen': max(updates) * about['units_per_update'],
        'unit': about['unit'],
        'measure': column,
    }
    for name, estimate in _estimates(runs, column).items():
        row[name] = estimate.mean if estimate else None
        row[f'{name}_standard_error'] = estimate.error if estimate else None
    return row | sources.merge([sources.trace(run.folder, run.description) for run in runs])


def _cells(series: series_lib.Series, column: str) -> list[str]:
    runs = series.runs
    about, updates = runs[0].description, sorted({run.rows[-1]['step'] for run in runs})
    seen = [step * about['units_per_update'] for step in updates]
    cells = {name: seeds.show(value) for name, value in _estimates(runs, column).items()}
    unit = next((name for run in runs if (name := _unit(run.rows))), '')
    cells['speed'] += f' {unit}/s' if unit else ''
    return [
        *(series.label, str(len(runs)), f'{about["parameters"]:,}'),
        *(_range(updates), f'{_range(seen)} {about["unit"]}', column),
        *(cells[name] for name in _MEASURED),
    ]


def _range(numbers: Sequence[int]) -> str:
    """Returns the least and the greatest of sorted numbers."""
    return ' to '.join(dict.fromkeys(f'{number:,}' for number in (numbers[0], numbers[-1])))


def _estimates(runs: Sequence[records.Run], column: str) -> dict[str, seeds.Estimate | None]:
    curves = [[value for _, value in metrics.points(run.rows, column)] for run in runs]
    best = min if is_loss(column) else max
    return {
        'best': seeds.estimate([best(values, default=None) for values in curves]),
        'last': seeds.estimate([values[-1] if values else None for values in curves]),
        'test': seeds.estimate([_test(run) for run in runs]),
        'speed': seeds.estimate([_speed(run.rows) for run in runs]),
    }


def _test(run: records.Run) -> float | None:
    """Returns the measure of the test split, if it was read in as many streams as validation."""
    streams = run.description['config'].get('evaluation_batch')
    same = run.evaluation.get('streams', streams) == streams
    return run.evaluation.get('test') if same else None


def _unit(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = (name for row in rows for name in row if name.endswith('_per_second'))
    return next(columns, '').removesuffix('_per_second')


def _speed(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Returns how much is read in a second of training, over the whole run."""
    column = f'{_unit(rows)}_per_second'
    logged = [row for row in rows if row.get(column) and row.get('seconds')]
    if not logged:
        return None
    seconds = sum(row['seconds'] for row in logged)
    return round(sum(row[column] * row['seconds'] for row in logged) / seconds)


def page(tables: Sequence[tuple[str, Sequence[Sequence[str]]]], comparisons: Any) -> str:
    """Returns the page of a report in Markdown: its tables, and where their numbers come from.

    Args:
      tables: title and rows of each.
      comparisons: what they compare.
    """
    parts = ['# Comparison of runs\n', 'Mean ± standard error over n runs of other seeds.\n']
    for title, cells in tables:
        parts += [f'## {title}\n', sources.markdown(cells)]
    runs = [run for comparison in comparisons for run in comparison.runs]
    traces = [sources.trace(run.folder, run.description) for run in runs]
    return '\n'.join([*parts, sources.markdown_traces([run.label for run in runs], traces)])
