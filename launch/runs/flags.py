"""Command lines: a frozen dataclass becomes flags, and every bad flag gets one line on stderr.

A program declares its flags once:

  @dataclasses.dataclass(frozen=True)
  class Config:
      '''What the program does.'''

      num_steps: int = flags.flag(1000, 'training steps', 'schedule', minimum=1)

      def __post_init__(self) -> None:
          flags.check_ranges(self)

and ends with `sys.exit(flags.main(Config, run, 'lm', PRESETS))`. The class of a flag says what may
happen to it when a run is resumed: 'identity' must stay, 'schedule' may change and is reported,
'free' may change. tyro parses the flags; what it rejects is explained here in one line.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import difflib
import io
import math
import sys
import traceback
import types
import typing
from typing import Any, Literal

import tyro

from launch.runs import errors
from tasks import base

Kind = Literal['identity', 'schedule', 'free']
Presets = Mapping[str, Mapping[str, Any]]


def flag(
    default: Any,
    description: str,
    kind: Kind,
    minimum: float | None = None,
    maximum: float | None = None,
) -> Any:
    """Declares one flag of a frozen dataclass.

    Args:
      default: the value without the flag; never a mutable one.
      description: one line for `--help`.
      kind: what may happen to it when a run is resumed.
      minimum: the least value allowed.
      maximum: the greatest value allowed.

    Returns:
      What stands behind the `=` of the dataclass's field.
    """
    if kind not in typing.get_args(Kind):
        raise ValueError(f'wanted a kind of {typing.get_args(Kind)}, got {kind!r}')
    facts = {'help': description, 'class': kind, 'minimum': minimum, 'maximum': maximum}
    return dataclasses.field(default=default, metadata=facts)


def positional(description: str) -> Any:
    """Declares the one field that takes the words of a command line that are no flags.

    Args:
      description: one line for `--help`.

    Returns:
      What stands behind the `=` of a field `Annotated[tuple[str, ...], tyro.conf.Positional]`; a
      command line has to fill it.
    """
    facts = {'help': description, 'class': 'free', 'positional': True}
    return dataclasses.field(default=(), metadata=facts)


def field_classes(config_type: Any) -> dict[str, str]:
    """Returns the class of every flag, by name.

    Args:
      config_type: a dataclass whose fields are all declared with `flag`, or one of its instances.

    Raises:
      TypeError: a field has no class.
    """
    fields = dataclasses.fields(config_type)
    bare = [field.name for field in fields if 'class' not in field.metadata]
    if bare:
        raise TypeError(
            f'wanted every field declared with flag(...), got {", ".join(bare)} without'
        )
    return {field.name: field.metadata['class'] for field in fields}


def check_ranges(config: Any) -> None:
    """Raises a ValueError for the first number of a config that is out of its range or not finite.

    Args:
      config: an instance of a dataclass whose fields are declared with `flag`.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if not isinstance(value, int | float):
            continue
        minimum, maximum = field.metadata.get('minimum'), field.metadata.get('maximum')
        if not math.isfinite(value):
            raise ValueError(f'--{field.name}: wanted a finite number, got {value}')
        if minimum is not None and value < minimum:
            raise ValueError(f'--{field.name}: wanted at least {minimum}, got {value}')
        if maximum is not None and value > maximum:
            raise ValueError(f'--{field.name}: wanted at most {maximum}, got {value}')


def choose(name: str, value: str, choices: Iterable[str]) -> None:
    """Raises a ValueError that lists the choices if a value is none of them.

    Args:
      name: the flag's name.
      value: what came.
      choices: what is allowed.
    """
    known = list(choices)
    if value not in known:
        wanted = f'wanted one of {", ".join(known)}'
        raise ValueError(f'--{name}: {wanted}, got {value!r}{_suggest(value, known)}')


def main(
    config_type: type[Any],
    run: Callable[[Any], object],
    program: str,
    presets: Presets | None = None,
    args: Sequence[str] | None = None,
) -> int:
    """Parses the command line, runs the program and returns its exit code.

    Args:
      config_type: a frozen dataclass whose fields are declared with `flag`; its docstring opens the
        help page. With presets it has a field `preset`, whose default may name one.
      run: does the work.
      program: the module's name in `launch`.
      presets: values by name, which `--preset=NAME` sets and explicit flags override.
      args: the command line without the program's name; None takes it from `sys.argv`.

    Returns:
      One of the codes of `errors`, 0 after success.
    """
    words = list(sys.argv[1:] if args is None else args)
    try:
        run(parse(config_type, words, program, presets or {}))
    except _UsageError as error:
        return _fail(program, errors.USAGE, error)
    except errors.RunError as error:
        return _fail(program, error.code, error)
    except base.DataError as error:
        return _fail(program, errors.BAD_DATA, error)
    except KeyboardInterrupt:
        return _fail(program, errors.INTERRUPTED, 'interrupted')
    except Exception:
        traceback.print_exc()
        return errors.INTERNAL
    return 0


def parse(config_type: type[Any], words: Sequence[str], program: str, presets: Presets) -> Any:
    """Returns the config that a command line asks for; `--help` prints the flags and exits with 0.

    Args:
      config_type: as in `main`.
      words: the command line without the program's name.
      program: as in `main`.
      presets: as in `main`.
    """
    default = _default(config_type, words, presets)
    wanted = _positional(config_type)
    if wanted and not {'-h', '--help'} & set(words):
        words = _gather(words, wanted)
    box = io.StringIO()  # tyro's drawing of an error, several lines
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(
                config_type,
                prog=f'python -m launch.{program}',
                args=words,
                default=default,
                use_underscores=True,
                config=(tyro.conf.FlagConversionOff,),
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        reason = _explain(config_type, words) or _reason(stop) or _flatten(box.getvalue())
        raise _UsageError(reason) from stop
    except ValueError as error:  # from the config's own checks
        raise _UsageError(error) from error


class _UsageError(Exception):
    """A command line that the user has to mend."""


def _fail(program: str, code: int, reason: object) -> int:
    print(f'{program}: {" ".join(str(reason).split())}', file=sys.stderr, flush=True)
    return code


def _default(config_type: type[Any], words: Sequence[str], presets: Presets) -> Any:
    """Returns the config before explicit flags: the defaults under those of the preset."""
    unknown = {name for values in presets.values() for name in values} - field_classes(
        config_type
    ).keys()
    if unknown:
        raise TypeError(f'wanted presets of known fields, got {", ".join(sorted(unknown))}')
    if not presets:
        return config_type()
    name = config_type().preset
    for flag_name, value in _pairs(words):
        if flag_name == 'preset' and value is not None:
            name = value
    if name not in presets and name != config_type().preset:
        try:
            choose('preset', name, presets)
        except ValueError as error:
            raise _UsageError(error) from error
    return config_type(**{**presets.get(name, {}), 'preset': name})


def _positional(config_type: type[Any]) -> str | None:
    """Returns the name of the field for words that are no flags, None if there is none."""
    fields = dataclasses.fields(config_type)
    return next((field.name for field in fields if 'positional' in field.metadata), None)


def _gather(words: Sequence[str], wanted: str) -> list[str]:
    """Puts the words that are no flags before all flags, where tyro looks for them."""
    pairs = list(_pairs(words))
    if all(name is not None for name, _ in pairs):
        raise _UsageError(f'wanted one or more {wanted}, got none; --help says which')
    alone = [value for name, value in pairs if name is None and value is not None]
    flags = [
        f'--{name}' if value is None else f'--{name}={value}'
        for name, value in pairs
        if name is not None
    ]
    return [*alone, *flags]


def _pairs(words: Sequence[str]) -> Iterator[tuple[str | None, str | None]]:
    """Yields name and value of every flag; no name for a word that is no flag, no value if none."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith('--'):
            yield None, word
            continue
        name, equals, value = word[2:].partition('=')
        if equals:
            yield name.replace('-', '_'), value
        elif rest and not rest[0].startswith('--'):
            yield name.replace('-', '_'), rest.pop(0)
        else:
            yield name.replace('-', '_'), None


def _explain(config_type: type[Any], words: Sequence[str]) -> str | None:
    """Returns what is wrong with the first bad word, None if no single word is to blame."""
    hints = typing.get_type_hints(config_type)
    takes_words = hints.pop(_positional(config_type) or '', None)
    for name, value in _pairs(words):
        if name is None:
            if takes_words:
                continue
            return f'wanted --flag=value, got {value!r}; --help lists the flags'
        if name not in hints:
            return f'no flag --{name}{_suggest(name, hints)}; --help lists the flags'
        if value is None:
            return f'--{name}: wanted {_wanted(hints[name])}, got nothing'
        if not _fits(hints[name], value):
            hint = _suggest(value, _choices(hints[name]))
            return f'--{name}: wanted {_wanted(hints[name])}, got {value!r}{hint}'
    return None


def _reason(stop: SystemExit) -> str | None:
    """Returns the message of the config's own check that made tyro stop, None if none did."""
    return str(stop.__context__) if isinstance(stop.__context__, ValueError) else None


def _flatten(box: str) -> str:
    return ' '.join(line.strip('│╭╮╰╯─ ') for line in box.splitlines())


def _suggest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f' (did you mean {near[0]}?)' if near else ''


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """Returns the members of a union, or the type itself."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def _choices(hint: Any) -> list[str]:
    """Returns the words that a type allows, empty where any word will do."""
    if typing.get_origin(hint) is Literal:
        return [str(choice) for choice in typing.get_args(hint)]
    return {bool: ['True', 'False'], types.NoneType: ['None']}.get(hint, [])


def _wanted(hint: Any) -> str:
    names = {int: 'an integer', float: 'a number', str: 'a text'}
    parts = [
        names.get(part) or f'one of {", ".join(_choices(part))}' for part in _alternatives(hint)
    ]
    return ' or '.join(parts).replace('one of None', 'None')


def _fits(hint: Any, value: str) -> bool:
    return any(_fits_one(part, value) for part in _alternatives(hint))


def _fits_one(hint: Any, value: str) -> bool:
    if hint in (int, float):
        try:
            hint(value)
        except ValueError:
            return False
        return True
    return hint is str or value in _choices(hint)
