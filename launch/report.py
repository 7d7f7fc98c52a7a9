"""Compares runs of any program: a table, their curves, and the paper's numbers next to them.

  python -m launch.report runs/lm-pydoc-rmc runs/lm-pydoc-lstm
  python -m launch.report runs/* --x=minutes --output=curves.png

It reads the files that every run writes: `metrics.jsonl`, `run.json` (see `directory`) and, after
training, `evaluation.json`, also while a run is being trained. For language models it shows
Figure 11 (validation perplexity over words), Tables 2 and 3 and Figure 12 of Santoro et al. 2018,
https://arxiv.org/abs/1806.01822, for runs of `learning_to_execute` Table 1 and Figure 8.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import os
import pathlib
from typing import Any

from launch.reports import accuracies, accuracy_figure, perplexities, records
from launch.runs import directory, display, errors, flags, metrics, plots


@dataclasses.dataclass(frozen=True)
class Config:
    """Compares runs."""

    runs: tuple[str, ...] = flags.positional("the runs' directories", path=True)
    output: str = flags.flag(
        'runs/report',
        'folder of the pictures, or FILE.png for the curves only',
        'free',
        path=True,
    )
    x: str | None = flags.flag(
        None, 'steps, minutes (of training), or what runs count: words; default: words', 'free'
    )
    y: str | None = flags.flag(
        None, 'a column of metrics.jsonl; default: the measure in run.json', 'free'
    )

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        flags.check(self)
        directory.check_path('output', self.output)
        for path in self.runs:
            directory.check_path('runs', path)
        suffix = pathlib.Path(self.output).suffix[1:]
        if suffix.isalpha() and suffix != 'png' and not os.path.isdir(self.output):
            raise ValueError(f'--output: wanted a folder or FILE.png, got {self.output!r}')


def run(config: Config) -> list[str]:
    """Prints the tables and draws the pictures.

    Args:
      config: the flags.

    Returns:
      The paths of the pictures.

    Raises:
      RunError: a flag does not fit the runs, or a picture cannot be written.
      DataError: a directory cannot be used.
    """
    runs = records.load_all(config.runs)
    programs = {run.label: facts for run in runs if (facts := accuracies.facts(run))}
    evaluations = {
        run.label: run.evaluation for run in runs if run.evaluation.get('program') == 'lm'
    }
    x, columns = _choose_x(config.x, runs), _columns(runs, config.y)
    print(display.table([_HEADER, *(_describe(run, config.y) for run in runs)]))
    evaluated = {label: facts for label, facts in programs.items() if 'test' in facts}
    for text in perplexities.describe(evaluations) + accuracies.describe(evaluated):
        print(f'\n{text}')
    try:
        pictures = _draw_columns(config.output, runs, columns, x)
        if not config.output.endswith('.png'):
            pictures += perplexities.draw(evaluations, config.output) if evaluations else []
            pictures += _draw_programs(config, runs, programs)
    except OSError as error:
        message = f'--output={config.output}: cannot be written: {error.strerror}'
        raise errors.RunError(errors.CANNOT_SAVE, message) from error
    print(''.join(f'\npicture      {picture}' for picture in pictures))
    return pictures


def _choose_x(asked: str | None, runs: Sequence[records.Run]) -> str:
    """Returns the unit of the horizontal axis: by default the one that all runs count, if any.

    Raises:
      RunError: not all of the runs have the one that was asked for.
    """
    units = {run.description['unit'] for run in runs}
    known = ['steps', 'minutes', *(units if len(units) == 1 else ())]
    if asked is not None and asked not in known:
        reason = '' if len(units) == 1 else '; the runs count different things'
        message = f'--x: wanted one of {", ".join(known)}, got {asked!r}{reason}'
        raise errors.RunError(errors.USAGE, message)
    return asked or (known[2] if len(units) == 1 else 'steps')


def _columns(runs: Sequence[records.Run], asked: str | None) -> list[str]:
    """Returns the columns to plot, one picture each; prints which runs have nothing to plot.

    Raises:
      RunError: a column was asked for that no run has.
    """
    wanted = {run.label: asked or run.description['measure'] for run in runs}
    plotted = {run.label for run in runs if metrics.points(run.rows, wanted[run.label])}
    if asked and not plotted:
        known = sorted({name for run in runs for row in run.rows for name in row} - {'step'})
        raise errors.RunError(errors.USAGE, f'--y: wanted one of {", ".join(known)}, got {asked!r}')
    for label in wanted:
        if label not in plotted:
            print(f'{label}: nothing to plot, no {wanted[label]} yet')
    _warn_of_streams(runs)
    return list(dict.fromkeys(wanted[label] for label in wanted if label in plotted))


def _warn_of_streams(runs: Sequence[records.Run]) -> None:
    """Prints that curves of perplexity were measured in different ways, where they were."""
    streams = [run.description['config'].get('evaluation_batch') for run in runs]
    numbers = dict.fromkeys(str(number) for number in streams if number is not None)
    if len(numbers) > 1:
        found = f'valid_perplexity was measured with --evaluation_batch={", ".join(numbers)}'
        print(f'{found}: these curves cannot be compared')


def _curve(run: records.Run, column: str, x: str) -> list[tuple[float, float]]:
    """Returns the points of a run's curve, none if it has nothing in that column."""
    points = metrics.points(run.rows, column)
    steps = [step for step, _ in points]
    if x == 'minutes':
        positions = [second / 60 for second in metrics.training_seconds(run.rows, steps)]
    else:
        units = 1 if x == 'steps' else run.description['units_per_update']
        positions = [units * step for step in steps]
    return [(position, value) for position, (_, value) in zip(positions, points, strict=True)]


_HEADER = [
    *('run', 'program', 'core', 'dataset', 'parameters', 'updates', 'seen'),
    *('measure', 'best', 'last', 'test', 'speed'),
]


def _describe(run: records.Run, asked: str | None) -> list[str]:
    """Returns the row of a run in the table."""
    about, updates = run.description, run.rows[-1]['step']
    config = about['config']
    column = asked or about['measure']
    values = [value for _, value in metrics.points(run.rows, column)]
    best = min if _is_loss(column) else max
    return [
        run.label,
        about['program'],
        str(config.get('core', '?')),
        str(config.get('dataset', config.get('task', '?'))),
        f'{about["parameters"]:,}',
        f'{updates:,}',
        f'{updates * about["units_per_update"]:,} {about["unit"]}',
        column,
        display.number(best(values, default=None)),
        display.number(values[-1] if values else None),
        display.number(run.evaluation.get('test')),
        _speed(run.rows),
    ]


def _is_loss(column: str) -> bool:
    return column.endswith(('perplexity', 'loss'))


def _speed(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns how much is read in a second of training, over the whole run."""
    column = next((name for row in rows for name in row if name.endswith('_per_second')), '')
    logged = [row for row in rows if row.get(column) and row.get('seconds')]
    if not logged:
        return '?'
    seconds = sum(row['seconds'] for row in logged)
    rate = sum(row[column] * row['seconds'] for row in logged) / seconds
    return f'{display.number(round(rate))} {column.removesuffix("_per_second")}/s'


def _draw_columns(
    output: str, runs: Sequence[records.Run], columns: Sequence[str], x: str
) -> list[str]:
    """Draws the curves of each column into a picture of its own; returns their paths."""
    alone = output.endswith('.png')
    if alone and len(columns) > 1:
        message = f'wanted a folder, or --y=COLUMN, for pictures of {", ".join(columns)}'
        raise errors.RunError(errors.USAGE, f'--output={output}: {message}')
    os.makedirs((os.path.dirname(output) if alone else output) or '.', exist_ok=True)
    pictures = []
    for column in columns:
        name = column.replace('valid_', 'validation ').replace('_', ' ')
        pictures.append(output if alone else os.path.join(output, f'{column}.png'))
        plots.plot_curves(
            {run.label: _curve(run, column, x) for run in runs},
            pictures[-1],
            title=f'{name.capitalize()} over {_x_label(x)}',
            x_label=_x_label(x),
            y_label=name,
            log_scale=_is_loss(column),
        )
    return pictures


def _draw_programs(
    config: Config, runs: Sequence[records.Run], programs: accuracies.Runs
) -> list[str]:
    """Draws Figure 8, over updates unless something else was asked for; returns its path."""
    x = config.x or 'steps'
    points = {run.label: _curve(run, run.description['measure'], x) for run in runs}
    curves = {label: points[label] for label in programs if points[label]}
    if not curves:
        return []
    picture = os.path.join(config.output, 'programs.png')
    accuracy_figure.draw({name: programs[name] for name in curves}, curves, picture, _x_label(x))
    return [picture]


def _x_label(x: str) -> str:
    return {'steps': 'updates', 'minutes': 'minutes of training'}.get(x, f'{x} seen')


if __name__ == '__main__':
    errors.leave(flags.main(Config, run, 'report'))
