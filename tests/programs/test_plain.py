"""What a terminal is sent: no control characters, whatever they came from."""

import io
import subprocess
import sys
import textwrap

import pytest

from launch.runs import flags, plain, progress
from tests.programs import test_flags

CLEAR = '\x1b[2J'
CLIPBOARD = '\x1b]52;c;ZXZpbA==\x07'


def _printed(write):
    """Returns what the terminal is sent by a function that prints."""
    stream, before = io.StringIO(), sys.stdout
    sys.stdout = stream
    try:
        with plain.printed():
            write()
    finally:
        sys.stdout = before
    return stream.getvalue()


@pytest.mark.parametrize(
    ('text', 'shown'),
    [
        (CLEAR, r'\x1b[2J'),
        (CLIPBOARD, r'\x1b]52;c;ZXZpbA==\x07'),
        ('\x9b2J', r'\x9b2J'),  # the same sequence in one byte
        ('good\rbad\b\x7f', r'good\rbad\x08\x7f'),
        ('abc\u202etxt', r'abc\u202etxt'),
        ('folder-\udcff', r'folder-\udcff'),  # a byte that is not UTF-8
        ('naïve 中文 ±1 ⏎ ▀ \U0001f600\n\tb', 'naïve 中文 ±1 ⏎ ▀ \U0001f600\n\tb'),
    ],
)
def test_control_characters_are_shown_and_not_sent(text, shown):
    assert _printed(lambda: print(text)) == f'{shown}\n'
    assert _printed(lambda: sys.stdout.writelines([text, text])) == shown + shown
    assert plain.line(text) == shown.replace('\n', r'\n').replace('\t', r'\t')


def test_streams_are_what_they_were_afterwards():
    before = sys.stdout, sys.stderr
    with plain.printed():
        assert sys.stdout is not before[0]
        assert sys.stdout.encoding == before[0].encoding
        assert plain.raw(sys.stdout) is before[0]
        with plain.printed():
            assert plain.raw(sys.stdout) is before[0]
    assert (sys.stdout, sys.stderr) == before
    assert plain.raw(sys.stdout) is sys.stdout


def test_a_long_message_lacks_its_middle():
    assert plain.message('a \n b  c') == 'a b c'
    assert plain.message('x' * 2000) == 'x' * 2000
    assert plain.message('a' * 3000 + 'b') == 'a' * 1000 + ' ... ' + 'a' * 999 + 'b'


class Terminal(io.StringIO):
    """A terminal's stream."""

    def isatty(self):
        return True


def test_a_bar_moves_the_cursor_but_what_it_says_does_not(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, 'stdout', terminal)
    with plain.printed(), progress.Progress() as bar:
        bar.step(1, 9, None)
        bar.say(f'evaluated {CLEAR}')
    assert '\r' in terminal.getvalue()
    assert r'evaluated \x1b[2J' in terminal.getvalue()
    assert CLEAR not in terminal.getvalue()


def test_what_any_program_prints_is_escaped(capsys):
    def run(config):
        print(f'reads {config.run_dir}')
        raise ValueError(f'a defect {CLEAR}')

    assert flags.main(test_flags.Config, run, 'toy', args=[f'--run_dir={CLIPBOARD}']) == 70
    assert flags.main(test_flags.Config, run, 'toy', args=[f'--num_steps={CLEAR}']) == 2
    assert flags.main(test_flags.Config, run, 'toy', args=[f'--{CLEAR}=3']) == 2
    with pytest.raises(SystemExit):
        flags.main(test_flags.Config, run, 'toy', {'a': test_flags.Config(run_dir=CLEAR)}, ['-h'])
    out, err = capsys.readouterr()
    assert r'reads \x1b]52;c;ZXZpbA==\x07' in out
    assert out.count(r'\x1b[2J') == 1
    assert err.count(r'\x1b[2J') >= 3
    assert '\x1b' not in out + err
    assert '\x07' not in out + err


_PRINTS = """
    import dataclasses, sys
    from launch.runs import errors, flags, plain, progress

    @dataclasses.dataclass(frozen=True)
    class Config:
        text: str = flags.flag('', 'a text', 'free')

    def run(config):
        with progress.Progress() as bar:
            for step in range(3000):
                bar.step(step, 3000, {'loss': 1.5})
                print('more', flush=True)
        plain.warn('a warning')
        open(sys.argv[1], 'w').close()
        raise errors.RunError(errors.BAD_DATA, 'the end')

    errors.leave(flags.main(Config, run, 'toy', args=[]))
"""


@pytest.mark.parametrize('where', ['full', 'closed pipe'])
def test_a_program_that_cannot_print_goes_on_and_keeps_its_exit_code(tmp_path, where):
    command = [sys.executable, '-c', textwrap.dedent(_PRINTS), str(tmp_path / 'end')]
    if where == 'full':
        with open('/dev/full', 'w') as full:
            done = subprocess.run(command, stdout=full, stderr=full, check=False)
    else:
        command = [
            'bash',
            '-c',
            '"$@" 2>&1 | head -n 1 >/dev/null; exit $PIPESTATUS',
            '-',
            *command,
        ]
        done = subprocess.run(command, check=False)
    assert done.returncode == 65
    assert (tmp_path / 'end').exists()
