"""Compares runs of any program: tables, their curves, and the paper's numbers next to them.

  python -m launch.report runs/lm-pydoc-rmc runs/lm-pydoc-lstm
  python -m launch.report runs/cores/core=* --formats=png,pdf
  python -m launch.report runs/* --x=minutes --output=curves.png

It reads the files that every run writes: `metrics.jsonl`, `run.json` (see `directory`) and, after
training, `evaluation.json`, also while a run is being trained. Runs that differ in the seed alone
are one curve and one row, with mean and standard error. Runs of different tasks, worlds, windows,
corpora or numbers of streams have tables and pictures of their own. The tables are also written as
`table.csv` and `table.md`, with the command, revision and machine of every run. For language models
it shows Figure 11 (validation perplexity over words), Tables 2 and 3 and Figure 12 of Santoro et
al. 2018, https://arxiv.org/abs/1806.01822, for runs of `learning_to_execute` Table 1 and Figure 8.
"""

from collections.abc import Callable, Sequence
import dataclasses
import os
import pathlib

from launch.reports import (
    accuracies,
    accuracy_figure,
    comparable,
    overview,
    perplexities,
    records,
    seeds,
    settings,
    sources,
)
from launch.reports import series as series_lib
from launch.runs import directory, display, drawing, errors, flags, labels, metrics, plots
from tasks import storage


@dataclasses.dataclass(frozen=True)
class Config:
    """Compares runs."""

    runs: tuple[str, ...] = flags.positional("the runs' directories", path=True)
    output: str = flags.flag(
        'runs/report',
        'folder of pictures and tables, or FILE.png (.pdf, .svg) for the curves only',
        'free',
        path=True,
    )
    x: str | None = flags.flag(
        None, 'steps, minutes (of training), or what runs count: words; default: words', 'free'
    )
    y: str | None = flags.flag(
        None, 'a column of metrics.jsonl; default: the measure in run.json', 'free'
    )
    formats: str = flags.flag('png', 'of the pictures in a folder: png,pdf,svg', 'free')

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        flags.check(self)
        drawing.check_formats(self.formats)
        directory.check_path('output', self.output)
        for path in self.runs:
            directory.check_path('runs', path)
        suffix = pathlib.Path(self.output).suffix[1:]
        if suffix.isalpha() and not self.alone and not os.path.isdir(self.output):
            raise ValueError(f'--output: wanted a folder or FILE.png, got {self.output!r}')

    @property
    def alone(self) -> bool:
        """Whether the output is one picture."""
        return pathlib.Path(self.output).suffix[1:] in drawing.FORMATS

    def paths(self, name: str) -> list[str]:
        """Returns the paths of a picture, one for each format."""
        if self.alone:
            return [self.output]
        return [os.path.join(self.output, f'{name}.{kind}') for kind in self.formats.split(',')]


def run(config: Config) -> list[str]:
    """Prints and writes the tables and draws the pictures.

    Args:
      config: the flags.

    Returns:
      The paths of the pictures.

    Raises:
      RunError: a flag does not fit the runs, or a file cannot be written.
      DataError: a directory cannot be used.
    """
    runs = records.load_all(config.runs)
    comparisons = series_lib.compare(runs)
    programs = {each.runs[0].label: each for x in comparisons for each in x.series}
    facts = {label: known for label, each in programs.items() if (known := _facts(each))}
    _check_x(config.x, runs)
    columns = [_columns(comparison.runs, config.y) for comparison in comparisons]
    if config.y and not any(columns):
        raise _unknown_column(runs, config.y)
    _describe(config, comparisons, facts)
    try:
        pictures = _draw(config, comparisons, columns, facts)
        files = [] if config.alone else _write_tables(config, comparisons)
    except OSError as error:
        message = f'--output={config.output}: cannot be written: {error.strerror}'
        raise errors.RunError(errors.CANNOT_SAVE, message) from error
    print(''.join(f'\ntable        {path}' for path in files), end='')
    print(''.join(f'\npicture      {picture}' for picture in pictures))
    return pictures


def _facts(series: series_lib.Series) -> records.Facts | None:
    """Returns the facts of a series of `learning_to_execute`, those with an evaluation first."""
    known = [facts for run in series.runs if (facts := accuracies.facts(run))]
    evaluated = [facts for facts in known if 'test' in facts]
    return {**seeds.pool(evaluated or known), 'series': series.label} if known else None


def _evaluations(comparison: series_lib.Comparison) -> dict[str, records.Facts]:
    """Returns the evaluations of language models; those of a series in other streams are apart."""
    found: dict[str, records.Facts] = {}
    for each in comparison.series:
        known = {run.label: run.evaluation for run in each.runs}
        known = {label: facts for label, facts in known.items() if facts.get('program') == 'lm'}
        groups = records.group(known, lambda facts: (facts['corpus'], facts['streams']))
        for index, group in enumerate(groups.values()):
            label = f'{each.label}: {next(iter(group))}' if index else each.label
            found[label] = seeds.pool(list(group.values()))
    return found


def _all_evaluations(comparisons: Sequence[series_lib.Comparison]) -> dict[str, records.Facts]:
    """Returns the evaluations of all language models, by labels that differ."""
    found = [(x, label, known) for x in comparisons for label, known in _evaluations(x).items()]
    labels = [label for _, label, _ in found]
    return {
        label if labels.count(label) == 1 else f'{label}, {comparison.title}': known
        for comparison, label, known in found
    }


def _check_x(asked: str | None, runs: Sequence[records.Run]) -> None:
    """Raises a RunError if not all of the runs have the unit of the horizontal axis."""
    units = {run.description['unit'] for run in runs}
    known = ['steps', 'minutes', *(units if len(units) == 1 else ())]
    if asked is not None and asked not in known:
        reason = '' if len(units) == 1 else '; the runs count different things'
        message = f'--x: wanted one of {", ".join(known)}, got {asked!r}{reason}'
        raise errors.RunError(errors.USAGE, message)


def _columns(runs: Sequence[records.Run], asked: str | None) -> list[str]:
    """Returns the column to plot, if there is one; prints which runs have nothing to plot."""
    column = asked or runs[0].description['measure']
    empty = [run.label for run in runs if not metrics.points(run.rows, column)]
    for label in empty:
        print(f'{label}: nothing to plot, no {column} yet')
    return [column] if len(empty) < len(runs) else []


def _unknown_column(runs: Sequence[records.Run], asked: str) -> errors.RunError:
    names = {name for run in runs for row in run.rows for name in row}
    known = ', '.join(sorted(names - {'step', 'time'}))
    return errors.RunError(errors.USAGE, f'--y: wanted one of {known}, got {asked!r}')


def _describe(
    config: Config, comparisons: Sequence[series_lib.Comparison], programs: accuracies.Runs
) -> None:
    """Prints all tables."""
    if len(comparisons) > 1:
        count = len(comparisons)
        print(f'{count} tasks that cannot be compared, each in a table and pictures of its own')
    for comparison in comparisons:
        print(f'\n{comparison.title}\n{display.table(_table(config, comparison))}')
        published = comparable.describe(comparison.setting.program, comparison.configs)
        print(published, end='\n' if published else '')
    evaluated = {label: facts for label, facts in programs.items() if 'test' in facts}
    for text in perplexities.describe(_all_evaluations(comparisons)) + accuracies.describe(
        evaluated
    ):
        print(f'\n{text}')


def _table(config: Config, comparison: series_lib.Comparison) -> list[list[str]]:
    return overview.rows(comparison, config.y or comparison.setting.measure)


def _write_tables(config: Config, comparisons: Sequence[series_lib.Comparison]) -> list[str]:
    """Writes the tables as CSV and Markdown and returns their paths."""
    rows = [
        row
        for comparison in comparisons
        for row in overview.facts(comparison, config.y or comparison.setting.measure)
    ]
    csv, page = (pathlib.Path(config.output, f'table.{kind}') for kind in ('csv', 'md'))
    sources.write_csv(csv, rows)
    tables = [(each.title, _table(config, each)) for each in comparisons]
    storage.write_text(page, overview.page(tables, comparisons))
    return [str(csv), str(page)]


def _draw(
    config: Config,
    comparisons: Sequence[series_lib.Comparison],
    columns: Sequence[Sequence[str]],
    programs: accuracies.Runs,
) -> list[str]:
    """Draws all pictures, each comparison in its own; returns their paths."""
    plotted = [x for x, found in zip(comparisons, columns, strict=True) if found]
    if config.alone and len(plotted) > 1:
        message = f'wanted a folder, for pictures of {len(plotted)} tasks'
        raise errors.RunError(errors.USAGE, f'--output={config.output}: {message}')
    folder = os.path.dirname(config.output) if config.alone else config.output
    os.makedirs(folder or '.', exist_ok=True)
    pictures: list[str] = []
    names = _names(comparisons)
    for comparison, name, found in zip(comparisons, names, columns, strict=True):
        for column in found:
            pictures += _draw_curves(config, comparison, column, f'{column}{name}')
        evaluations = {} if config.alone else _evaluations(comparison)
        for kind in config.formats.split(',') if evaluations else ():
            title = settings.without_digest(comparison.title)
            where = config.output, title, f'{name}.{kind}'
            pictures += perplexities.draw(evaluations, *where, series_lib.styles(comparison.series))
    return pictures + ([] if config.alone else _draw_programs(config, comparisons, programs))


def _names(comparisons: Sequence[series_lib.Comparison]) -> list[str]:
    """Returns what distinguishes the pictures of comparisons, nothing where there is one."""
    if len(comparisons) == 1:
        return ['']
    names = [f'-{settings.file_name(each.title)}' for each in comparisons]
    return [
        name if names.count(name) == 1 else f'{name}-{index}' for index, name in enumerate(names, 1)
    ]


def _curve(series: series_lib.Series, column: str, x: str) -> plots.Curve:
    """Returns the curve of a series, without points if it has nothing in that column."""
    return seeds.mean_curve([_points(run, column, x) for run in series.runs])


def _points(run: records.Run, column: str, x: str) -> list[tuple[float, float]]:
    points = metrics.points(run.rows, column)
    steps = [step for step, _ in points]
    if x == 'minutes':
        positions = [second / 60 for second in metrics.training_seconds(run.rows, steps)]
    else:
        units = 1 if x == 'steps' else run.description['units_per_update']
        positions = [units * step for step in steps]
    return [(position, value) for position, (_, value) in zip(positions, points, strict=True)]


def _draw_curves(
    config: Config, comparison: series_lib.Comparison, column: str, file: str
) -> list[str]:
    """Draws the curves of a comparison; returns the paths of the picture."""
    x = config.x or comparison.setting.unit
    name = labels.axis_name(column)
    curves = {each.label: _curve(each, column, x) for each in comparison.series}
    setting, is_measure = comparison.setting, column == comparison.setting.measure
    published = comparable.common_levels(setting.program, comparison.configs if is_measure else [])

    def draw(path: str) -> None:
        plots.plot_curves(
            curves,
            path,
            title=settings.without_digest(comparison.title),
            x_label=_x_label(x),
            y_label=name,
            baselines=published,
            log_scale=overview.is_loss(column),
            styles=series_lib.styles(comparison.series),
        )

    return _in_formats(config.paths(file), draw)


def _in_formats(paths: Sequence[str], draw: Callable[[str], None]) -> list[str]:
    for path in paths:
        draw(path)
    return list(paths)


def _draw_programs(
    config: Config, comparisons: Sequence[series_lib.Comparison], programs: accuracies.Runs
) -> list[str]:
    """Draws Figure 8, over updates unless something else was asked for; returns its paths."""
    x = config.x or 'steps'
    curves = {
        each.runs[0].label: _curve(each, comparison.setting.measure, x)
        for comparison in comparisons
        for each in comparison.series
        if each.runs[0].label in programs
    }
    curves = {label: curve for label, curve in curves.items() if plots.heights(curve)}
    if not curves:
        return []
    drawn = {label: programs[label] for label in curves}
    return _in_formats(
        config.paths('programs'),
        lambda path: accuracy_figure.draw(drawn, curves, path, _x_label(x)),
    )


def _x_label(x: str) -> str:
    return labels.X_LABELS.get(x, f'{x} seen')


if __name__ == '__main__':
    errors.leave(flags.main(Config, run, 'report'))
