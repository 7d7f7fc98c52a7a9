"""Runs a grid of configurations of any program that trains, and plots what they reach.

  python -m launch.sweep lm core=rmc,lstm seed=0,1,2 num_steps=500 --sweep_dir=runs/cores
  python -m launch.sweep lm --sweep_dir=runs/cores --mode=draw      table and picture, at any time

The arguments are the program, then its flags, without dashes; those with several values, separated
by commas, make the grid. What has dashes is the sweep's own. (Flags of the program may keep their
dashes where the sweep has none of that name.) Every configuration is a run of its own in
SWEEP_DIR/NAME, by the same command that would run it alone.

The program checks all configurations before any starts. The same command resumes a sweep that was
stopped: configurations that are done stay as they are, a larger `num_steps` trains all of them
further, and another grid with the same axes adds its configurations. With `--executor=slurm` the
runs are jobs, which go on without the sweep (docs/scale.md). The picture is after figure 4
of Santoro et al. 2018, "Relational recurrent neural networks", https://arxiv.org/abs/1806.01822:
panels for the first axis, colours for the second, dashes for the third. Seeds are no axis of it but
means, with a band of their standard error. Tables are written as sweep.md and sweep.csv. What
cannot be compared, such as two corpora, has a picture each.
"""

from collections.abc import Sequence
import dataclasses
import pathlib
import re
import sys
from typing import Any, Literal

from launch.reports import settings, sources
from launch.runs import directory, drawing, errors, flags
from launch.sweeps import execution, figure, slurm
from launch.sweeps import grid as grid_lib
from launch.sweeps import results as results_lib
from tasks import base, storage


@dataclasses.dataclass(frozen=True)
class Config(slurm.Config):
    """Runs a grid of a program: PROGRAM NAME=VALUE,VALUE NAME=VALUE --sweep_dir=DIR."""

    arguments: tuple[str, ...] = flags.positional(
        r'the program, then its flags, several values separated by commas; \, is a comma'
    )
    sweep_dir: str | None = flags.flag(
        None,
        'folder of all runs, table and picture; default runs/sweep-PROGRAM',
        'free',
        path=True,
    )
    mode: Literal['run', 'draw'] = flags.flag('run', 'draw: only the table and the picture', 'free')
    processes: int | None = flags.flag(
        None, 'runs at a time; default 1, with slurm as many as it starts', 'free', 1, 1000
    )
    x: Literal['steps', 'units', 'minutes', 'hours'] = flags.flag(
        'steps',
        'the horizontal axis: steps (updates), units (words, environment steps: what the program '
        'counts), minutes or hours of training without compiling',
        'free',
    )
    formats: str = flags.flag('png', 'of the pictures: png,pdf,svg', 'free')
    target: float | None = flags.flag(
        None, 'of the measure: the table shows when it was reached', 'free'
    )

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        flags.check(self)
        super().__post_init__()
        drawing.check_formats(self.formats)
        directory.check_path('sweep_dir', self.sweep_dir)


def run(config: Config) -> list[results_lib.Result]:
    """Runs what is not done yet, prints the table and plots the picture; returns the results.

    Raises:
      RunError: the grid cannot be run, a signal came, or a run failed (with its code).
      DataError: a file of the sweep is damaged.
    """
    folder = pathlib.Path(config.sweep_dir or f'runs/sweep-{config.arguments[0]}')
    if config.mode == 'draw':
        grid = grid_lib.read(folder)
        if grid is None:
            raise base.DataError(f'--sweep_dir={folder}: wanted the directory of a sweep, got none')
        return _show(config, folder, grid)
    if config.executor == 'slurm':
        slurm.check_is_here()
    module = grid_lib.load_program(config.arguments[0])
    _plan(config.arguments, folder, module)  # before the directory is touched
    with directory.owned(folder, 'sweep_dir'):
        grid = _plan(config.arguments, folder, module)  # another sweep may have added to it
        grid_lib.write(folder, grid)
        failures = _execute(config, grid.program, grid.runs(folder))
    results = _show(config, folder, grid)
    if failures:
        run, code, reason = failures[0]
        message = f'{len(failures)} of {len(results)} configurations failed, the first {run.name}'
        raise errors.RunError(code, f'{message}: {reason}; see {run.folder / execution.LOG}')
    return results


def _execute(config: Config, program: str, runs: list[grid_lib.Run]) -> list[execution.Failure]:
    if config.executor == 'slurm':
        options = slurm.sbatch_options(config)
        return slurm.execute(program, runs, config.processes, options)
    return execution.execute(program, runs, config.processes or 1)


def _plan(arguments: Sequence[str], folder: pathlib.Path, module: Any) -> grid_lib.Grid:
    """Returns the grid of the arguments and the directory together, checked."""
    on_resume = flags.on_resume(module.Config)
    grid = grid_lib.parse(arguments, grid_lib.read(folder), on_resume)
    grid_lib.check(grid, module)
    return grid


def _show(config: Config, folder: pathlib.Path, grid: grid_lib.Grid) -> list[results_lib.Result]:
    """Prints and writes the table, and plots the picture if something was measured."""
    results = [results_lib.read(run) for run in grid.runs(folder)]
    table = results_lib.table(results, config.target)
    title = ' '.join([grid.program, *(f'{flag}={value}' for flag, value in grid.fixed.items())])
    print(f'\n{title}\n\n{table}\n')
    page, csv = folder / 'sweep.md', folder / 'sweep.csv'
    with directory.optional():  # for who only reads
        storage.write_text(page, results_lib.page(title, results, config.target))
        sources.write_csv(csv, results_lib.facts(results))
        print(f'table        {page}\ntable        {csv}')
        for picture in _draw(config, folder, grid, results):
            print(f'picture      {picture}')
    return results


def _draw(
    config: Config, folder: pathlib.Path, grid: grid_lib.Grid, results: list[results_lib.Result]
) -> list[pathlib.Path]:
    """Draws a picture of what can be compared, in each format; returns their paths."""
    groups, pictures = results_lib.by_setting(results), []
    if len(groups) > 1:
        print(f'{len(groups)} tasks that cannot be compared, each in a picture of its own')
    for title, group in groups.items():
        name, shown, part = 'sweep', results, grid
        if len(groups) > 1:
            name, shown = f'sweep-{settings.file_name(title)}', group
            part = grid_lib.subset(grid, [result.run.configuration for result in group])
        for kind in config.formats.split(','):
            pictures.append(folder / f'{name}.{kind}')
            shown_title = settings.without_digest(title)
            figure.plot(part, shown, pictures[-1], config.x, config.target, shown_title)
    return pictures


def arguments_of(words: Sequence[str]) -> list[str]:
    """Returns a command line with the flags that are not the sweep's own as plain arguments."""
    own = {field.name for field in dataclasses.fields(Config)}

    def plain(word: str) -> str:
        word = re.sub('^--level(?==|$)', '--target', word)  # its name until 0.1
        name, equals, _ = word.removeprefix('--').partition('=')
        foreign = equals and name.replace('-', '_') not in own
        return word.removeprefix('--') if foreign else word

    return [plain(word) for word in words]


if __name__ == '__main__':
    errors.leave(flags.main(Config, run, 'sweep', args=arguments_of(sys.argv[1:])))
