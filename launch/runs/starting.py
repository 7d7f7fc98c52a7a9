"""What a program does before it imports anything else, which takes seconds."""

import io
import sys
from typing import Any, TextIO

from launch.runs import signals


def prepare(program: str) -> None:
    """Lets a signal end the process in order, and nothing that is printed end it.

    Args:
      program: the module's name in `launch`.
    """
    signals.end_at_once(program)
    sys.stdout, sys.stderr = _unfailing(sys.stdout), _unfailing(sys.stderr)


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
