"""What a program does before it imports anything else, which takes seconds."""

import contextlib
import ctypes
import io
import os
import signal
import sys
import threading
from typing import Any, TextIO

from launch.runs import signals

LIFELINE = 'RELATIONAL_RNN_LIFELINE'  # set: at the end of its input, the process ends in order

# Parameters of `mallopt` in the C library of GNU: it gives back blocks of 2 GiB only, and of a
# thread, whose heaps are of 64 MiB, no empty heap.
_MALLOC = {
    'M_TRIM_THRESHOLD': (-1, 2**31 - 1),
    'M_TOP_PAD': (-2, 2**26),
    'M_MMAP_THRESHOLD': (-3, 2**31 - 1),
}


def prepare(program: str) -> None:
    """Lets a signal end the process in order, and nothing that is printed end it.

    It also keeps the memory that is freed, up to 2 GiB, for what is allocated next.

    A program that starts this one with `LIFELINE` in its environment, and a pipe as its input, need
    not live to end it: the system closes the pipe for one that was killed.

    Args:
      program: the module's name in `launch`.
    """
    signals.end_at_once(program)
    _keep_freed_memory()
    sys.stdout, sys.stderr = _unfailing(sys.stdout), _unfailing(sys.stderr)
    if os.environ.pop(LIFELINE, None):
        threading.Thread(target=_end_with_input, daemon=True).start()


def _keep_freed_memory() -> None:
    """Keeps freed memory in the process, where the C library is that of GNU.

    On CPUs XLA allocates the scratch space of a compiled function for every call. Given back to the
    kernel in between, it costs a page fault for every 4 KiB, a quarter of an agent's update.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in _MALLOC.values():
            mallopt(parameter, value)


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
