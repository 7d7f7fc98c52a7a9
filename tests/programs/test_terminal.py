"""Terminals as a shell would lend them: real keys and signals through pseudo-terminals."""

import contextlib
import fcntl
import os
import pathlib
import queue
import re
import runpy
import signal
import struct
import subprocess
import sys
import termios
import textwrap
import threading
import time

import pytest

from launch.runs import errors
from launch.viewer import terminal

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE = 100  # seconds, for machines that have much else to do
LEFT = '\x1b[?1049l'  # the first screen is back
READS = """
    import os, signal, sys
    import numpy as np
    if os.environ.get('MISSES_SIGNALS'):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGWINCH])
    os.open(os.ttyname(0), os.O_RDWR)  # it is the terminal of this session now
    from launch.runs import errors, signals
    from launch.viewer import terminal

    RED, GREEN, KHAKI = (255, 0, 0), (0, 255, 0), (51, 255, 1)
    PICTURE = np.array([[RED, RED], [GREEN, KHAKI], [KHAKI, GREEN]], np.uint8)

    def report(*words):
        print(*words, file=sys.stderr, flush=True)

    def run(opened):
        key = ''
        while key != 'quit':
            opened.draw(terminal.View('a title', PICTURE, PICTURE[0, 0], 'a status', 'a help'))
            report(opened.size.columns, key)
            key = opened.read(None)
            if key == 'reset' and sys.argv[1:]:
                raise ValueError('a defect')
        report('', key)

    try:
        with signals.handled():
            terminal.check()
            terminal.run(run)
    except errors.RunError as error:
        report(error)
        os._exit(error.code)
"""


class Child:
    """A program on a pseudo-terminal of its own, which is 80 columns wide."""

    def __init__(self, *command, **environment):
        self.side, self._terminal = os.openpty()
        self.resize(80, 24)
        self.modes = termios.tcgetattr(self._terminal)
        self.shown = ''
        self._reported = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, *command],
            stdin=self._terminal,
            stdout=self._terminal,
            stderr=subprocess.PIPE,
            env={**os.environ, 'TERM': 'xterm-256color', **environment},
            cwd=ROOT,
            start_new_session=True,
        )
        self._threads = [threading.Thread(target=t) for t in (self._drain, self._listen)]
        for thread in self._threads:
            thread.start()

    def press(self, keys):
        os.write(self.side, keys)

    def resize(self, columns, lines):
        size = struct.pack('HHHH', lines, columns, 0, 0)
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, size)

    @property
    def is_as_before(self):
        return termios.tcgetattr(self._terminal) == self.modes

    def reported(self):
        """Returns the next line on stderr."""
        return self._reported.get(timeout=PATIENCE)

    def reports(self, wanted):
        """Waits for a line on stderr; lines before it, of views drawn once more, do no harm."""
        while self.reported() != wanted:
            pass
        return True

    def wait_for(self, text):
        self._until(lambda: text in self.shown, text)

    def end(self):
        """Returns the exit code, once all that was shown has come."""
        code = self.process.wait(PATIENCE)
        assert self.is_as_before
        count = fcntl.ioctl(self._terminal, termios.FIONREAD, bytes(4))
        self.num_unread = int.from_bytes(count, sys.byteorder)
        self.close()
        return code

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self._terminal is not None:
            os.close(self._terminal)
            self._terminal = None
            for thread in self._threads:
                thread.join()
            os.close(self.side)
            self.process.stderr.close()

    def _until(self, holds, wanted):
        end = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < end, f'no {wanted} in {self.shown!r}'
            assert self.process.poll() is None, self.shown
            time.sleep(0.01)

    def _drain(self):
        data = b''
        with contextlib.suppress(OSError):
            while new := os.read(self.side, 4096):
                data += new
                self.shown = data.decode(errors='replace')

    def _listen(self):
        for line in self.process.stderr:
            self._reported.put(line.decode().rstrip('\n'))


def half_blocks(text):
    """Returns the colour numbers of ink and paper of each half block in what a terminal is sent."""
    colors = {'38': '', '48': ''}
    found = []
    for code, number, block in re.findall(r'\x1b\[([34][89])(?:;5;(\d+))?|(▀)', text):
        if block:
            found.append((colors['38'], colors['48']))
        elif code[1] == '9':  # the default again, of both
            colors = {'38': '', '48': ''}
        else:
            colors[code] = number
    return found


@pytest.fixture
def start():
    children = []

    def begin(*arguments, **environment):
        children.append(Child('-c', textwrap.dedent(READS), *arguments, **environment))
        return children[-1]

    yield begin
    for child in children:
        child.close()


def test_keys_come_at_once_and_what_is_drawn_has_its_colours(start):
    child = start()
    assert child.reported() == '80 '
    assert not child.is_as_before
    names = ['up', 'left', 'down', 'right', 'stay', 'up', 'left', 'down', 'right', 'stay']
    names += ['up', 'down', 'right', 'left', 'reset', 'reset', 'quit']
    child.press(b'wasd WASD.\x1bOA\x1bOB\x1bOC\x1bODx7\n\xc3\xa4rRq')
    assert [child.reported().split()[-1] for _ in names] == names
    assert child.end() == 0
    before, drawn = child.shown.split('\x1b[?1049h')
    assert before == ''
    drawn, after = drawn.split(LEFT)
    assert 'a title' in drawn
    assert '\x1b]4;196;rgb:FF/00/00\x1b\\' in drawn
    assert '\x1b]4;82;rgb:33/FF/01\x1b\\' in drawn  # exactly, in the place of the nearest
    picture = [('196', '46'), ('196', '82'), ('82', ''), ('46', '')]  # nothing below the last row
    assert half_blocks(drawn) == [*picture, ('196', '196'), ('196', '196')]
    assert '\x1b]104' in drawn  # the palette is the user's again
    assert '▀' not in after


def test_a_terminal_with_a_palette_of_its_own_gets_colours_that_differ(start):
    child = start(TERM='screen-256color')
    assert child.reported() == '80 '
    child.press(b'\x04for the shell\n')
    assert child.end() == 0
    assert child.num_unread == 0
    assert '\x1b]4;' not in child.shown
    assert '\x1b[38;5;82m' in child.shown


@pytest.mark.slow  # a loaded machine misses the deadline
def test_another_size_and_a_stop_draw_again(start):
    child = start()
    assert child.reported() == '80 '
    child.resize(50, 20)
    assert child.reports('50 ')
    child.resize(3, 2)
    assert child.reports('3 ')
    child.resize(80, 24)
    assert child.reports('80 ')
    child.press(b'\x1a')  # the kernel lets a session without a shell go on at once
    child.wait_for(LEFT)
    child.press(b'w')
    assert child.reported() == '80 up'
    assert not child.is_as_before
    assert 'a title' in child.shown.split(LEFT)[1]
    child.press(b'q')
    assert child.end() == 0


@pytest.mark.slow  # a loaded machine misses the deadline
def test_another_size_is_noticed_without_its_signal(start):
    child = start(MISSES_SIGNALS='1')
    assert child.reported() == '80 '
    child.resize(50, 20)
    assert child.reports('50 ')
    child.press(b'q')
    assert child.end() == 0


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGINT'])
def test_a_signal_ends_it_in_order(name, start):
    child = start()
    child.reported()
    if name == 'SIGINT':
        child.press(b'\x03')
    else:
        os.kill(child.process.pid, signal.SIGTERM)
    assert child.end() == errors.INTERRUPTED
    assert child.shown.count(LEFT) == 1
    assert child.reported().startswith(f'stopped by {name}')


def test_after_a_defect_the_terminal_is_back(start):
    child = start('defect')
    child.reported()
    child.press(b'r')
    assert child.end() == 1
    assert child.shown.count(LEFT) == 1
    assert child.reported() == 'Traceback (most recent call last):'


def test_a_terminal_that_is_gone_is_to_quit():
    side, inner = os.openpty()
    script = textwrap.dedent(READS).replace('os.open(', '# ')  # else a hangup kills it
    process = subprocess.Popen(
        [sys.executable, '-c', script],
        **dict.fromkeys(('stdin', 'stdout'), inner),
        stderr=subprocess.PIPE,
        env={**os.environ, 'TERM': 'xterm-256color'},
        cwd=ROOT,
        start_new_session=True,
    )
    os.close(inner)
    assert process.stderr.readline() == b'80 \n'
    os.close(side)
    lines = process.communicate(timeout=PATIENCE)[1].decode().splitlines()
    assert lines == [' quit', 'the terminal cannot be used: nocbreak() returned ERR']
    assert process.returncode == errors.INTERRUPTED


@pytest.mark.parametrize('name', ['vt100', 'no-such-terminal'])
def test_a_terminal_without_colours_is_refused(name, start):
    child = start(TERM=name)
    assert child.end() == errors.USAGE
    wanted = 'wanted a terminal with 256 colours, as TERM=xterm-256color, got '
    assert child.reported() == f'{wanted}{name}; --gif=FILE.gif writes a file'
    assert child.shown == ''


@pytest.mark.parametrize('missing', ['input', 'output'])
def test_no_terminal_gets_one_line(missing, monkeypatch):
    side, inner = os.openpty()
    with open(inner) as terminal_file, open(os.devnull) as other:
        files = {'stdin': terminal_file, 'stdout': terminal_file}
        files['stdin' if missing == 'input' else 'stdout'] = other
        for name, file in files.items():
            monkeypatch.setattr(sys, name, file)
        message = f'wanted a terminal, the {missing} is none; --gif=FILE.gif writes a file'
        with pytest.raises(errors.RunError, match=message) as caught:
            terminal.check()
    assert caught.value.code == errors.USAGE
    os.close(side)


def test_where_python_has_no_curses_a_file_is_offered(monkeypatch):
    monkeypatch.setitem(sys.modules, 'curses', None)
    lacking = runpy.run_path(terminal.__file__)  # as `launch.play` imports it on Windows
    with pytest.raises(errors.RunError, match='with curses, this one has none; --gif=') as caught:
        lacking['check']()
    assert caught.value.code == errors.USAGE


def test_a_wait_ends_in_time():
    class Window:
        """Whose keys are these, and each wait as long as it is allowed to be."""

        def __init__(self):
            self.keys = [-1, ord('x'), -1, -1]

        def timeout(self, milliseconds):
            self.milliseconds = milliseconds

        def getch(self):
            time.sleep(self.milliseconds / 1000)
            return self.keys.pop() if self.keys else -1

    opened = terminal.Terminal.__new__(terminal.Terminal)
    opened._window = Window()
    opened._true_size = terminal.size()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(terminal, '_is_gone', lambda: False)
        begin = time.monotonic()
        assert opened.read(0.25) == ''
        assert 0.25 <= time.monotonic() - begin < 5
        opened._window.keys = [ord('w'), -1]
        assert opened.read(60) == 'up'


def test_the_program_is_played_with_real_keys():
    flags = '--world=mini_pacman', '--max_steps=3', '--rules=released', '--hide'
    child = Child('-m', 'launch.play', *flags, JAX_DISABLE_MOST_OPTIMIZATIONS='1')
    try:
        child.wait_for('steps 0')
        child.press(b'.\x1bOCr.q')
        assert child.end() == 0
    finally:
        child.close()
    assert child.shown.startswith('Mini PacMan, regular, released rules, window of 5 x 5\r\n')
    assert '▀' in child.shown
    text = child.shown.split(LEFT)[1]
    assert 'episode 1    return ' in text
    assert ', 2 steps; left before its end\r\nepisode 2    return ' in text
    assert ', 1 steps; left before its end\r\n' in text
