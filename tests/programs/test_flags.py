"""Command lines: what is accepted, and one line with the flag's name for what is not."""

import dataclasses
import subprocess
import sys
import textwrap
from typing import Annotated, Literal

import pytest
import tyro

from launch.runs import errors, flags
from tasks import base

_PRESETS = {'small': {}, 'large': {'num_steps': 500, 'num_heads': 8}}


@dataclasses.dataclass(frozen=True)
class Config:
    """Trains a toy. The defaults are those of no table."""

    run_dir: str = flags.flag('runs/toy', "the run's directory", 'free')
    preset: str = flags.flag('small', 'named defaults', 'free')
    core: Literal['rmc', 'lstm'] = flags.flag('rmc', 'the recurrent core', 'identity')
    data_dir: str | None = flags.flag(None, 'folder of a corpus', 'identity')
    num_heads: int = flags.flag(4, 'heads of attention', 'identity', minimum=1, maximum=16)
    tied: bool = flags.flag(True, 'whether the softmax shares the embeddings', 'identity')
    num_steps: int = flags.flag(10, 'training steps', 'schedule', minimum=1)
    learning_rate: float = flags.flag(1e-3, 'the step size of Adam', 'schedule', minimum=0)
    max_words: int | None = flags.flag(None, 'a limit for trials', 'identity', minimum=1)

    def __post_init__(self) -> None:
        flags.check_ranges(self)
        if self.num_heads % 2:
            raise ValueError(f'--num_heads: wanted an even number, got {self.num_heads}')


def _run(words, presets=_PRESETS):
    seen = []
    return flags.main(Config, seen.append, 'toy', presets, words), seen


def _parsed(words):
    code, seen = _run(words)
    assert code == 0
    return seen[0]


def test_no_flags_give_the_defaults():
    assert _parsed([]) == Config()


def test_both_spellings_of_a_flag_are_read():
    wanted = Config(num_steps=7, learning_rate=0.5, core='lstm', tied=False, data_dir='d')
    words = '--num_steps=7 --learning_rate=0.5 --core=lstm --tied=False --data_dir=d'
    assert _parsed(words.split()) == wanted
    assert _parsed(words.replace('=', ' ').split()) == wanted


def test_explicit_flags_override_the_preset_wherever_they_stand():
    assert _parsed(['--preset=large']) == Config(preset='large', num_steps=500, num_heads=8)
    wanted = Config(preset='large', num_steps=3, num_heads=8)
    assert _parsed(['--num_steps=3', '--preset', 'large']) == wanted
    assert _parsed(['--preset=large', '--num_steps=3']) == wanted


def test_the_default_preset_applies_without_a_flag():
    code, seen = _run([], {'small': {'num_steps': 77}})
    assert (code, seen[0].num_steps) == (0, 77)


def test_optional_values_can_be_none_or_given():
    assert _parsed(['--max_words=5']).max_words == 5
    assert _parsed(['--max_words=None']).max_words is None


_INTEGERS = ['x', '1.5', '', '1e3', '0x10', 'None', 'nan', '3,4', '--', '9' * 5000]
_NUMBERS = ['x', '', '1e-4x', '1,5', 'None', '1/3', '--tied=True']
_TEXTS = ['gru', '', 'RMC', 'rmc,lstm', 'None', 'lst']
_FLAGS = ['1', 'yes', 'true', '', 'no', 'FALSE']


def _bad_lines():
    """Yields command lines and what their message must hold."""
    for value in _INTEGERS:
        for name in ('num_steps', 'num_heads'):
            yield [f'--{name}={value}'], [f'--{name}: wanted an integer', f'got {value!r}']
    for value in _NUMBERS:
        yield [f'--learning_rate={value}'], ['--learning_rate: wanted a number', repr(value)]
    for value in _TEXTS:
        yield [f'--core={value}'], ['--core: wanted one of rmc, lstm', f'got {value!r}']
    for value in _FLAGS:
        yield ['--tied', value], ['--tied: wanted one of True, False', f'got {value!r}']
    for value in ('x', '2.5', ''):
        yield [f'--max_words={value}'], ['--max_words: wanted an integer or None', repr(value)]
    for name in ('num_steps', 'core', 'learning_rate', 'tied', 'max_words', 'run_dir'):
        yield [f'--{name}'], [f'--{name}: wanted', 'got nothing']
        yield [f'--{name}', '--seed=3'], [f'--{name}: wanted', 'got nothing']
        yield [f'--{name}s=3'], [f'no flag --{name}s (did you mean {name}?)', '--help']
    for word in ('extra', '-x', '-', 'num_steps=3'):
        yield ['--tied=True', word], ['wanted --flag=value', repr(word)]
    for word in ('--zzzz', '--zzzz=3', '--=3'):
        yield [word], ['no flag --', '--help']
    for value, limit in (('0', 1), ('-3', 1)):
        yield [f'--num_steps={value}'], [f'--num_steps: wanted at least {limit}, got {value}']
    yield ['--num_heads=18'], ['--num_heads: wanted at most 16, got 18']
    yield ['--num_heads=3'], ['--num_heads: wanted an even number, got 3']
    yield ['--max_words=0'], ['--max_words: wanted at least 1, got 0']
    yield ['--learning_rate=-0.5'], ['--learning_rate: wanted at least 0, got -0.5']
    yield ['--learning_rate=nan'], ['--learning_rate: wanted a finite number, got nan']
    yield ['--learning_rate=inf'], ['--learning_rate: wanted a finite number, got inf']
    yield ['--preset=larg'], ['--preset: wanted one of small, large', '(did you mean large?)']
    yield ['--preset=large', '--num_steps=x'], ['--num_steps: wanted an integer', "'x'"]
    yield ['--num_steps', '3', '4'], ['wanted --flag=value', "'4'"]


@pytest.mark.parametrize(('words', 'parts'), list(_bad_lines()))
def test_a_bad_command_line_gets_one_line_and_exit_code_2(words, parts, capsys):
    code, seen = _run(words)
    out, err = capsys.readouterr()
    assert (code, seen, out) == (errors.USAGE, [], '')
    assert err.startswith('toy: ')
    assert err.count('\n') == 1
    assert err.endswith('\n')
    assert [part for part in parts if part not in err] == []


def test_a_message_of_the_config_itself_stands_alone(capsys):
    _run(['--num_heads=3'])
    assert capsys.readouterr().err == 'toy: --num_heads: wanted an even number, got 3\n'


def test_there_are_enough_bad_lines():
    assert len(list(_bad_lines())) >= 60


@pytest.mark.parametrize(
    ('error', 'code'),
    [
        (errors.RunError(errors.IN_USE, 'two\nlines'), 73),
        (base.DataError('two\nlines'), 65),
        (KeyboardInterrupt(), 75),
    ],
)
def test_expected_ends_print_one_line_and_return_their_code(error, code, capsys):
    def run(config):
        raise error

    assert flags.main(Config, run, 'toy', _PRESETS, []) == code
    message = 'interrupted' if code == 75 else 'two lines'
    assert capsys.readouterr().err == f'toy: {message}\n'


def test_a_defect_shows_its_traceback_and_returns_70(capsys):
    def run(config):
        raise ValueError('a defect')

    assert flags.main(Config, run, 'toy', _PRESETS, []) == errors.INTERNAL
    assert 'Traceback' in capsys.readouterr().err


def test_help_lists_flags_descriptions_and_the_presets_defaults(capsys):
    with pytest.raises(SystemExit) as stop:
        _run(['--preset=large', '--help'])
    assert stop.value.code == 0
    page = capsys.readouterr().out
    for word in ('Trains a toy', '--run_dir', '--num_steps', 'training steps', '500', 'lstm'):
        assert word in page


def test_help_does_not_start_a_device_backend():
    script = """
        import dataclasses, jax
        from launch.runs import flags
        @dataclasses.dataclass(frozen=True)
        class Config:
            size: int = flags.flag(3, 'a size', 'free')
        try:
            flags.main(Config, print, 'toy', None, ['--help'])
        finally:
            from jax._src import xla_bridge
            assert not xla_bridge.backends_are_initialized()
    """
    command = [sys.executable, '-c', textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, '')


def test_field_classes_name_every_field():
    classes = flags.field_classes(Config)
    assert list(classes) == [field.name for field in dataclasses.fields(Config)]
    assert (classes['core'], classes['num_steps'], classes['run_dir']) == (
        'identity',
        'schedule',
        'free',
    )


def test_a_field_without_a_class_is_refused():
    @dataclasses.dataclass(frozen=True)
    class Bare:
        size: int = 3

    with pytest.raises(TypeError, match='got size without'):
        flags.field_classes(Bare)
    with pytest.raises(ValueError, match='wanted a kind of'):
        flags.flag(3, 'a size', 'sometimes')


def test_a_preset_with_an_unknown_field_is_a_defect(capsys):
    code, _ = _run([], {'small': {}, 'large': {'num_stps': 3}})
    assert code == errors.INTERNAL
    assert 'num_stps' in capsys.readouterr().err


def test_choose_lists_the_choices():
    flags.choose('dataset', 'text', ['pydoc', 'text'])
    message = r"--dataset: wanted one of pydoc, text, got 'txt' \(did you mean text\?\)"
    with pytest.raises(ValueError, match=message):
        flags.choose('dataset', 'txt', ['pydoc', 'text'])


@dataclasses.dataclass(frozen=True)
class Lists:
    """Takes words."""

    folders: Annotated[tuple[str, ...], tyro.conf.Positional] = flags.positional('what to read')
    x: str | None = flags.flag(None, 'an axis', 'free')
    size: int = flags.flag(3, 'a number', 'free', minimum=1)

    def __post_init__(self) -> None:
        flags.check_ranges(self)


def _lists(line):
    seen = []
    return flags.main(Lists, seen.append, 'lists', args=line.split()), seen


@pytest.mark.parametrize(
    'line', ['a b/c --x=w --size 5', '--x w --size=5 a b/c', 'a --x=w b/c --size=5']
)
def test_words_that_are_no_flags_may_stand_anywhere(line):
    assert _lists(line) == (0, [Lists(('a', 'b/c'), 'w', 5)])


@pytest.mark.parametrize(
    ('line', 'reason'),
    [
        ('', 'wanted one or more folders, got none; --help says which'),
        ('--size=5', 'wanted one or more folders, got none; --help says which'),
        ('a --siez=5', 'no flag --siez (did you mean size?); --help lists the flags'),
        ('a --size=b', "--size: wanted an integer, got 'b'"),
        ('a --size=0', '--size: wanted at least 1, got 0'),
        ('a --folders=b', 'no flag --folders; --help lists the flags'),
        ('a --size', '--size: wanted an integer, got nothing'),
    ],
)
def test_bad_lines_with_words_get_one_line(line, reason, capsys):
    assert _lists(line) == (errors.USAGE, [])
    assert capsys.readouterr().err == f'lists: {reason}\n'


def test_help_needs_no_words(capsys):
    with pytest.raises(SystemExit) as stop:
        _lists('--help')
    assert not stop.value.code
    assert 'what to read' in capsys.readouterr().out
