"""What a program prints, where printing may fail: on a full disk, a closed pipe or terminal."""

from collections.abc import Iterator
import contextlib
import os
import sys
from typing import Any


def warn(line: str) -> None:
    """Prints one line on stderr."""
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def lossy() -> Iterator[None]:
    """Loses what cannot be printed in its `with` block, which goes on."""
    streams = [stream for stream in (sys.stdout, sys.stderr) if stream]
    with contextlib.ExitStack() as stack:
        if sys.stdout:
            stack.enter_context(contextlib.redirect_stdout(_Lossy(sys.stdout)))
        if sys.stderr:
            stack.enter_context(contextlib.redirect_stderr(_Lossy(sys.stderr)))
        try:
            yield
        finally:
            for stream in streams:
                _finish(stream)


class _Lossy:
    """A text stream without errors of the system."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _finish(stream: Any) -> None:
    """Flushes a stream, or else drops what Python would flush at its exit, with exit code 120."""
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        with contextlib.suppress(OSError):  # a stream of a test has no descriptor
            os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
