r"""Text that a terminal shows and does not obey.

Names of folders, values of flags and what files of runs hold may contain control characters, with
which text clears the screen, sets the clipboard or hides a line. They are shown escaped, as in
`\x1b[2J`, like halves of surrogate pairs, which stand for bytes that are not UTF-8.
"""

from collections.abc import Iterator
import contextlib
import re
import sys
from typing import Any, TextIO

_LONGEST = 2000  # characters of a message
# Control characters but for tab and newline, separators of lines, marks that turn the direction of
# writing, and surrogates.
_CONTROLS = re.compile(
    '[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]'
)


def line(text: str) -> str:
    """Returns a text as one line, tabs and newlines escaped too."""
    return _escape(text).replace('\t', '\\t').replace('\n', '\\n')


def message(text: str) -> str:
    """Returns a text as one line with single spaces, of one that is very long both ends."""
    text = ' '.join(text.split())
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f'{text[:half]} ... {text[-half:]}'


def warn(text: str) -> None:
    """Prints one line on stderr."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def printed() -> Iterator[None]:
    """Escapes what is printed, errors too; what the system does not take is lost."""
    with (
        contextlib.redirect_stdout(_Stream(sys.stdout)),
        contextlib.redirect_stderr(_Stream(sys.stderr)),
    ):
        yield


def raw(stream: TextIO) -> TextIO:
    """Returns the stream under an escaping one, for what moves the cursor."""
    return stream.raw if isinstance(stream, _Stream) else stream


class _Stream:
    """A text stream that escapes what is written, and loses what the system does not take."""

    def __init__(self, stream: Any):
        self.raw = raw(stream)

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):  # a full disk, a closed pipe or terminal
            self.raw.write(_escape(text))
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self.raw.flush()

    def writelines(self, lines: Any) -> None:
        for text in lines:
            self.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


def _escape(text: str) -> str:
    return _CONTROLS.sub(lambda found: found[0].encode('unicode_escape').decode(), text)
