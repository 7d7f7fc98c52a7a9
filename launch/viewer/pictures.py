"""Pictures of a world as text of a terminal, and what of them an agent does not see made dark.

A row of text shows two rows of a picture: the upper half block takes its ink from the upper one and
its paper from the lower one, in 24-bit colours, codes 38;2 and 48;2 of ISO 8613-6 (ITU-T T.416,
section 13.1.8, https://www.itu.int/rec/T-REC-T.416).

Glossary of shapes:
  H, W: rows and columns of a picture, a pixel a square unless it is enlarged.
"""

import numpy as np

_DIM = 0.35  # of the brightness that is left outside of a window
_HIDDEN = 40  # a grey that no world has
_BLOCK = '▀'
_PLAIN = '\x1b[0m'


def shade(picture: np.ndarray, seen: np.ndarray, hide: bool) -> np.ndarray:
    """Darkens what is not seen.

    Args:
      picture: [H, W, 3] uint8.
      seen: [H, W] bool.
      hide: whether what is not seen is grey all over instead.

    Returns:
      The picture, [H, W, 3] uint8.
    """
    dark = np.full_like(picture, _HIDDEN) if hide else np.round(_DIM * picture).astype(np.uint8)
    return np.where(seen[..., None], picture, dark)


def enlarge(picture: np.ndarray, scale: int) -> np.ndarray:
    """Returns a picture [H, W, ...] with squares of `scale` pixels a side for each of its own."""
    return picture.repeat(scale, axis=0).repeat(scale, axis=1)


def half_blocks(picture: np.ndarray) -> list[str]:
    """Returns the rows of text that show a picture.

    Args:
      picture: [H, W, 3] uint8.

    Returns:
      (H + 1) // 2 texts of W characters with their colours; after each, colours are plain again.
    """
    rows = []
    for top in range(0, len(picture), 2):
        lower = picture[top + 1].tolist() if top + 1 < len(picture) else [None] * len(picture[top])
        rows.append(_row(picture[top].tolist(), lower))
    return rows


def swatch(color: np.ndarray) -> str:
    """Returns two characters of text in a colour, [3] uint8."""
    return f'{_paper(color.tolist())}  {_PLAIN}'


def _row(upper: list, lower: list) -> str:
    """Returns two rows of colours [W] as text; codes stand only where a colour changes."""
    text, before = '', (None, None)
    for ink, paper in zip(upper, lower, strict=True):
        if ink != before[0]:
            text += '\x1b[38;2;{};{};{}m'.format(*ink)
        if paper is not None and paper != before[1]:
            text += _paper(paper)
        text, before = text + _BLOCK, (ink, paper)
    return text + _PLAIN


def _paper(color: list[int]) -> str:
    return '\x1b[48;2;{};{};{}m'.format(*color)
