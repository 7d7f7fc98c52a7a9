"""Command lines: what is accepted, and one line with the flag's name for what is not."""

import dataclasses
import importlib
import math
import os
import pathlib
import platform
import re
import signal
import subprocess
import sys
import textwrap
from typing import ClassVar, Literal

import jax
import pytest

from launch.runs import errors, flags, signals
import relational_rnn
from tasks import base

_LAUNCH = pathlib.Path(flags.__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Config:
    """Trains a toy. The defaults are those of no table."""

    run_dir: str = flags.flag('runs/toy', "the run's directory", 'free')
    preset: str = flags.flag('small', 'named defaults', 'free')
    core: Literal['rmc', 'lstm'] = flags.flag('rmc', 'the recurrent core, 5 % of it', 'fixed')
    data_dir: str | None = flags.flag(None, 'folder of a corpus', 'fixed')
    num_heads: int = flags.flag(4, 'heads of attention', 'fixed', minimum=1, maximum=16)
    tied: bool = flags.flag(True, 'whether the softmax shares the embeddings', 'fixed')
    num_steps: int = flags.flag(10, 'training steps', 'warn', minimum=1)
    learning_rate: float = flags.flag(1e-3, 'the step size of Adam', 'warn', minimum=0)
    max_words: int | None = flags.flag(None, 'a limit for trials', 'fixed', minimum=1)
    split: Literal['valid', 'test'] | None = flags.flag(None, 'of the corpus', 'free')

    def __post_init__(self) -> None:
        flags.check(self)
        if self.num_heads % 2:
            raise ValueError(f'--num_heads: wanted an even number, got {self.num_heads}')


_PRESETS = {'small': Config(), 'large': Config(preset='large', num_steps=500, num_heads=8)}


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
    wanted = Config(num_steps=7, learning_rate=0.5, core='lstm', tied=False, data_dir='d-e_f')
    words = '--num_steps=7 --learning_rate=0.5 --core=lstm --tied=False --data_dir=d-e_f'
    assert _parsed(words.split()) == wanted
    assert _parsed(words.replace('=', ' ').split()) == wanted
    assert (
        _parsed(words.replace('_s', '-s').replace('_r', '-r').replace('_d', '-d').split()) == wanted
    )


@pytest.mark.parametrize(
    ('words', 'tied'),
    [(['--tied'], True), (['--tied', '--core=rmc'], True), (['--tied=False'], False)],
)
def test_a_bool_needs_no_value(words, tied):
    presets = {'untied': Config(tied=False)}
    assert _run(words, presets)[1][0].tied == tied


def test_a_value_may_be_empty_and_hold_anything():
    for value in ('', 'a b', '=', '-x', '--run_dir=y', 'a=b', '%', 'None'):
        assert _parsed([f'--run_dir={value}']).run_dir == value
    assert _parsed(['--learning_rate', '-0']).learning_rate == 0


def test_explicit_flags_override_the_preset_wherever_they_stand():
    assert _parsed(['--preset=large']) == Config(preset='large', num_steps=500, num_heads=8)
    wanted = Config(preset='large', num_steps=3, num_heads=8)
    assert _parsed(['--num_steps=3', '--preset', 'large']) == wanted
    assert _parsed(['--preset=large', '--num_steps=3']) == wanted


def test_the_first_preset_applies_without_a_flag():
    first = Config(preset='tiny', num_steps=77)
    assert _run([], {'tiny': first, **_PRESETS}) == (0, [first])


def test_optional_values_can_be_none_or_given():
    assert _parsed(['--max_words=5']).max_words == 5
    assert _parsed(['--max_words=None']).max_words is None
    assert _parsed(['--split=test']).split == 'test'
    assert _parsed(['--split=None']).split is None


_INTEGERS = ['x', '1.5', '', '1e3', '0x10', 'None', 'nan', '3,4', '-']
_NUMBERS = ['x', '', '1e-4x', '1,5', 'None', '1/3', '--tied=True']
_TEXTS = ['gru', '', 'RMC', 'rmc,lstm', 'None', 'lst']
_BOOLS = ['1', 'yes', 'true', '', 'no', 'FALSE']


def _bad_lines():
    """Yields command lines and what their message must hold."""
    for value in _INTEGERS:
        for name in ('num_steps', 'num_heads'):
            got = f'got {value!r}'[:1000]  # longer messages are cut
            yield [f'--{name}={value}'], [f'--{name}: wanted an integer', got]
    for value in _NUMBERS:
        yield [f'--learning_rate={value}'], ['--learning_rate: wanted a number', repr(value)]
    for value in _TEXTS:
        yield [f'--core={value}'], ['--core: wanted one of rmc, lstm', f'got {value!r}']
    for value in _BOOLS:
        yield ['--tied', value], ['--tied: wanted one of True, False', f'got {value!r}']
    for value in ('x', '2.5', ''):
        yield [f'--max_words={value}'], ['--max_words: wanted an integer or None', repr(value)]
    for value in ('tests', ''):
        yield [f'--split={value}'], ['--split: wanted one of valid, test, None', repr(value)]
    for name in ('num_steps', 'core', 'learning_rate', 'max_words', 'run_dir', 'preset'):
        for words in ([f'--{name}'], [f'--{name}', '--seed=3'], [f'--{name}=--']):
            yield words, [f'--{name}: expected one argument']
    for name in ('num_steps', 'core', 'learning_rate', 'tied', 'run_dir'):
        yield [f'--{name}s=3'], [f'no flag --{name}s (did you mean {name}?)', '--help']
    for word in ('extra', '-x', '-', 'num_steps=3'):
        yield ['--tied=True', word], ['wanted --flag=value', repr(word)]
    for word in ('--zzzz', '--zzzz=3', '--=3', '--num', '--num_step=3'):
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
    ],
)
def test_expected_ends_print_one_line_and_return_their_code(error, code, capsys):
    def run(config):
        raise error

    assert flags.main(Config, run, 'toy', _PRESETS, []) == code
    assert capsys.readouterr().err == 'toy: two lines\n'


@pytest.mark.parametrize('becomes', [signals.Interrupted, TypeError])
def test_a_signal_ends_any_program_in_order_whatever_is_made_of_it(becomes, capsys):
    def run(config):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except signals.Interrupted as stop:
            raise becomes('SIGINT') from stop

    assert flags.main(Config, run, 'toy', _PRESETS, []) == errors.INTERRUPTED
    message = 'stopped by SIGINT; run the same command again to resume'
    assert capsys.readouterr().err == f'toy: {message}\n'


@pytest.mark.parametrize(
    ('error', 'line'),
    [
        (OSError(28, 'No space left on device'), 'No space left on device'),
        (PermissionError(13, 'Permission denied', 'a/b'), 'a/b: Permission denied'),
        (OSError('broken'), 'broken'),
    ],
)
def test_a_disk_that_fails_anywhere_gets_one_line_and_74(error, line, capsys):
    def run(config):
        raise error

    assert flags.main(Config, run, 'toy', _PRESETS, []) == errors.CANNOT_SAVE
    assert capsys.readouterr().err == f'toy: {line}\n'


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
    for word in (
        'Trains a toy',
        '--run_dir RUN_DIR',
        'training steps (default: 500)',
        '--core rmc|lstm',
        '5 % of it (default: rmc)',
        '--preset small|large',
        '--split valid|test|None',
    ):
        assert word in ' '.join(page.split())
    assert page.index('--preset') < min(page.index(f'--{name}') for name in ('core', 'run_dir'))
    assert not re.search(r'default:\s+(None)?\)', page)  # what then happens is in the text


@dataclasses.dataclass(frozen=True)
class Grouped(Config):
    GROUPS: ClassVar = {'cluster': '*', 'model': 'size width'}

    size: int = flags.flag(1, 'a size', 'fixed')
    hosts: int = flags.flag(1, 'of a cluster', 'free')
    width: int = flags.flag(1, 'a width', 'fixed')
    num_heads: int = flags.flag(8, 'another default, in the group of its first class', 'fixed')


def test_help_shows_flags_in_their_groups(capsys):
    with pytest.raises(SystemExit):
        flags.main(Grouped, print, 'toy', None, ['--help'])
    page = capsys.readouterr().out
    _, options, model, cluster = re.split(r'^\w+:\n', page, flags=re.MULTILINE)
    assert re.findall('--([a-z_]+) [A-Z]+\n* ', model) == ['size', 'width']
    assert re.findall('--([a-z_]+) [A-Z]+\n* ', cluster) == ['hosts']
    assert '--num_heads NUM_HEADS' in options
    assert page.index('\nmodel:\n') < page.index('\ncluster:\n')


def test_version_is_that_of_the_package_jax_and_python(capsys):
    with pytest.raises(SystemExit) as stop:
        _run(['--num_steps=3', '--version'])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    versions = relational_rnn.__version__, jax.__version__, platform.python_version()
    assert printed == 'relational_rnn {}, jax {}, Python {}\n'.format(*versions)


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


def test_what_happens_on_resume_is_known_of_every_field():
    found = flags.on_resume(Config)
    assert list(found) == [field.name for field in dataclasses.fields(Config)]
    assert flags.on_resume(Config()) == found
    assert (found['core'], found['num_steps'], found['run_dir']) == (
        'fixed',
        'warn',
        'free',
    )


def test_a_field_that_is_no_flag_is_refused():
    @dataclasses.dataclass(frozen=True)
    class Bare:
        size: int = 3

    with pytest.raises(KeyError):
        flags.on_resume(Bare)


def test_a_choice_that_is_none_is_refused():
    flags.check_choice('dataset', 'text', ['pydoc', 'text'])
    message = r"--dataset: wanted one of pydoc, text, got 'txt' \(did you mean text\?\)"
    with pytest.raises(ValueError, match=message):
        flags.check_choice('dataset', 'txt', ['pydoc', 'text'])


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'core': 'gru'}, "--core: wanted one of rmc, lstm, got 'gru'"),
        ({'split': 'train'}, "--split: wanted one of valid, test, None, got 'train'"),
        ({'tied': 'x'}, "--tied: wanted one of True, False, got 'x'"),
        ({'num_heads': 17}, '--num_heads: wanted at most 16, got 17'),
        ({'max_words': 0}, '--max_words: wanted at least 1, got 0'),
        ({'learning_rate': math.inf}, '--learning_rate: wanted a finite number, got inf'),
    ],
)
def test_a_config_made_in_a_program_is_checked_too(values, message):
    with pytest.raises(ValueError, match=message):
        Config(**values)


@dataclasses.dataclass(frozen=True)
class Lists:
    """Takes words."""

    folders: tuple[str, ...] = flags.positional('what to read')
    x: str | None = flags.flag(None, 'an axis', 'free')
    size: int = flags.flag(3, 'a number', 'free', minimum=1)

    def __post_init__(self) -> None:
        flags.check(self)


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
        ('', 'the following arguments are required: folders'),
        ('--size=5', 'the following arguments are required: folders'),
        ('a --siez=5', 'no flag --siez (did you mean size?); --help lists the flags'),
        ('a --size=b', "--size: wanted an integer, got 'b'"),
        ('a --size=0', '--size: wanted at least 1, got 0'),
        ('a --zzz=b', 'no flag --zzz; --help lists the flags'),
        ('a --size', '--size: expected one argument'),
        ('a -s', "wanted --flag=value, got '-s'; --help lists the flags"),
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


@dataclasses.dataclass(frozen=True)
class Paths:
    """Reads folders."""

    folders: tuple[str, ...] = flags.positional('what to read', path=True)
    output: str | None = flags.flag(None, 'a folder', 'free', path=True)
    text: str = flags.flag('', 'no path', 'free')


def _paths(*words):
    seen = []
    return flags.main(Paths, seen.append, 'paths', args=words), seen


def test_the_home_folder_stands_for_a_tilde_in_paths_alone(monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    line = '~/a', 'b/~c', '~', '--output=~/d', '--text=~/e'
    assert _paths(*line) == (0, [Paths(('/home/me/a', 'b/~c', '/home/me'), '/home/me/d', '~/e')])
    assert _paths('./~/a', '--output=None') == (0, [Paths(('./~/a',), None)])


def test_a_home_folder_that_is_not_there_is_refused(capsys):
    assert _paths('a', '--output=~nobody-here/b') == (errors.USAGE, [])
    wanted = "--output: wanted a path, got '~nobody-here/b': ~nobody-here is no home folder"
    assert capsys.readouterr().err == f'paths: {wanted} (./~nobody-here/b would be here)\n'


@pytest.mark.parametrize('program', sorted(x.stem for x in _LAUNCH.glob('[a-z]*.py')))
def test_every_path_of_every_program_is_declared_as_one(program):
    config = importlib.import_module(f'launch.{program}').Config
    named = re.compile('.*_dir|output|gif|runs').fullmatch
    fields = [field for field in dataclasses.fields(config) if named(field.name)]
    assert fields
    assert [field.name for field in fields if not field.metadata['path']] == []
