"""How far a long pass over a text is: a bar on a terminal, plain lines elsewhere.

A pass that takes less than seconds shows nothing.
"""

import shutil
import time
from typing import Self, TextIO

import tqdm

_BAR_AFTER = 2.0  # seconds
_LINE_EVERY = 10.0  # seconds


class Progress:
    """Words done, words a second and the time that is left; a context manager."""

    def __init__(self, title: str, stream: TextIO | None):
        """Starts the clock.

        Args:
          title: what is done, for example 'gutenberg train: counted'.
          stream: where to write, None for nowhere.
        """
        self._title = title
        self._stream = stream
        self._start = self._written = time.monotonic()
        self._done = 0
        self._bar = None
        if stream is not None and stream.isatty():
            self._bar = tqdm.tqdm(
                desc=title,
                unit=' words',
                unit_scale=True,
                file=stream,
                ncols=shutil.get_terminal_size().columns,  # 80 where a terminal tells none
                delay=_BAR_AFTER,
            )

    def update(self, done: int, total: int | None = None) -> None:
        """Shows that words are done.

        Args:
          done: how many since the beginning.
          total: about how many there will be, None if that is not known.
        """
        total = total and max(done, total)
        if self._bar is not None:
            self._bar.total = total
            self._bar.update(done - self._done)
        elif self._stream is not None and time.monotonic() - self._written >= _LINE_EVERY:
            self._written = time.monotonic()
            line = describe(self._title, done, total, self._written - self._start)
            print(line, file=self._stream, flush=True)
        self._done = done

    def close(self) -> None:
        """Leaves the bar as it is and ends its line."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def describe(title: str, done: int, total: int | None, seconds: float) -> str:
    """Returns how far a pass is as one line.

    Args:
      title: what is done.
      done: words until now.
      total: about how many words there will be, at least `done`; None if that is not known.
      seconds: since the beginning, more than 0.

    Returns:
      For example `gutenberg train: counted 12,000,000 of 48,000,000 words  3,000,000 words/s
      00:12 left`, in one line.
    """
    rate = f'{done / seconds:,.0f} words/s'
    if not total or not done:
        return f'{title} {done:,} words  {rate}'
    left = tqdm.tqdm.format_interval(round(seconds * (total - done) / done))
    return f'{title} {done:,} of {total:,} words  {rate}  {left} left'
