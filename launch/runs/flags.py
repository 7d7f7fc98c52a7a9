"""Command lines: a frozen dataclass becomes flags, and every bad command line one line on stderr.

A program declares its flags once:

  @dataclasses.dataclass(frozen=True)
  class Config:
      '''What the program does.'''

      num_steps: int = flags.flag(1000, 'training steps', 'warn', minimum=1)

      def __post_init__(self) -> None:
          flags.check(self)

and ends with `errors.leave(flags.main(Config, run, 'lm', PRESETS))`. A flag is an int, float, bool,
str or `Literal` of strings, or one of them or None (`int | None`). Its `on_resume` states what
happens when a run is resumed with another value: 'fixed' is refused, 'warn' reported, 'free'
accepted. `--help` shows the flags by `GROUPS`, if classes name those of the flags that they add:

      GROUPS: ClassVar = {'data': '*', 'model': 'size dropout'}  # * are all that it does not name
"""

import argparse
from collections.abc import Callable, Collection, Mapping, Sequence
import contextlib
import dataclasses
import difflib
import functools
import inspect
import math
import os
import sys
import traceback
import types
import typing
from typing import Any, Literal, NoReturn

from launch.runs import errors, plain, signals
from tasks import base

LARGEST = 2**31 - 1  # of a number without a limit of its own: devices count in int32
OnResume = Literal['fixed', 'warn', 'free']
# The groups of a help page, in its order; '' is that of --help itself.
GROUPS = '', 'run', 'data', 'model', 'training', 'evaluation', 'generation', 'benchmark', 'cluster'
Presets = Mapping[str, Any]  # configs by name


def flag(
    default: Any,
    help: str,  # noqa: A002
    on_resume: OnResume,
    minimum: float = -LARGEST,
    maximum: float = LARGEST,
    path: bool = False,
) -> Any:
    """Declares one flag: the default of a field of a frozen dataclass.

    Args:
      default: the value without the flag; never a mutable one.
      help: one line for `--help`.
      on_resume: what happens when a run is resumed with another value.
      minimum: of a number, the least value allowed.
      maximum: the greatest.
      path: whether it is one of a file or folder, in which ~ is the home folder.
    """
    facts = {'help': help, 'on_resume': on_resume, 'minimum': minimum, 'maximum': maximum}
    return dataclasses.field(default=default, metadata={**facts, 'path': path})


def positional(help: str, path: bool = False) -> Any:  # noqa: A002
    """Declares the field, a `tuple[str, ...]`, for the words that are no flags, at least one."""
    return flag((), help, 'free', path=path)


def on_resume(config_type: Any) -> dict[str, str]:
    """Returns what happens to every flag of a dataclass, or its instance, when a run is resumed."""
    return {field.name: field.metadata['on_resume'] for field in dataclasses.fields(config_type)}


def group(config_type: type[Any], name: str) -> str:
    """Returns the group of `GROUPS` in which a help page shows a flag."""
    owner = [base for base in config_type.__mro__ if name in inspect.get_annotations(base)][-1]
    groups = vars(owner).get('GROUPS', {'': '*'})
    named = [title for title, names in groups.items() if name in names.split()]
    return named[0] if named else next(title for title, names in groups.items() if names == '*')


def check(config: Any) -> None:
    """Raises a ValueError for the first flag that is not finite, out of range or not a choice."""
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        name, value, facts = field.name, getattr(config, field.name), field.metadata
        words, other = _allowed(hints[name])
        if not other and value not in words.values():
            check_choice(name, value, words)
        if other not in (int, float) or value is None:
            continue
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f'--{name}: wanted a finite number, got {value}')
        if value < facts['minimum']:
            raise ValueError(f'--{name}: wanted at least {facts["minimum"]}, got {value}')
        if value > facts['maximum']:
            raise ValueError(f'--{name}: wanted at most {facts["maximum"]}, got {value}')


def check_choice(name: str, value: str, choices: Collection[str]) -> None:
    """Raises a ValueError unless a flag's value is one of the choices; `check` knows `Literal`s."""
    if value not in choices:
        wanted = f'wanted one of {", ".join(choices)}'
        raise ValueError(f'--{name}: {wanted}, got {value!r}{_did_you_mean(value, choices)}')


def read_values(config_type: type[Any], saved: Mapping[str, Any]) -> dict[str, Any]:
    """Returns values that a file holds as those of flags; names that are no flags stay.

    Args:
      config_type: as in `main`.
      saved: what JSON can hold, by name.

    Raises:
      ValueError: a value is not of its flag's type.
    """
    hints, values = typing.get_type_hints(config_type), dict(saved)
    for name in saved.keys() & hints.keys():
        try:
            values[name] = _read(hints[name], str(saved[name]))
        except argparse.ArgumentTypeError as error:
            raise ValueError(f'--{name}: {error}') from error
    return values


def main(
    config_type: type[Any],
    run: Callable[[Any], object],
    program: str,
    presets: Presets | None = None,
    args: Sequence[str] | None = None,
) -> int:
    """Parses the command line, runs the program and returns its exit code, 0 after success.

    Signals raise in it, see `signals.handled`.

    Args:
      config_type: a frozen dataclass whose fields are declared with `flag`; its docstring opens the
        help page. With presets it has a field `preset`.
      run: does the work.
      program: the module's name in `launch`.
      presets: configs by name; flags that are not given are those of `--preset=NAME`, by default
        of the first.
      args: the command line without the program's name; None takes it from `sys.argv`.
    """
    with plain.printed(), signals.handled():
        return _main(config_type, run, program, presets, args)


def _main(
    config_type: type[Any],
    run: Callable[[Any], object],
    program: str,
    presets: Presets | None,
    args: Sequence[str] | None,
) -> int:
    try:
        run(parse(config_type, sys.argv[1:] if args is None else args, program, presets or {}))
    except (errors.RunError, base.DataError) as error:
        return _fail(program, getattr(error, 'code', errors.BAD_DATA), error)
    except OSError as error:  # a disk, and no defect
        where = f'{error.filename}: ' if error.filename else ''
        return _fail(program, errors.CANNOT_SAVE, f'{where}{error.strerror or error}')
    except Exception as error:
        if signal := signals.received():  # the libraries make other errors of `Interrupted`
            return _fail(program, errors.INTERRUPTED, signals.Interrupted(signal))
        if isinstance(error, MemoryError) or 'RESOURCE_EXHAUSTED' in str(error):
            found = f'out of memory: {errors.first_line(error)}'
            return _fail(program, errors.INTERNAL, f'{found}; lower --batch_size or other sizes')
        traceback.print_exc()
        return errors.INTERNAL
    return 0


def parse(config_type: type[Any], words: Sequence[str], program: str, presets: Presets) -> Any:
    """Returns the config of a command line, as in `main`; `--help` prints the flags and exits.

    Raises:
      RunError: the command line cannot be used.
    """
    hints = typing.get_type_hints(config_type)
    words = [word for given in words for word in _normalize(given)]
    default = next(iter(presets.values())) if presets else config_type()
    if presets:
        hints['preset'] = Literal[tuple(presets)]
        first = _Parser(allow_abbrev=False, add_help=False)
        first.add_argument('--preset', type=functools.partial(_read, hints['preset']))
        default = presets.get(first.parse_known_args(words)[0].preset, default)
    values, rest = _parser(default, hints, program).parse_known_intermixed_args(words)
    if rest:
        name = rest[0][2:].partition('=')[0]
        unknown = f'no flag --{name}{_did_you_mean(name, vars(default))}'
        reason = unknown if rest[0][:2] == '--' else f'wanted --flag=value, got {rest[0]!r}'
        raise errors.RunError(errors.USAGE, f'{reason}; --help lists the flags')
    given = {name: tuple(v) if isinstance(v, list) else v for name, v in vars(values).items()}
    try:
        return dataclasses.replace(default, **given)
    except ValueError as error:  # from the config's own checks
        raise errors.RunError(errors.USAGE, str(error)) from error


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise errors.RunError(errors.USAGE, message.removeprefix('argument '))


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *unused: Any) -> NoReturn:
        from launch.runs import versions  # takes a second, which other command lines do not need

        print(versions.describe())
        parser.exit()


def _parser(default: Any, hints: Mapping[str, Any], program: str) -> _Parser:
    """Returns the parser of all flags; what it returns leaves out those that are not given."""
    parser = _Parser(
        prog=f'python -m launch.{program}',
        usage='%(prog)s [--flag=value ...]',
        description=inspect.getdoc(default),
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument('--version', action=_Version, nargs=0, help='print the version and exit')
    places = {
        title: parser.add_argument_group(title) if title else parser
        for title in GROUPS
        if any(group(type(default), field.name) == title for field in dataclasses.fields(default))
    }
    # First what decides which values, and what for, the others have.
    fields = sorted(dataclasses.fields(default), key=lambda f: f.name not in ('preset', 'mode'))
    for field in fields:
        _add_flag(places[group(type(default), field.name)], field, hints[field.name], default)
    return parser


def _add_flag(
    place: argparse._ActionsContainer, field: dataclasses.Field, hint: Any, default: Any
) -> None:
    """Adds the flag that a field declares, with its default value, to a parser or its group."""
    text = field.metadata['help'].replace('%', '%%')
    read = _read_path if field.metadata.get('path') else _read
    read = functools.partial(read, str if hint == tuple[str, ...] else hint)
    if hint == tuple[str, ...]:
        place.add_argument(field.name, nargs='+', help=text, type=read)
        return
    words, other = _allowed(hint)
    value = str(getattr(default, field.name)).replace('%', '%%')
    says_it = value in ('', 'None')  # the text says what happens then
    alone: Any = {'nargs': '?', 'const': True} if hint is bool else {}
    place.add_argument(
        f'--{field.name}',
        type=read,
        help=text if says_it else f'{text} (default: {value})',
        metavar=field.name.upper() if other else '|'.join(words),
        **alone,
    )


def _normalize(word: str) -> list[str]:
    """Returns `--a-b=c` as `--a_b=c`; apart, if the value is the `--` that argparse drops."""
    if not word.startswith('--'):
        return [word]
    name, equals, value = word[2:].partition('=')
    name = f'--{name.replace("-", "_")}'
    return [name, value] if value == '--' else [name + equals + value]


def _read(hint: Any, text: str) -> Any:
    """Returns the value of a type that a word of a command line stands for."""
    words, other = _allowed(hint)
    if text in words:
        return words[text]
    with contextlib.suppress(ValueError):
        if other:
            return other(text)
    kinds = {int: 'an integer', float: 'a number', str: 'a text', None: 'one of'}
    wanted = f'{kinds[other]}{" or" if other and words else ""} {", ".join(words)}'.strip()
    raise argparse.ArgumentTypeError(f'wanted {wanted}, got {text!r}{_did_you_mean(text, words)}')


def _read_path(hint: Any, text: str) -> Any:
    """Returns what a word stands for, with the home folder for a ~, as a shell would give it."""
    path = _read(hint, text)
    if path is None or not path.startswith('~'):
        return path
    expanded = os.path.expanduser(path)
    if expanded.startswith('~'):
        user, _, _ = path.partition('/')
        message = f'wanted a path, got {text!r}: {user} is no home folder (./{text} would be here)'
        raise argparse.ArgumentTypeError(message)
    return expanded


def _allowed(hint: Any) -> tuple[dict[str, Any], Any]:
    """Returns the words that a type lists, with their values, and the type of all other values."""
    words: dict[str, Any] = {}
    other = None
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    for part in typing.get_args(hint) if union else (hint,):
        if typing.get_origin(part) is Literal:
            words |= {choice: choice for choice in typing.get_args(part)}
        elif part is bool:
            words |= {'True': True, 'False': False}
        elif part is types.NoneType:
            words |= {'None': None}
        else:
            other = part
    return words, other


def _did_you_mean(word: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f' (did you mean {near[0]}?)' if near else ''


def _fail(program: str, code: int, reason: object) -> int:
    print(f'{program}: {plain.message(str(reason))}', file=sys.stderr, flush=True)
    return code
