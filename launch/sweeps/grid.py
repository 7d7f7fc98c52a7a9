r"""The grid of a sweep: which configurations of which program, and what its directory holds.

  lm core=rmc,lstm seed=0,1,2 dataset=text prompt='yes\, sir'

are the arguments of a grid of six configurations. Flags with several values are its axes, the
others are fixed; `\,` is a comma inside a value. `sweep.json` keeps the grid; another one with the
same axes and fixed flags is added to it configuration by configuration.
"""

from collections.abc import Iterable, Mapping, Sequence
import contextlib
import importlib
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
_SEVERAL = 'several'  # stands for the values of an axis where fixed flags are compared

Configuration = dict[str, str]  # a value for each axis


class Grid(NamedTuple):
    """What a sweep runs."""

    program: str  # the module's name in `launch`
    fixed: dict[str, str]  # flags that are the same everywhere
    configurations: list[Configuration]  # one at least, in the order to show them

    @property
    def axes(self) -> list[str]:
        """The flags that differ."""
        return list(self.configurations[0])

    def flags(self, configuration: Configuration) -> dict[str, str]:
        """Returns all flags of a configuration, by name."""
        return {**self.fixed, **configuration}

    def values(self, axis: str) -> list[str]:
        """Returns the values of an axis in the order to show them: by size if all are numbers."""
        values = list(dict.fromkeys(each[axis] for each in self.configurations))
        with contextlib.suppress(ValueError):
            values.sort(key=float)
        return values


def name(configuration: Configuration) -> str:
    """Returns what a configuration is called, which is a folder's name too."""
    values = {axis: re.sub('[^A-Za-z0-9._+-]', '_', value) for axis, value in configuration.items()}
    return ','.join(f'{axis}={value}' for axis, value in values.items())


def parse(arguments: Sequence[str], known: Grid | None = None) -> Grid:
    """Reads a grid from a command line.

    Args:
      arguments: the program, then `NAME=VALUE` or `NAME=VALUE,VALUE` for each of its flags.
      known: what the directory holds; its axes are axes here too, whatever the number of values.

    Returns:
      The grid; that of `known` if there is nothing but the program.

    Raises:
      RunError: the arguments are no grid.
    """
    program, *pairs = arguments
    if known and not pairs:
        return known._replace(program=program)
    flags = dict(_flag(pair) for pair in pairs)
    if len(flags) < len(pairs):
        raise _usage('wanted every flag of the program once, got one of them again')
    axes = known.axes if known and set(known.axes) <= flags.keys() else []
    axes += [each for each, values in flags.items() if len(values) > 1 and each not in axes]
    if not axes:
        raise _usage('wanted a flag with several values, for example seed=0,1,2; got none')
    fixed = {each: values[0] for each, values in flags.items() if each not in axes}
    points = itertools.product(*(flags[axis] for axis in axes))
    return _make(program, fixed, (dict(zip(axes, point, strict=True)) for point in points))


def load_program(program: str) -> Any:
    """Returns the module of a program that a sweep can run.

    Raises:
      RunError: there is none, or it does not train.
    """
    package = importlib.import_module(PACKAGE)
    modules = pkgutil.iter_modules(package.__path__)
    known = [module.name for module in modules if not module.ispkg]
    if program not in known:
        raise _usage(f'no program {program!r}; wanted one that trains, out of {", ".join(known)}')
    module = importlib.import_module(f'{PACKAGE}.{program}')
    if not {'run_dir', 'num_steps'} <= flags_lib.on_resume(module.Config).keys():
        wanted = 'wanted a program that trains, with --run_dir and --num_steps'
        raise _usage(f'{wanted}; got {program}')
    return module


def command(grid: Grid, configuration: Configuration) -> list[str]:
    """Returns the flags of a configuration as arguments of the program's command line."""
    return [f'--{flag}={value}' for flag, value in grid.flags(configuration).items()]


def check(grid: Grid, module: Any) -> None:
    """Has the program itself check the flags of every configuration; nothing is started.

    Args:
      grid: what to run.
      module: the program.

    Raises:
      RunError: the program would refuse a configuration; names it.
    """
    presets = getattr(module, 'PRESETS', {})
    for each in grid.configurations:
        try:
            flags_lib.parse(module.Config, command(grid, each), grid.program, presets)
        except errors.RunError as error:
            message = f'{grid.program} {name(each)}: {error}'
            raise errors.RunError(error.code, message) from error


def add(known: Grid, new: Grid, on_resume: Mapping[str, str]) -> Grid:
    """Joins the configurations of two grids.

    Args:
      known: what the directory holds.
      new: what is asked for; its fixed flags are those of the result.
      on_resume: of every flag of the program; those that are 'free' may differ, and `num_steps`.

    Raises:
      RunError: the grids are not of one sweep; lists the differences.
    """
    old, now = (
        {'program': grid.program, **grid.fixed, **dict.fromkeys(grid.axes, _SEVERAL)}
        for grid in (known, new)
    )
    differences = [
        f'{flag}: {old.get(flag, "absent")} -> {now.get(flag, "absent")}'
        for flag in {**old, **now}
        if old.get(flag) != now.get(flag) and not _may_change(flag, old, now, on_resume)
    ]
    if differences:
        message = f'the directory holds another sweep ({"; ".join(differences)})'
        remedy = 'use the same fixed flags and axes, or another --sweep_dir'
        raise errors.RunError(errors.MISMATCH, f'{message}; {remedy}')
    added = [each for each in new.configurations if each not in known.configurations]
    return _make(new.program, new.fixed, known.configurations + added)


def read(folder: pathlib.Path) -> Grid | None:
    """Returns the grid that a directory holds, None if it holds none.

    Raises:
      DataError: its file is damaged.
    """
    values = directory.read_json(folder / FILE)
    if not values:
        return None
    try:
        points = [dict(zip(values['axes'], point, strict=True)) for point in values['points']]
        return _make(values['program'], dict(values['fixed']), points)
    except (errors.RunError, AttributeError, KeyError, TypeError, ValueError) as error:
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


def _may_change(
    flag: str, old: Mapping[str, str], now: Mapping[str, str], on_resume: Mapping[str, str]
) -> bool:
    """Returns whether a flag may differ from the one that earlier configurations were run with."""
    if _SEVERAL in (old.get(flag), now.get(flag)) or flag in ('program', 'preset'):
        return False
    return on_resume.get(flag) == 'free' or (flag == 'num_steps' and flag in old and flag in now)


def _make(program: str, fixed: dict[str, str], configurations: Iterable[Configuration]) -> Grid:
    """Returns a grid in order, whose configurations have short names that differ."""
    grid = Grid(program, fixed, list(configurations))
    names = [name(each) for each in grid.configurations]
    twice = next((each for each in names if names.count(each) > 1), None)
    if twice:
        raise _usage(f'wanted configurations with names that differ, got {twice} twice')
    longest = max(names, key=len)
    if len(longest) > _LONGEST_NAME:
        wanted = f'wanted configurations with names up to {_LONGEST_NAME} characters'
        raise _usage(f'{wanted}, got {longest}')
    ranks = {axis: grid.values(axis).index for axis in grid.axes}
    grid.configurations.sort(key=lambda each: [ranks[axis](value) for axis, value in each.items()])
    return grid


def _usage(message: str) -> errors.RunError:
    return errors.RunError(errors.USAGE, message)
