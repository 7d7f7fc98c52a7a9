"""A terminal by curses: keys come at once, a picture stands in place, all is given back at the end.

Control-Z, another size and errors are left to curses, see
https://docs.python.org/3/library/curses.html. A character shows two squares of a picture: the
half block takes its ink from the upper one and its paper from the lower one. Where the terminal
lets its palette be changed, colours are exact, and else the nearest ones that still differ.
"""

from collections.abc import Callable
import contextlib
import locale
import math
import os
import select
import shutil
import sys
import time
from typing import NamedTuple, TypeVar

import numpy as np

from launch.runs import errors
from launch.viewer import pictures

try:
    import curses
except ModuleNotFoundError:  # Windows
    curses = None  # type: ignore[assignment]

QUIT, RESET = 'quit', 'reset'
_LETTERS = {'w': 'up', 'a': 'left', 's': 'down', 'd': 'right', ' ': 'stay', '.': 'stay'}
_LETTERS |= {'r': RESET, 'q': QUIT, '\x04': QUIT}  # control-D is the end of the input
_KEYS = {ord(case): name for letter, name in _LETTERS.items() for case in letter + letter.upper()}
if curses is not None:
    _KEYS |= {curses.KEY_UP: 'up', curses.KEY_LEFT: 'left'}
    _KEYS |= {curses.KEY_DOWN: 'down', curses.KEY_RIGHT: 'right'}
_BLOCK = '▀'
_NUM_COLORS = 256
_MOST_PAIRS = 255  # that an attribute of curses can name
_DEFAULT = -1  # the terminal's own background
_SLICE = 0.1  # seconds after which a signal is noticed
_Result = TypeVar('_Result')


class View(NamedTuple):
    """What a terminal shows."""

    title: str
    picture: np.ndarray  # [H, W, 3] uint8
    swatch: np.ndarray | None  # [3] uint8, a colour before the status
    status: str
    help: str


def size() -> os.terminal_size:
    """Returns the columns and lines of the terminal, 80 and 24 if it does not say."""
    return shutil.get_terminal_size((80, 24))


def check() -> None:
    """Raises a RunError if pictures cannot be shown where the program runs."""
    reason = '' if curses is not None else 'wanted a Python with curses, this one has none'
    for file, name in ((sys.stdin, 'input'), (sys.stdout, 'output')):
        if not file.isatty():
            reason = reason or f'wanted a terminal, the {name} is none'
    if not reason and _count_colors() < _NUM_COLORS:
        name = os.environ.get('TERM', '')
        reason = f'wanted a terminal with {_NUM_COLORS} colours, as TERM=xterm-256color, got {name}'
    if reason:
        raise errors.RunError(errors.USAGE, f'{reason}; --gif=FILE.gif writes a file')


def run(function: Callable[['Terminal'], _Result]) -> _Result:
    """Returns what a function returns that is given the terminal, which is then as it was.

    Raises:
      RunError: the terminal is gone.
    """
    if locale.nl_langinfo(locale.CODESET) != 'UTF-8':
        with contextlib.suppress(locale.Error):
            locale.setlocale(locale.LC_CTYPE, 'C.UTF-8')  # for the half block
    curses.set_escdelay(25)

    def inside(window: 'curses.window') -> _Result:
        try:
            return function(Terminal(window))
        finally:
            curses.flushinp()  # keys not yet read are not for the shell

    try:
        return curses.wrapper(inside)
    except curses.error as error:  # where nobody is at its other side any more
        message = f'the terminal cannot be used: {error}'
        raise errors.RunError(errors.INTERRUPTED, message) from error


class Terminal:
    """The terminal while `run` lasts."""

    def __init__(self, window: 'curses.window') -> None:
        """Takes the window of curses."""
        self._window = window
        self._colors: dict[tuple[int, ...], int] = {}
        self._pairs: dict[tuple[int, int], int] = {}
        self._true_size = size()
        curses.use_default_colors()
        with contextlib.suppress(curses.error):  # some cannot hide it
            curses.curs_set(0)

    @property
    def size(self) -> os.terminal_size:
        """Returns columns and lines."""
        lines, columns = self._window.getmaxyx()
        return os.terminal_size((columns, lines))

    def draw(self, view: View) -> None:
        """Shows a view; what does not fit is cut off."""
        if len(self._pairs) > _MOST_PAIRS // 2:  # a picture has fewer
            self._pairs.clear()
        self._window.erase()
        self._write(0, 0, view.title)
        numbers = [[self._color(color) for color in row] for row in view.picture.tolist()]
        if len(numbers) % 2:
            numbers.append([_DEFAULT] * len(numbers[0]))
        line = 1
        for line, rows in enumerate(zip(numbers[::2], numbers[1::2], strict=True), 1):
            for column, pair in enumerate(zip(*rows, strict=True)):
                self._write(line, column, _BLOCK, pair)
        column = 0
        if view.swatch is not None:
            column, number = 3, self._color(view.swatch.tolist())
            self._write(line + 1, 0, 2 * _BLOCK, (number, number))
        self._write(line + 1, column, view.status)
        self._write(line + 2, 0, view.help)
        self._window.refresh()

    def read(self, seconds: float | None) -> str:
        """Waits for a key.

        Args:
          seconds: how long; None for as long as it takes.

        Returns:
          'up', 'down', 'left', 'right', 'stay', RESET or QUIT, which it is also when the terminal
          is gone; '' after the time, and after a change of size, for the picture to be drawn again.
        """
        end = math.inf if seconds is None else time.monotonic() + seconds
        while True:
            left = max(0.0, end - time.monotonic())
            self._window.timeout(math.ceil(1000 * min(_SLICE, left)))
            key = self._window.getch()
            if key in _KEYS:
                return _KEYS[key]
            if key == -1 and _is_gone():
                return QUIT
            if self._is_resized() or key == curses.KEY_RESIZE or time.monotonic() >= end:
                return ''

    def _is_resized(self) -> bool:
        """Returns whether the terminal has another size than before, also if curses missed it."""
        before, self._true_size = self._true_size, size()
        if self._true_size == before:
            return False
        if self._true_size != self.size:
            curses.resizeterm(self._true_size.lines, self._true_size.columns)
        return True

    def _write(
        self, line: int, column: int, text: str, pair: tuple[int, int] | None = None
    ) -> None:
        attribute = 0 if pair is None else curses.color_pair(self._pair(pair))
        with contextlib.suppress(curses.error):  # outside of the window, or in its last corner
            self._window.addnstr(line, column, text, max(0, self.size.columns - column), attribute)

    def _color(self, color: list[int]) -> int:
        """Returns the number of a colour of the terminal, of its own if there are enough."""
        key = tuple(color)
        if key not in self._colors:
            number = pictures.nearest(color, self._colors.values())
            if curses.can_change_color():
                curses.init_color(number, *(math.ceil(1000 * level / 255) for level in color))
            self._colors[key] = number
        return self._colors[key]

    def _pair(self, pair: tuple[int, int]) -> int:
        """Returns the number of an ink and a paper."""
        if pair not in self._pairs:
            self._pairs[pair] = len(self._pairs) % _MOST_PAIRS + 1
            curses.init_pair(self._pairs[pair], *pair)
        return self._pairs[pair]


def _count_colors() -> int:
    try:
        curses.setupterm()
        return curses.tigetnum('colors')
    except curses.error:  # a terminal that is not known
        return 0


def _is_gone() -> bool:
    """Returns whether nobody is at the other side of the terminal any more."""
    poll = select.poll()
    poll.register(sys.stdin, 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))
