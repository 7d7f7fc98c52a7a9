"""Exit codes of every program, and the exception that carries them.

The numbers are those of `sysexits.h` where it has one.
"""

import contextlib
import os
import sys
from typing import NoReturn

USAGE = 2  # bad flags
BAD_DATA = 65  # data missing, malformed or too short
INTERNAL = 70  # NaN or Inf, or a defect of the program
IN_USE = 73  # another run owns the directory
CANNOT_SAVE = 74  # a file or checkpoint cannot be written, or a disk fails
INTERRUPTED = 75  # stopped by a signal, saved, resumable
MISMATCH = 78  # the configuration does not fit the checkpoint


class RunError(Exception):
    """Ends a program with one line on stderr and an exit code."""

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code = code


def leave(code: int) -> NoReturn:
    """Ends the program; after an error at once, without what Python and JAX tear down at the end.

    That teardown crashes (SIGSEGV) if a signal was raised in the middle of a compilation, and it
    waits for processes that may be gone.

    Args:
      code: the exit code.
    """
    if code:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, its type where it has none."""
    return shorten(str(error).partition('\n')[0]) or type(error).__name__


def shorten(value: object, width: int = 200) -> str:
    """Returns a value as one line of text that ends in … where it would be longer than `width`."""
    text = ' '.join(str(value).split())
    return text if len(text) <= width else f'{text[: width - 1]}…'
