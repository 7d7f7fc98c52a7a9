"""Terminals as a shell would lend them: they are given back as they were, whatever happens."""

import contextlib
import fcntl
import os
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
from launch.viewer import terminal as terminal_lib

PATIENCE = 300  # seconds, for machines that have much else to do
LEFT = '\x1b[?25h\x1b[?1049l'  # the cursor and the first screen are back
READS = """
    import os
    os.open(os.ttyname(0), os.O_RDWR)  # it is the terminal of this session now
    from launch.runs import flags
    from launch.runs import errors
    from launch.viewer import terminal

    def run():
        with terminal_lib.Terminal() as terminal:
            while True:
                terminal.draw(['drawn', 'twice'])
                names = terminal.read(None)
                print('keys', names, terminal.size.columns, flush=True)
                if 'quit' in names:
                    return
                if 'anew' in names:
                    raise ValueError('a defect')

    try:
        run()
    except errors.RunError as error:
        print(error, flush=True)
        os._exit(error.code)
"""


class Child:
    """A program on a pseudo-terminal of its own, which is 80 columns wide."""

    def __init__(self, *command, **environment):
        self.side, self._terminal = os.openpty()
        self.resize(80, 24)
        self.modes = termios.tcgetattr(self._terminal)
        self._shown = b''
        self._thread = threading.Thread(target=self._drain)
        self._thread.start()
        streams = dict.fromkeys(('stdin', 'stdout', 'stderr'), self._terminal)
        self.process = subprocess.Popen(
            [sys.executable, *command],
            **streams,
            env={**os.environ, **environment},
            start_new_session=True,
        )

    def press(self, keys):
        os.write(self.side, keys)

    def resize(self, columns, lines):
        size = struct.pack('HHHH', lines, columns, 0, 0)
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, size)

    @property
    def shown(self):
        return self._shown.decode(errors='replace')

    @property
    def is_as_before(self):
        return termios.tcgetattr(self._terminal) == self.modes

    def wait_for(self, text, count=1):
        self._until(lambda: self.shown.count(text) >= count, f'{count} x {text!r}')

    def wait_for_state(self, letter):
        """Waits until the kernel says that the process is so, T for stopped."""
        with_state = f'/proc/{self.process.pid}/stat'

        def is_so():
            with open(with_state) as file:
                return file.read().rpartition(')')[2].split()[0] == letter

        self._until(is_so, letter)

    def end(self):
        """Returns the exit code, once all that was shown has come."""
        code = self.process.wait(PATIENCE)
        assert self.is_as_before
        self.close()
        return code

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self._terminal is not None:
            os.close(self._terminal)
            self._terminal = None
            self._thread.join()
            os.close(self.side)

    def _until(self, holds, wanted):
        end = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < end, f'no {wanted} in {self.shown!r}'
            assert self.process.poll() is None, self.shown
            time.sleep(0.01)

    def _drain(self):
        with contextlib.suppress(OSError):
            while data := os.read(self.side, 4096):
                self._shown += data


@pytest.fixture
def reader():
    child = Child('-c', textwrap.dedent(READS))
    child.wait_for('twice')
    yield child
    child.close()


def test_it_sends_every_key_at_once_and_shows_none(reader):
    assert not reader.is_as_before
    reader.press(b'w')
    reader.wait_for("keys ['up'] 80")
    reader.press(b'\x1b')
    reader.press(b'[D')
    reader.wait_for("keys ['left'] 80")
    reader.press(b'q')
    assert reader.end() == 0
    assert reader.shown.startswith(
        '\x1b[?1049h\x1b[?25l\x1b[2J\x1b[Hdrawn\x1b[K\r\r\ntwice\x1b[K\x1b[J'
    )
    assert reader.shown.endswith(LEFT)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_in_order(reader, number):
    os.kill(reader.process.pid, number)
    assert reader.end() == errors.INTERRUPTED
    assert reader.shown.endswith(f'{LEFT}stopped by {number.name}\r\n')


def test_control_c_is_a_signal(reader):
    reader.press(b'\x03')
    assert reader.end() == errors.INTERRUPTED
    assert reader.shown.endswith(f'{LEFT}stopped by SIGINT\r\n')


def test_after_a_defect_the_terminal_is_back_before_it_is_told(reader):
    reader.press(b'r')
    assert reader.end() == 1
    assert 'ValueError: a defect' in reader.shown.split(LEFT)[1]


def test_control_z_gives_the_terminal_back_until_it_goes_on(reader):
    reader.press(b'\x1a')
    reader.wait_for_state('T')
    assert reader.is_as_before
    reader.wait_for(LEFT)
    os.kill(reader.process.pid, signal.SIGCONT)
    reader.wait_for('drawn', 2)
    assert not reader.is_as_before
    reader.press(b'q')
    assert reader.end() == 0


def test_another_size_draws_anew(reader):
    reader.resize(50, 20)
    reader.wait_for('keys [] 50')
    reader.wait_for('\x1b[2J\x1b[Hdrawn', 2)
    reader.press(b'\x04')
    assert reader.end() == 0


def test_a_second_signal_ends_it_at_once():
    script = READS.replace('names = terminal.read(None)', 'import time; time.sleep(60)')
    child = Child('-c', textwrap.dedent(script))
    child.wait_for('twice')
    os.kill(child.process.pid, signal.SIGTERM)
    child.wait_for_state('S')
    time.sleep(0.3)  # asleep again: two signals at once are one
    os.kill(child.process.pid, signal.SIGTERM)
    assert child.end() == errors.INTERRUPTED
    assert child.shown.endswith(LEFT)


def test_a_terminal_that_is_gone_is_to_quit():
    side, inner = os.openpty()
    threading.Timer(0.3, os.close, [side]).start()
    with terminal_lib.Terminal(inner, inner) as terminal:
        assert terminal.size == (80, 24)  # it does not say
        assert terminal.read(None) == ['quit']
        with pytest.raises(errors.RunError, match='the terminal is gone'):
            terminal.draw(['text'])
    os.close(inner)


def test_signals_mean_what_they_meant_before():
    numbers = [*terminal_lib.Terminal.ENDS, signal.SIGTSTP, signal.SIGWINCH]
    before = [signal.getsignal(number) for number in numbers]
    side, inner = os.openpty()
    with terminal_lib.Terminal(inner, inner):
        assert all(
            signal.getsignal(number) != former
            for number, former in zip(numbers, before, strict=True)
        )
    assert [signal.getsignal(number) for number in numbers] == before
    os.close(side)
    os.close(inner)


def test_a_wait_ends_in_time():
    side, inner = os.openpty()
    with terminal_lib.Terminal(inner, inner) as terminal:
        begin = time.monotonic()
        assert terminal.read(0.25) == []
        assert 0.25 <= time.monotonic() - begin < 5
        os.write(side, b'x\x1b')  # nothing, and an escape key alone
        assert terminal.read(0.25) == []
        os.write(side, b'w')
        assert terminal.read(60) == ['up']
    os.close(side)
    os.close(inner)


def test_the_program_is_played_with_real_keys():
    flags = '--world=mini_pacman', '--max_steps=3', '--rules=released', '--hide'
    child = Child('-m', 'launch.play', *flags, JAX_DISABLE_MOST_OPTIMIZATIONS='1')
    child.wait_for('steps 0')
    child.press(b'.')
    child.wait_for('steps 1')
    child.press(b'\x1b[C')
    child.wait_for('steps 2')
    child.press(b'r')
    child.wait_for('steps 0', 2)
    child.press(b'q')
    assert child.end() == 0
    text = child.shown.split(LEFT)[1]
    assert text.startswith('episode 1    return ')
    assert ', 2 steps; left before its end\r\nepisode 2    return 0, 0 steps; left' in text
    assert '▀' in child.shown
    assert child.shown.startswith('Mini PacMan regular, rules released, window of 5\r\n')
