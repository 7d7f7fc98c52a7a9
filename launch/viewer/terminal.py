"""A terminal that sends every key at once, shows a picture in place, and is given back as it was.

It is given back after errors, signals and the end. Control-Z works too: the shell gets its
terminal, and the picture comes back with `fg`. The control sequences are those of ECMA-48 and, for
the second screen and the cursor, xterm's, https://invisible-island.net/xterm/ctlseqs/ctlseqs.html.
"""

from collections.abc import Sequence
import contextlib
import os
import select
import signal
import termios
import time
import tty
from types import FrameType
from typing import Any, Self

from launch.runs import errors
from launch.viewer import keyboard

_ENTER = b'\x1b[?1049h\x1b[?25l\x1b[2J'  # the second screen, no cursor, empty
_LEAVE = b'\x1b[0m\x1b[?25h\x1b[?1049l'
_SLICE = 0.1  # seconds between looks at signals
_SIZE = os.terminal_size((80, 24))  # of one that does not say


class Terminal:
    """Owns the terminal while its `with` block lasts; signals are noted, a second one ends all."""

    ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def __init__(self, source: int = 0, sink: int = 1) -> None:
        """Names the terminal, which is left alone until the block is entered.

        Args:
          source: the file descriptor that keys come from.
          sink: the one that is written to.
        """
        self._source, self._sink = source, sink
        self._received: str | None = None
        self._rest = b''
        self._is_stale = False

    def __enter__(self) -> Self:
        self._modes = termios.tcgetattr(self._source)
        handlers: dict[signal.Signals, Any] = dict.fromkeys(self.ENDS, self._note)
        handlers |= {signal.SIGTSTP: self._suspend, signal.SIGWINCH: self._spoil}
        self._former = {number: signal.getsignal(number) for number in handlers}
        for number, handler in handlers.items():
            signal.signal(number, handler)
        try:
            self._take()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._give_back()
        for number, handler in self._former.items():
            signal.signal(number, handler)

    @property
    def size(self) -> os.terminal_size:
        """Returns columns and lines."""
        try:
            size = os.get_terminal_size(self._sink)
        except OSError:  # it is gone, which those who write to it are told
            return _SIZE
        return size if min(size) else _SIZE

    def draw(self, lines: Sequence[str]) -> None:
        """Shows lines in the place of those before; none may be as wide as the terminal.

        Raises:
          RunError: the terminal is gone.
        """
        text = '\x1b[K\r\n'.join(lines[: self.size.lines])
        clear, self._is_stale = '\x1b[2J' if self._is_stale else '', False
        try:
            self._write(f'{clear}\x1b[H{text}\x1b[K\x1b[J'.encode())
        except OSError as error:
            message = f'the terminal is gone: {error.strerror}'
            raise errors.RunError(errors.INTERRUPTED, message) from error

    def read(self, seconds: float | None) -> list[str]:
        """Returns the keys that came, as `keyboard` names them; none if the picture is spoilt.

        Args:
          seconds: how long it waits for a key; None for as long as it takes.

        Raises:
          RunError: a signal came that ends the program.
        """
        end = None if seconds is None else time.monotonic() + seconds
        while True:
            if self._received:
                raise errors.RunError(errors.INTERRUPTED, f'stopped by {self._received}')
            left = _SLICE if end is None else max(0.0, end - time.monotonic())
            ready, _, _ = select.select([self._source], [], [], min(_SLICE, left))
            names = self._receive() if ready else []
            if names or self._is_stale or (end is not None and time.monotonic() >= end):
                return names
            if not ready:
                self._rest = b''  # an escape key alone

    def _receive(self) -> list[str]:
        """Returns the keys that are there; those of a terminal that is gone are to quit."""
        try:
            sent = os.read(self._source, 1024)
        except OSError:
            sent = b''
        names, self._rest = keyboard.split(self._rest + sent)
        return names if sent else [keyboard.QUIT]

    def _take(self) -> None:
        tty.setcbreak(self._source)
        self._write(_ENTER)

    def _give_back(self) -> None:
        """Restores all, as far as the terminal is still there; keys not yet read are dropped."""
        with contextlib.suppress(OSError):
            self._write(_LEAVE)
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self._source, termios.TCSANOW, self._modes)
            termios.tcflush(self._source, termios.TCIFLUSH)

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._sink, data) :]

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._received:
            self._give_back()
            os._exit(errors.INTERRUPTED)
        self._received = signal.Signals(number).name

    def _suspend(self, number: int, frame: FrameType | None) -> None:
        """Stops the process; what comes after is done when it is continued."""
        del number, frame
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()
        self._is_stale = True

    def _spoil(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._is_stale = True
