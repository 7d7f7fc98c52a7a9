r"""The grid of a sweep: which settings of which program, and what its directory holds already.

  lm core=rmc,lstm seed=0,1,2 dataset=text prompt='yes\, sir'

are the words of a grid of six points. Flags with several values are its axes, the others are fixed;
`\,` is a comma inside a value. `sweep.json` keeps the grid; another one with the same axes and
fixed flags is added to it point by point.
"""

from collections.abc import Mapping, Sequence
import contextlib
import importlib
import io
import itertools
import pathlib
import pkgutil
import re
from typing import Any, NamedTuple

from launch.runs import directory, errors
from launch.runs import flags as flags_lib
from tasks import base

FILE = 'sweep.json'
PACKAGE = 'launch'  # where the programs are
_LONGEST_NAME = 200  # characters; file systems take 255 bytes

Point = tuple[str, ...]  # a value for each axis


class Grid(NamedTuple):
    """What a sweep runs."""

    program: str  # the module's name in `launch`
    fixed: dict[str, str]  # flags that are the same everywhere
    axes: tuple[str, ...]  # flags that differ
    points: tuple[Point, ...]

    def flags(self, point: Point) -> dict[str, str]:
        """Returns all flags of a point, by name."""
        return {**self.fixed, **dict(zip(self.axes, point, strict=True))}

    def name(self, point: Point) -> str:
        """Returns what a point is called, which is a folder's name too."""
        pairs = zip(self.axes, point, strict=True)
        return ','.join(f'{axis}={re.sub("[^A-Za-z0-9._+-]", "_", value)}' for axis, value in pairs)

    def values(self, axis: int) -> list[str]:
        """Returns the values of an axis in the order to show them: by size if all are numbers."""
        values = list(dict.fromkeys(point[axis] for point in self.points))
        with contextlib.suppress(ValueError):
            values.sort(key=float)
        return values

    def ordered(self) -> list[Point]:
        """Returns the points by the order of the values of their axes."""
        ranks = [self.values(axis) for axis in range(len(self.axes))]
        return sorted(
            self.points,
            key=lambda point: [rank.index(value) for rank, value in zip(ranks, point, strict=True)],
        )


def parse(words: Sequence[str], known: Grid | None = None) -> Grid:
    """Reads a grid from a command line.

    Args:
      words: the program, then `NAME=VALUE` or `NAME=VALUE,VALUE` for each of its flags.
      known: what the directory holds; its axes are axes here too, whatever the number of values.

    Returns:
      The grid; that of `known` if there is nothing but the program.

    Raises:
      RunError: the words are no grid.
    """
    program, *pairs = words
    if known and not pairs:
        return known._replace(program=program)
    flags = dict(_flag(pair) for pair in pairs)
    if len(flags) < len(pairs):
        raise _usage('wanted every flag of the program once, got one of them again')
    axes = [name for name, values in flags.items() if len(values) > 1]
    if known and set(known.axes) <= flags.keys():
        axes = [*known.axes, *(name for name in axes if name not in known.axes)]
    if not axes:
        raise _usage('wanted a flag with several values, for example seed=0,1,2; got none')
    fixed = {name: values[0] for name, values in flags.items() if name not in axes}
    points = tuple(itertools.product(*(flags[name] for name in axes)))
    return _checked(Grid(program, fixed, tuple(axes), points))


def load_program(name: str) -> Any:
    """Returns the module of a program that a sweep can run.

    Raises:
      RunError: there is none, or it does not train.
    """
    package = importlib.import_module(PACKAGE)
    known = [module.name for module in pkgutil.iter_modules(package.__path__)]
    known = [module for module in known if not module.startswith('_')]
    if name not in known:
        raise _usage(f'no program {name!r}; wanted one that trains, out of {", ".join(known)}')
    module = importlib.import_module(f'{PACKAGE}.{name}')
    if not {'run_dir', 'num_steps'} <= flags_lib.on_resume(module.Config).keys():
        raise _usage(f'wanted a program that trains, with --run_dir and --num_steps; got {name}')
    return module


def command(grid: Grid, point: Point) -> list[str]:
    """Returns the flags of a point as words of the program's command line."""
    return [f'--{name}={value}' for name, value in grid.flags(point).items()]


def check(grid: Grid, module: Any) -> None:
    """Has the program itself check the flags of every point; nothing is started.

    Args:
      grid: what to run.
      module: the program.

    Raises:
      RunError: the program would refuse a point; names it.
    """
    presets = getattr(module, 'PRESETS', {})
    for point in grid.points:
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            words = command(grid, point)
            code = flags_lib.main(module.Config, lambda config: None, grid.program, presets, words)
        if code:
            reason = said.getvalue().strip().removeprefix(f'{grid.program}: ')
            raise errors.RunError(code, f'{grid.program} {grid.name(point)}: {reason}')


def add(known: Grid, new: Grid, on_resume: Mapping[str, str]) -> Grid:
    """Joins the points of two grids.

    Args:
      known: what the directory holds.
      new: what was asked for; its fixed flags are those of the result.
      on_resume: of every flag of the program; those that are 'free' may differ, and `num_steps`.

    Raises:
      RunError: the grids are not of one sweep; lists the differences.
    """
    old = {'program': known.program, **known.fixed, **dict.fromkeys(known.axes, 'several')}
    now = {'program': new.program, **new.fixed, **dict.fromkeys(new.axes, 'several')}
    differences = [
        f'{name}: {old.get(name, "absent")} -> {now.get(name, "absent")}'
        for name in {**old, **now}
        if old.get(name) != now.get(name) and not _may_change(name, old, now, on_resume)
    ]
    if differences:
        message = f'the directory holds another sweep ({"; ".join(differences)})'
        remedy = 'use the same fixed flags and axes, or another --sweep_dir'
        raise errors.RunError(errors.MISMATCH, f'{message}; {remedy}')
    return _checked(new._replace(points=tuple(dict.fromkeys(known.points + new.points))))


def read(folder: pathlib.Path) -> Grid | None:
    """Returns the grid that a directory holds, None if it holds none.

    Raises:
      DataError: its file is damaged.
    """
    values = directory.read_json(folder / FILE)
    if not values:
        return None
    try:
        points = tuple(tuple(point) for point in values['points'])
        grid = Grid(values['program'], dict(values['fixed']), tuple(values['axes']), points)
        for point in points:
            grid.name(point)
    except (KeyError, TypeError, ValueError) as error:
        reason = 'is not the grid of a sweep'
        raise base.DataError(f'{folder / FILE} {reason}; delete it or restore it') from error
    return grid


def write(folder: pathlib.Path, grid: Grid) -> None:
    """Keeps a grid in a directory."""
    directory.write_json(folder / FILE, grid._asdict())


def _flag(pair: str) -> tuple[str, list[str]]:
    """Returns the name and the values of a word."""
    name, equals, text = pair.partition('=')
    name = name.replace('-', '_')
    if not (name.isidentifier() and name[0] != '_' and equals):
        raise _usage(f'wanted NAME=VALUE,VALUE for a flag of the program, got {pair!r}')
    if name == 'run_dir':
        raise _usage('run_dir: wanted --sweep_dir=DIR, which holds the directories of all runs')
    values = [value.replace(r'\,', ',') for value in re.split(r'(?<!\\),', text)]
    if len(set(values)) < len(values):
        raise _usage(f'{name}: wanted values that differ, got {text}')
    return name, values


def _may_change(
    name: str, old: Mapping[str, str], now: Mapping[str, str], on_resume: Mapping[str, str]
) -> bool:
    """Returns whether a fixed flag may differ from the one that earlier points were run with."""
    if 'several' in (old.get(name), now.get(name)) or name in ('program', 'preset'):
        return False
    return on_resume.get(name) == 'free' or (name == 'num_steps' and name in old and name in now)


def _checked(grid: Grid) -> Grid:
    """Returns a grid whose points have short names that differ."""
    names = [grid.name(point) for point in grid.points]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise _usage(f'wanted points with names that differ, got {twice} twice')
    longest = max(names, key=len)
    if len(longest) > _LONGEST_NAME:
        raise _usage(f'wanted points with names up to {_LONGEST_NAME} characters, got {longest}')
    return grid


def _usage(message: str) -> errors.RunError:
    return errors.RunError(errors.USAGE, message)
