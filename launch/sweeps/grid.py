r"""The grid of a sweep: which configurations of which program, and what its directory holds.

  lm core=rmc,lstm seed=0,1,2 dataset=text prompt='yes\, sir'

are the arguments of a grid of six configurations. Flags with several values are its axes, the
others are fixed; `\,` is a comma inside a value. `sweep.json` keeps the grid; another one with the
same axes and fixed flags is added to it; flags that are 'free' on resuming, and `num_steps`, may
differ.
"""

from collections.abc import Iterable, Mapping, Sequence
import contextlib
import importlib
import itertools
import math
import pathlib
import pkgutil
import re
from typing import Any, NamedTuple

from launch.runs import directory, errors
from launch.runs import flags as flags_lib
from tasks import base

FILE = 'sweep.json'
PACKAGE = 'launch'  # where the programs are
_MOST = 1000  # configurations
_LONGEST_NAME = 200  # characters; file systems take 255 bytes
_SEVERAL = 'several'  # stands for the values of an axis where flags are compared

Configuration = dict[str, str]  # a value for each axis


class Run(NamedTuple):
    """A configuration of a sweep, which is a run of its own."""

    name: str
    configuration: Configuration
    flags: dict[str, str]  # those of the configuration and the fixed ones
    folder: pathlib.Path  # the run's directory

    @property
    def words(self) -> list[str]:
        """The flags as words of the program's command line."""
        return [
            *(f'--{flag}={value}' for flag, value in self.flags.items()),
            f'--run_dir={self.folder}',
        ]


class Grid(NamedTuple):
    """What a sweep runs."""

    program: str  # the module's name in `launch`
    fixed: dict[str, str]  # flags that are the same everywhere
    configurations: list[Configuration]  # one at least, in the order to show them

    @property
    def axes(self) -> list[str]:
        """The flags that differ."""
        return list(self.configurations[0])

    def runs(self, folder: pathlib.Path) -> list[Run]:
        """Returns the runs of a sweep in a directory."""
        names = map(_name, self.configurations)
        pairs = zip(names, self.configurations, strict=True)
        return [Run(name, each, {**self.fixed, **each}, folder / name) for name, each in pairs]

    def values(self, axis: str) -> list[str]:
        """Returns the values of an axis in the order to show them: by size if all are numbers."""
        values = list(dict.fromkeys(each[axis] for each in self.configurations))
        with contextlib.suppress(ValueError):
            values.sort(key=float)
        return values


def parse(
    arguments: Sequence[str], known: Grid | None = None, on_resume: Mapping[str, str] | None = None
) -> Grid:
    """Reads a grid from a command line, and adds it to what the directory holds.

    Args:
      arguments: the program, then `NAME=VALUE` or `NAME=VALUE,VALUE` for each of its flags.
      known: what the directory holds; its axes are axes here too, whatever the number of values,
        and it is meant if there is nothing but the program.
      on_resume: of every flag of the program, where something is known.

    Raises:
      RunError: the arguments are no grid, or that of another sweep than the known one.
    """
    program, *pairs = arguments
    if known and not pairs:
        new = known._replace(program=program)
    else:
        new = _parse(program, pairs, known.axes if known else [])
    if known is None:
        return new
    _check_same(known, new, on_resume or {})
    added = [each for each in new.configurations if each not in known.configurations]
    points = [each.values() for each in known.configurations + added]
    return _make(program, new.fixed, known.axes, points)


def _parse(program: str, pairs: Sequence[str], known_axes: list[str]) -> Grid:
    flags = dict(_flag(pair) for pair in pairs)
    if len(flags) < len(pairs):
        raise _usage('wanted every flag of the program once, got one of them again')
    axes = known_axes if set(known_axes) <= flags.keys() else []
    axes += [flag for flag, values in flags.items() if len(values) > 1 and flag not in axes]
    if not axes:
        raise _usage('wanted a flag with several values, for example seed=0,1,2; got none')
    count = math.prod(len(flags[axis]) for axis in axes)
    if count > _MOST:
        raise _usage(f'wanted at most {_MOST:,} configurations, got {count:,}')
    fixed = {flag: values[0] for flag, values in flags.items() if flag not in axes}
    return _make(program, fixed, axes, itertools.product(*(flags[axis] for axis in axes)))


def subset(grid: Grid, configurations: Sequence[Configuration]) -> Grid:
    """Returns a grid of some of the configurations, whose axes are those that differ in them."""
    axes = [axis for axis in grid.axes if len({each[axis] for each in configurations}) > 1]
    kept = [{axis: each[axis] for axis in axes} for each in configurations]
    return grid._replace(configurations=kept)


def load_program(name: str) -> Any:
    """Returns the module of a program that a sweep can run.

    Raises:
      RunError: there is none, or it does not train.
    """
    package = importlib.import_module(PACKAGE)
    modules = [each.name for each in pkgutil.iter_modules(package.__path__) if not each.ispkg]
    known = [each for each in modules if not each.startswith('_')]
    if name not in known:
        raise _usage(f'no program {name!r}; wanted one that trains, out of {", ".join(known)}')
    module = importlib.import_module(f'{PACKAGE}.{name}')
    if not {'run_dir', 'num_steps'} <= flags_lib.on_resume(module.Config).keys():
        raise _usage(f'wanted a program that trains, with --run_dir and --num_steps; got {name}')
    return module


def check(grid: Grid, module: Any) -> None:
    """Has the program itself check every configuration; nothing is started.

    Raises:
      RunError: the program would refuse a configuration; names it.
    """
    presets = getattr(module, 'PRESETS', {})
    for run in grid.runs(pathlib.Path()):
        try:
            flags_lib.parse(module.Config, run.words, grid.program, presets)
        except errors.RunError as error:
            message = f'{grid.program} {run.name}: {error}'
            raise errors.RunError(error.code, message) from error


def read(folder: pathlib.Path) -> Grid | None:
    """Returns the grid that a directory holds, None if it holds none.

    Raises:
      DataError: its file is damaged.
    """
    values = directory.read_json(folder / FILE)
    if not values:
        return None
    try:
        return _make(values['program'], dict(values['fixed']), values['axes'], values['points'])
    except (errors.RunError, KeyError, TypeError, ValueError) as error:
        reason = 'is not the grid of a sweep'
        raise base.DataError(f'{folder / FILE} {reason}; delete it or restore it') from error


def write(folder: pathlib.Path, grid: Grid) -> None:
    """Keeps a grid in a directory."""
    points = [list(each.values()) for each in grid.configurations]
    values = {'program': grid.program, 'fixed': grid.fixed, 'axes': grid.axes, 'points': points}
    directory.write_json(folder / FILE, values)


def _flag(pair: str) -> tuple[str, list[str]]:
    """Returns the name and the values of an argument."""
    flag, equals, text = pair.partition('=')
    flag = flag.replace('-', '_')
    if not (flag.isidentifier() and flag[0] != '_' and equals):
        raise _usage(f'wanted NAME=VALUE,VALUE for a flag of the program, got {pair!r}')
    if flag == 'run_dir':
        raise _usage('run_dir: wanted --sweep_dir=DIR, which holds the directories of all runs')
    values = [value.replace(r'\,', ',') for value in re.split(r'(?<!\\),', text)]
    if len(set(values)) < len(values):
        raise _usage(f'{flag}: wanted values that differ, got {text}')
    return flag, values


def _check_same(known: Grid, new: Grid, on_resume: Mapping[str, str]) -> None:
    """Raises a RunError if grids have other axes or fixed flags, unless those may differ."""
    old, now = (
        {'program': grid.program, **grid.fixed, **dict.fromkeys(grid.axes, _SEVERAL)}
        for grid in (known, new)
    )
    may_differ = {flag for flag, value in on_resume.items() if value == 'free'} - {'preset'}
    may_differ |= {'num_steps'} & old.keys() & now.keys()
    differences = []
    for flag in {**old, **now}:
        before, after = old.get(flag, 'absent'), now.get(flag, 'absent')
        if before != after and (flag not in may_differ or _SEVERAL in (before, after)):
            differences.append(f'{flag}: {before} -> {after}')
    if differences:
        message = f'the directory holds another sweep ({"; ".join(differences)})'
        remedy = 'use the same fixed flags and axes, or another --sweep_dir'
        raise errors.RunError(errors.MISMATCH, f'{message}; {remedy}')


def _make(
    program: str, fixed: dict[str, str], axes: Sequence[str], points: Iterable[Iterable[str]]
) -> Grid:
    """Returns a grid in order, whose configurations have short names that differ."""
    grid = Grid(program, fixed, [dict(zip(axes, point, strict=True)) for point in points])
    names = list(map(_name, grid.configurations))
    twice = next((each for each in names if names.count(each) > 1), None)
    if twice:
        raise _usage(f'wanted configurations with names that differ, got {twice} twice')
    longest = max(names, key=len)
    if len(longest) > _LONGEST_NAME:
        wanted = f'wanted configurations with names up to {_LONGEST_NAME} characters'
        raise _usage(f'{wanted}, got {longest}')
    ranks = {axis: grid.values(axis).index for axis in axes}
    grid.configurations.sort(key=lambda each: [ranks[axis](value) for axis, value in each.items()])
    return grid


def _name(configuration: Configuration) -> str:
    """Returns what a configuration is called, which is a folder's name too."""
    values = {axis: re.sub('[^A-Za-z0-9._+-]', '_', value) for axis, value in configuration.items()}
    return ','.join(f'{axis}={value}' for axis, value in values.items())


def _usage(message: str) -> errors.RunError:
    return errors.RunError(errors.USAGE, message)
