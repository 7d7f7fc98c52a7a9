"""Runs a grid of settings of any program that trains, and draws what comes of it.

  python -m launch.sweep lm core=rmc,lstm seed=0,1,2 num_steps=500 --sweep_dir=runs/cores
  python -m launch.sweep lm --sweep_dir=runs/cores --mode=draw      table and picture, at any time

takes the program, then its flags, without dashes; those with several values, separated by commas,
make the grid. What has dashes is the sweep's own. (Flags of the program may keep their dashes where
the sweep has none of that name.) Every point is a run of its own in SWEEP_DIR/POINT, by the same
command that would run it alone.

The program checks all points before any starts. The same command goes on where it was stopped:
points that are done stay as they are, a larger `num_steps` trains all of them on, and another grid
with the same axes adds its points. The picture is after figure 4 of Santoro et al. 2018,
"Relational recurrent neural networks", https://arxiv.org/abs/1806.01822: panels for the first axis,
colours for the second, dashes for the third.
"""

from collections.abc import Sequence
import dataclasses
import pathlib
import sys
from typing import Annotated, Any

import tyro

from launch import (
    _cli,
    _errors,
    _run_directory,
    _signals,
    _sweep_figure,
    _sweep_grid,
    _sweep_results,
    _sweep_runs,
)
from tasks import base

MODES = ('run', 'draw')


@dataclasses.dataclass(frozen=True)
class Config:
    """Runs a grid of settings of a program: PROGRAM NAME=VALUE,VALUE NAME=VALUE --sweep_dir=DIR."""

    words: Annotated[tuple[str, ...], tyro.conf.Positional] = _cli.positional(
        r'the program, then its flags, several values separated by commas; \, is a comma'
    )
    sweep_dir: str | None = _cli.flag(
        None, 'folder of all runs, table and picture; default runs/sweep-PROGRAM', 'free'
    )
    mode: str = _cli.flag('run', 'run, or draw: only the table and the picture', 'free')
    processes: int = _cli.flag(1, 'runs at a time', 'free', minimum=1)
    x: str = _cli.flag('minutes', 'what the picture goes over: minutes, hours or steps', 'free')
    level: float | None = _cli.flag(
        None, 'of the measure: the table tells when it was passed', 'free'
    )

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        _cli.check_ranges(self)
        _cli.choose('mode', self.mode, MODES)
        _cli.choose('x', self.x, _sweep_figure.X)


def run(config: Config) -> list[_sweep_results.Result]:
    """Runs what is not done yet, prints the table and draws the picture.

    Args:
      config: the flags.

    Returns:
      What the points have reached.

    Raises:
      RunError: the grid cannot be run, a signal came, or a run failed (with its code).
      DataError: a file of the sweep is damaged.
    """
    folder = pathlib.Path(config.sweep_dir or f'runs/sweep-{config.words[0]}')
    if config.mode == 'draw':
        grid = _sweep_grid.read(folder)
        if grid is None:
            raise base.DataError(f'--sweep_dir={folder}: wanted the directory of a sweep, got none')
        return _show(config, folder, grid)
    module = _sweep_grid.load_program(config.words[0])
    _plan(config.words, folder, module)  # before the directory is touched
    with (
        _signals.Interrupts() as interrupts,
        _run_directory.RunDirectory(folder, 'sweep_dir'),
    ):
        grid = _plan(config.words, folder, module)  # another sweep may have added to it until now
        _sweep_grid.write(folder, grid)
        failures = _sweep_runs.run(folder, grid, config.processes, interrupts)
    results = _show(config, folder, grid)
    if failures:
        first = failures[0]
        message = f'{len(failures)} of {len(grid.points)} points failed, the first {first.name}'
        log = folder / first.name / _sweep_runs.LOG
        raise _errors.RunError(first.code, f'{message}: {first.reason}; see {log}')
    return results


def _plan(words: Sequence[str], folder: pathlib.Path, module: Any) -> _sweep_grid.Grid:
    """Returns the grid of the words and the directory together, checked."""
    known = _sweep_grid.read(folder)
    grid = _sweep_grid.parse(words, known)
    if known:
        grid = _sweep_grid.add(known, grid, _cli.field_classes(module.Config))
    _sweep_grid.check(grid, module)
    return grid


def _show(
    config: Config, folder: pathlib.Path, grid: _sweep_grid.Grid
) -> list[_sweep_results.Result]:
    """Prints and writes the table, and draws the picture if there is something to draw."""
    results = _sweep_results.read(folder, grid)
    table = _sweep_results.table(grid, results, config.level)
    fixed = ' '.join(f'{name}={value}' for name, value in grid.fixed.items())
    print(f'\n{grid.program} {fixed}\n\n{table}\n')
    page, picture = folder / 'sweep.md', folder / 'sweep.png'
    try:
        page.write_text(f'# {grid.program} {fixed}\n\n```\n{table}\n```\n', 'utf-8')
        if any(result.values for result in results):
            _sweep_figure.draw(grid, results, picture, config.x, config.level)
            print(f'picture      {picture}')
    except OSError as error:
        message = f'{error.filename or folder} cannot be written: {error.strerror}'
        raise _errors.RunError(_errors.CANNOT_SAVE, message) from error
    print(f'table        {page}')
    return results


def without_dashes(words: Sequence[str]) -> list[str]:
    """Returns a command line with the flags that are not the sweep's own as plain words."""
    own = {field.name for field in dataclasses.fields(Config)}

    def plain(word: str) -> str:
        name, equals, _ = word.removeprefix('--').partition('=')
        foreign = equals and name.replace('-', '_') not in own
        return word.removeprefix('--') if foreign else word

    return [plain(word) for word in words]


if __name__ == '__main__':
    sys.exit(_cli.main(Config, run, 'sweep', args=without_dashes(sys.argv[1:])))
