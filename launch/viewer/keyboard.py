"""What the keys of a terminal mean.

A terminal sends a letter as itself, and the arrow keys as ESC [ A to D, or ESC O A to D in its
application mode: ECMA-48, section 8.3 (cursor keys of ISO 6429),
https://ecma-international.org/publications-and-standards/standards/ecma-48/, and xterm's control
sequences, https://invisible-island.net/xterm/ctlseqs/ctlseqs.html.
"""

import re

QUIT, ANEW = 'quit', 'anew'
_LETTERS = {
    b'w': 'up',
    b'a': 'left',
    b's': 'down',
    b'd': 'right',
    b' ': 'stay',
    b'.': 'stay',
    b'r': ANEW,
    b'q': QUIT,
    b'\x04': QUIT,  # the end of the input, control-D
}
_ARROWS = {b'A': 'up', b'B': 'down', b'C': 'right', b'D': 'left'}
_KEY = re.compile(rb'\x1b(?:\[[0-?]*[ -/]*[@-~]|O[@-~]|[^\[O])|[^\x1b]', re.DOTALL)
_CUT = re.compile(rb'\x1b(?:\[[0-?]*[ -/]*|O)?\Z')  # the begin of an escape sequence


def split(sent: bytes) -> tuple[list[str], bytes]:
    """Returns what the keys are that a terminal sent, and the rest, the begin of one more.

    Args:
      sent: bytes, after the rest of the last time.

    Returns:
      names: 'up', 'down', 'left', 'right', 'stay', ANEW, QUIT; keys without a meaning are left out.
      rest: bytes of a key whose end has not come.
    """
    cut = _CUT.search(sent)
    rest = cut.group() if cut else b''
    keys = [match.group() for match in _KEY.finditer(sent[: len(sent) - len(rest)])]
    names = [_name(key) for key in keys]
    return [name for name in names if name is not None], rest


def _name(key: bytes) -> str | None:
    """Returns what a key means, None if nothing; with shift or so it means the same."""
    if key.startswith((b'\x1b[', b'\x1bO')):
        return _ARROWS.get(key[-1:])
    return _LETTERS.get(key.lower())
