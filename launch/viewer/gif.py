"""Episodes as an animated GIF.

The delays of the format are hundredths of a second, https://www.w3.org/Graphics/GIF/spec-gif89a.txt.

Glossary of shapes:
  T: pictures; H, W: their rows and columns, a pixel a square.
"""

from collections.abc import Sequence
import io

import numpy as np
from PIL import Image

from launch.viewer import pictures as pictures_lib

_SIDE = 300  # pixels, the longer side of the file's pictures, about
_LINGER = 1500  # milliseconds that the last picture of an episode stays, at least
_LONGEST = 655_350  # milliseconds, what the format can hold


def encode(episodes: Sequence[Sequence[np.ndarray]], frames_per_second: float) -> bytes:
    """Returns a file that shows episodes one after the other, without end.

    Args:
      episodes: of each the T pictures, [H, W, 3] uint8, all of one size; colours are exact in those
        of up to 256.
      frames_per_second: the speed, rounded to hundredths of a second.
    """
    pictures, delays = _merge(episodes, 10 * round(100 / frames_per_second))
    scale = max(1, _SIDE // max(pictures[0].shape[:2]))
    images = [Image.fromarray(pictures_lib.enlarge(picture, scale)) for picture in pictures]
    file = io.BytesIO()
    images[0].save(
        file,
        'GIF',
        save_all=True,
        append_images=images[1:],
        duration=delays,
        loop=0,
        optimize=False,
        disposal=1,  # the next picture holds only what changes
    )
    return file.getvalue()


def _merge(
    episodes: Sequence[Sequence[np.ndarray]], delay: int
) -> tuple[list[np.ndarray], list[int]]:
    """Returns the pictures and their delays; equal ones in a row are one that stays longer."""
    pictures: list[np.ndarray] = []
    delays: list[int] = []
    for episode in episodes:
        for number, picture in enumerate(episode, 1):
            time = max(delay, _LINGER) if number == len(episode) else delay
            if pictures and np.array_equal(picture, pictures[-1]):
                delays[-1] = min(delays[-1] + time, _LONGEST)
            else:
                pictures.append(picture)
                delays.append(time)
    return pictures, delays
