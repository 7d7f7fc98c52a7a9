"""Pictures of an environment: dark where an agent does not see, enlarged, in a terminal's colours.

Terminals of 256 colours share a palette: 16 colours of the user's choice, a cube of 6 x 6 x 6, and
24 greys, https://invisible-island.net/xterm/xterm.faq.html#color_by_number.

Glossary of shapes:
  H, W: rows and columns of a picture, a pixel a square unless it is enlarged.
"""

from collections.abc import Collection, Sequence
import itertools

import numpy as np

_DIM = 0.35  # of the brightness that is left outside of a window
_HIDDEN = 40  # a grey that no environment has
_FIRST = 16  # the number of the cube's first colour
_CUBE = list(itertools.product((0, 95, 135, 175, 215, 255), repeat=3))
_GREYS = [(level, level, level) for level in range(8, 248, 10)]
PALETTE = np.array(_CUBE + _GREYS)  # [240, 3], the colours with the numbers from 16 to 255


def shade(picture: np.ndarray, visible: np.ndarray, hide: bool) -> np.ndarray:
    """Darkens what is not visible.

    Args:
      picture: [H, W, 3] uint8.
      visible: [H, W] bool.
      hide: whether what is not visible is grey all over instead.

    Returns:
      The picture, [H, W, 3] uint8.
    """
    dark = np.full_like(picture, _HIDDEN) if hide else np.round(_DIM * picture).astype(np.uint8)
    return np.where(visible[..., None], picture, dark)


def enlarge(picture: np.ndarray, scale: int) -> np.ndarray:
    """Returns a picture [H, W, ...] with squares of `scale` pixels a side for each of its own."""
    return picture.repeat(scale, axis=0).repeat(scale, axis=1)


def nearest(color: Sequence[int], taken: Collection[int] = ()) -> int:
    """Returns the number of the terminal colour nearest to a colour, out of those not taken."""
    distances = np.sum((PALETTE - np.asarray(color)) ** 2, axis=1)
    numbers = (_FIRST + np.argsort(distances, kind='stable')).tolist()
    return next((number for number in numbers if number not in taken), numbers[0])
