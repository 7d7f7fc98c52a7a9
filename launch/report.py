"""Lays runs of any program over each other: a table, their curves, and the paper's beside them.

  python -m launch.report runs/lm-pydoc-rmc runs/lm-pydoc-lstm
  python -m launch.report runs/* --x=minutes --output=curves.png

It reads what any run writes: `metrics.jsonl`, `run.json` (see `directory`; runs older than it
are laid out by their steps) and `evaluation.json`, whose `test` goes into the table. For language
models it also shows what Santoro et al. 2018 show of theirs, https://arxiv.org/abs/1806.01822:
Figure 11 (validation over words seen), Tables 2 and 3 and Figure 12, and for runs of
`learning_to_execute` Table 1 and Figure 8, both by difficulty. It may run beside a training.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import os
import pathlib
import sys
from typing import Any, NamedTuple

from launch.language import evaluation as evaluation_lib
from launch.reports import accuracies, accuracy_figure, perplexities
from launch.runs import directory, display, errors, flags, metrics, plots
from launch.training import seeds
from tasks import base

_OLDER = 'valid_perplexity'  # what runs without a `run.json` measure


@dataclasses.dataclass(frozen=True)
class Config:
    """Lays runs over each other."""

    runs: tuple[str, ...] = flags.positional("the runs' directories")
    output: str = flags.flag(
        'runs/report', 'folder of the pictures, or FILE.png: curves only', 'free'
    )
    x: str | None = flags.flag(
        None, 'steps, minutes (of training), or what runs count: words; default: words', 'free'
    )
    y: str | None = flags.flag(None, 'a column of metrics.jsonl; default: as run.json says', 'free')


class Run(NamedTuple):
    """What a run's directory tells."""

    name: str
    rows: list[dict[str, Any]]  # of `metrics.jsonl`, at least one
    description: dict[str, Any]  # `run.json`, empty for older runs
    evaluation: dict[str, Any]  # `evaluation.json`, empty before the end of training

    @property
    def unit(self) -> str | None:
        """What is counted, None for older runs."""
        return self.description.get('unit')

    @property
    def facts(self) -> accuracies.Facts | None:
        """Returns what is known of a run of `learning_to_execute`, None for other programs."""
        return accuracies.facts(self.description, self.evaluation)

    def column(self, asked: str | None) -> str:
        """Returns the metric to draw: the one that was asked for, or the run's own."""
        return asked or self.description.get('measure', _OLDER)


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
    runs = _load_all(config.runs)
    x = _choose_x(config.x, runs)
    columns = _columns(runs, config.y)
    print(display.table([_HEADER, *(_describe(each, config.y) for each in runs)]))
    evaluations = {
        each.name: each.evaluation for each in runs if each.evaluation.get('program') == 'lm'
    }
    for group in perplexities.by_corpus(evaluations):
        print(f'\n{perplexities.describe(group)}')
    programs = {each.name: each.facts for each in runs if each.facts}
    evaluated = {name: known for name, known in programs.items() if 'test' in known}
    for difficulty, alike in accuracies.by_difficulty(evaluated).items():
        print(f'\n{accuracies.describe(difficulty, alike)}')
    try:
        pictures = _draw(config.output, runs, columns, x, evaluations)
        pictures += _draw_programs(config, runs, programs)
    except OSError as error:
        message = f'--output={config.output}: cannot be written: {error.strerror}'
        raise errors.RunError(errors.CANNOT_SAVE, message) from error
    print(''.join(f'\npicture      {picture}' for picture in pictures))
    return pictures


def _load_all(paths: Sequence[str]) -> list[Run]:
    """Reads each run once; the name is the folder's, or its whole path where two are alike."""
    folders = list(dict.fromkeys(pathlib.Path(path).resolve() for path in paths))
    names = [folder.name for folder in folders]
    return [
        _load(folder, folder.name if names.count(folder.name) == 1 else str(folder))
        for folder in folders
    ]


def _load(folder: pathlib.Path, name: str) -> Run:
    """Reads a run's directory.

    Raises:
      DataError: it is none, or a file in it is damaged.
    """
    path = folder / 'metrics.jsonl'
    if not path.is_file():
        lacks = 'it has no metrics.jsonl' if folder.is_dir() else 'there is no such folder'
        raise base.DataError(f"{folder}: wanted a run's directory, {lacks}")
    rows = metrics.read_metrics(path)
    if not rows:
        raise base.DataError(f'{path}: has no metrics yet; wait for some or leave out the run')
    each = Run(name, rows, directory.read_description(folder), evaluation_lib.load(folder))
    missing = accuracies.lacking(each.facts) if each.facts else []
    if missing:
        message = f'tells no {", ".join(missing)}: evaluate again with --mode=evaluate'
        raise base.DataError(f'{folder}: {message}')
    return each


def _choose_x(asked: str | None, runs: Sequence[Run]) -> str:
    """Returns what the horizontal axis shows: by default what runs count, if all count the same.

    Raises:
      RunError: not all of the runs have what was asked for.
    """
    units = {each.unit for each in runs}
    shared = [unit for unit in units if unit and len(units) == 1]
    if asked is None:
        return shared[0] if shared else 'steps'
    if asked not in ['steps', 'minutes', *shared]:
        known = ', '.join(['steps', 'minutes', *shared])
        reason = '' if shared else '; the runs count different things or have no run.json'
        raise errors.RunError(errors.USAGE, f'--x: wanted one of {known}, got {asked!r}{reason}')
    return asked


def _columns(runs: Sequence[Run], asked: str | None) -> list[str]:
    """Returns the columns that have something to draw, one picture each; says what has nothing.

    Raises:
      RunError: a column was asked for that no run has.
    """
    wanted = {each.name: each.column(asked) for each in runs}
    drawn = {each.name for each in runs if metrics.points(each.rows, wanted[each.name])}
    if asked and not drawn:
        known = sorted({name for each in runs for row in each.rows for name in row} - {'step'})
        raise errors.RunError(errors.USAGE, f'--y: wanted one of {", ".join(known)}, got {asked!r}')
    for name in wanted:
        if name not in drawn:
            print(f'{name}: nothing to draw, no {wanted[name]} yet')
    return list(dict.fromkeys(wanted[each.name] for each in runs if each.name in drawn))


def _curve(each: Run, column: str, x: str) -> list[tuple[float, float]]:
    """Returns the points of a run's curve, none if it has nothing in that column."""
    points = metrics.points(each.rows, column)
    steps, heights = zip(*points, strict=True) if points else ((), ())
    return list(zip(_places(each, x, steps), heights, strict=True))


def _places(each: Run, x: str, steps: Sequence[float]) -> list[float]:
    """Returns where steps stand on the horizontal axis."""
    if x == 'steps':
        return list(steps)
    if x != 'minutes':
        return [step * each.description['units_per_update'] for step in steps]
    return [seconds / 60 for seconds in metrics.training_seconds(each.rows, steps)]


_HEADER = [
    'run',
    'program',
    'core',
    'dataset',
    'parameters',
    'updates',
    'seen',
    'measure',
    'best',
    'last',
    'test',
    'speed',
]


def _describe(each: Run, asked: str | None) -> list[str]:
    """Returns the row of a run in the table."""
    about = each.description
    config = {**each.evaluation, **about.get('config', {})}
    column = each.column(asked)
    values = [value for _, value in metrics.points(each.rows, column)]
    best = min if _is_loss(column) else max
    updates = each.rows[-1]['step']
    seen = f'{updates * about["units_per_update"]:,} {each.unit}' if each.unit else '?'
    return [
        each.name,
        about.get('program', '?'),
        str(config.get('core', '?')),
        str(config.get('dataset', config.get('task', '?'))),
        f'{about["parameters"]:,}' if 'parameters' in about else '?',
        f'{updates:,}',
        seen,
        column,
        display.number(best(values, default=None)),
        display.number(values[-1] if values else None),
        display.number(each.evaluation.get('test')),
        _speed(each.rows),
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


def _draw(
    output: str,
    runs: Sequence[Run],
    columns: Sequence[str],
    x: str,
    evaluations: perplexities.Evaluations,
) -> list[str]:
    """Draws a picture for each column and those of language models; returns their paths."""
    alone = output.endswith('.png')
    if alone and len(columns) > 1:
        message = f'wanted a folder, or --y=COLUMN, for pictures of {", ".join(columns)}'
        raise errors.RunError(errors.USAGE, f'--output={output}: {message}')
    folder = os.path.dirname(output) if alone else output
    os.makedirs(folder or '.', exist_ok=True)
    pictures = []
    for column in columns:
        pictures.append(output if alone else os.path.join(folder, f'{column}.png'))
        _draw_curves(pictures[-1], runs, column, x)
    if evaluations and not alone:
        paths = [os.path.join(folder, f'{name}.png') for name in ('frequency', 'unroll')]
        pictures += perplexities.draw(evaluations, *paths)
    return pictures


def _draw_programs(config: Config, runs: Sequence[Run], programs: accuracies.Runs) -> list[str]:
    """Draws Figure 8, over updates unless something else was asked for; returns its path."""
    x, curves = config.x or 'steps', {}
    for each in runs if not config.output.endswith('.png') else ():
        column = each.column(None)
        points = _curve(each, column, x) if each.name in programs else []
        if points:
            ranges = seeds.ranges(each.rows, column)
            curves[each.name] = accuracy_figure.Curve(points, ranges)
    if not curves:
        return []
    picture = os.path.join(config.output, 'programs.png')
    drawn = {name: programs[name] for name in curves}
    accuracy_figure.draw(drawn, curves, picture, _label(x))
    return [picture]


def _label(x: str) -> str:
    """Returns what stands below a horizontal axis."""
    return {'steps': 'updates', 'minutes': 'minutes of training'}.get(x, f'{x} seen')


def _draw_curves(picture: str, runs: Sequence[Run], column: str, x: str) -> None:
    label = _label(x)
    name = column.replace('valid_', 'validation ').replace('_', ' ')
    plots.plot_curves(
        {each.name: _curve(each, column, x) for each in runs},
        picture,
        title=f'{name.capitalize()} over {label}',
        x_label=label,
        y_label=name,
        log_scale=_is_loss(column),
        bands={each.name: seeds.ranges(each.rows, column) for each in runs},
    )


if __name__ == '__main__':
    sys.exit(flags.main(Config, run, 'report'))
