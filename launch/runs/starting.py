"""What a program does before it imports anything else, which takes seconds."""

import io
import os
import signal
import sys
import threading
from typing import Any, TextIO

from launch.runs import signals

LIFELINE = 'RELATIONAL_RNN_LIFELINE'  # set: at the end of its input, the process ends in order


def prepare(program: str) -> None:
    """Lets a signal end the process in order, and nothing that is printed end it.

    A program that starts this one with `LIFELINE` in its environment, and a pipe as its input, need
    not live to end it: the system closes the pipe for one that was killed.

    Args:
      program: the module's name in `launch`.
    """
    signals.end_at_once(program)
    sys.stdout, sys.stderr = _unfailing(sys.stdout), _unfailing(sys.stderr)
    if os.environ.pop(LIFELINE, None):
        threading.Thread(target=_end_with_input, daemon=True).start()


def _end_with_input() -> None:
    while os.read(0, 100):
        pass
    if not signals.received():  # or this would be the second
        os.kill(os.getpid(), signal.SIGTERM)


class _Unfailing(io.FileIO):
    """Takes all that is written; what the terminal, pipe or disk does not take is lost."""

    def write(self, data: memoryview) -> int | None:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError:
            return len(data)


def _unfailing(stream: TextIO) -> TextIO:
    """Returns the same stream, of which a write never fails."""
    if not isinstance(stream, io.TextIOWrapper):  # none is open
        return stream
    raw: Any = _Unfailing(stream.fileno(), 'wb', closefd=False)
    return io.TextIOWrapper(
        raw if stream.write_through else io.BufferedWriter(raw),
        stream.encoding,
        stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
