"""How far a long pass is: a bar on a terminal, plain lines elsewhere."""

from collections.abc import Iterator, Mapping
import contextlib
import shutil
import sys
import time
from typing import Self, TextIO

import tqdm

from launch.runs import display, plain

BAR_AFTER = 2.0  # seconds; a shorter pass shows no bar
LINE_EVERY = 10.0  # seconds


class Progress:
    """Shows one pass after the other, each named by its title; a context manager."""

    def __init__(self, stream: TextIO | None = None):
        """Shows nothing yet.

        Args:
          stream: where to write, standard output by default.
        """
        self._stream = stream or sys.stdout
        self._title: str | None = None
        self._bar: tqdm.tqdm | None = None
        self._start = 0.0

    def update(self, title: str, done: int, total: int | None, unit: str) -> None:
        """Shows how much of a pass is done, also at its start, and its rate.

        Args:
          title: names the pass; a new title starts a new pass.
          done: how much is done.
          total: about how much there will be, None if that is not known.
          unit: what is counted, in the plural.
        """
        rate = self._advance(title, done, total)
        shown = f'{display.number(round(rate))} {unit}/s' if rate else ''
        if self._bar is not None:
            self._bar.set_postfix_str(shown, refresh=False)
        elif time.monotonic() - self._written >= LINE_EVERY:
            self._write_line(done, total, f' {unit}', shown, rate)

    def step(self, step: int, num_steps: int, values: Mapping[str, float | None] | None) -> None:
        """Shows how many training steps are done, from the step on at which training starts.

        Args:
          step: the count of finished steps.
          num_steps: the step at which training ends.
          values: at the steps that are logged, numbers by name in the order they should appear.
        """
        rate = self._advance('step', step, num_steps)
        if values is not None:
            shown = display.describe(values)
            if self._bar is not None:
                self._bar.set_postfix_str(shown)
            else:
                self._write_line(step, num_steps, '', shown, rate)

    @contextlib.contextmanager
    def compiling(self) -> Iterator[None]:
        """Shows that what its `with` block does is compiling, and that its time is no step's."""
        start = time.monotonic()
        self.say('compiling…')
        yield
        seconds = time.monotonic() - start
        self._start += seconds
        self.say(f'compiled in {seconds:.1f} s')

    def say(self, line: str) -> None:
        """Writes a line of its own, above the bar where there is one."""
        if self._bar is not None:
            self._bar.write(plain.line(line), file=plain.raw(self._stream))
        else:
            print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """Leaves the bar as it is and ends its line."""
        if self._bar is not None:
            self._bar.close()
        self._bar = self._title = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _advance(self, title: str, done: int, total: int | None) -> float:
        """Moves the bar and returns how much of this pass is done in a second, 0 at its start."""
        if title != self._title:
            self._begin(title, done, total)
        if self._bar is not None:
            self._bar.total = total and max(done, total)
            self._bar.update(done - self._bar.n)
        return (done - self._first) / max(time.monotonic() - self._start, 1e-9)

    def _begin(self, title: str, done: int, total: int | None) -> None:
        self.close()
        self._title, self._first = title, done
        self._start = self._written = time.monotonic()
        if self._stream.isatty():
            size = shutil.get_terminal_size()  # 80 x 24 where a terminal reports none
            self._bar = tqdm.tqdm(
                desc=title,
                initial=done,
                total=total,
                file=plain.raw(self._stream),
                ncols=size.columns,
                nrows=size.lines,
                delay=0 if title == 'step' else BAR_AFTER,
                bar_format='{desc} {bar:10}| {n:,}/{total_fmt} {remaining} left{postfix}',
            )

    def _write_line(self, done: int, total: int | None, unit: str, shown: str, rate: float) -> None:
        self._written = time.monotonic()
        count, left = f'{self._title} {done:,}', ''
        if total:
            seconds = tqdm.tqdm.format_interval(round(max(0, total - done) / rate)) if rate else '?'
            count, left = f'{count}/{max(done, total):,}', f'  {seconds} left'
        print(f'{count}{unit}  {shown}{left}', file=self._stream, flush=True)
