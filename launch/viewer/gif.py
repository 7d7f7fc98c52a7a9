"""Pictures of an episode as an animated GIF: one palette, exact colours, only what changes.

Format: "Graphics Interchange Format, Version 89a", CompuServe 1990,
https://www.w3.org/Graphics/GIF/spec-gif89a.txt; its delays are hundredths of a second.

Glossary of shapes:
  T: pictures; H, W: their rows and columns, a pixel a square; C: different colours in all of them.
"""

from collections.abc import Sequence
import io
import itertools

import numpy as np
from PIL import Image

from launch.viewer import pictures as pictures_lib

_SIDE = 300  # pixels, the longer side of the file's pictures, about
_LINGER = 150  # hundredths of a second that the last picture of an episode stays
_LONGEST = 65_535  # hundredths, what the format can say


def encode(episodes: Sequence[Sequence[np.ndarray]], frames_per_second: float) -> bytes:
    """Returns the file of episodes, one after the other and without end.

    Args:
      episodes: of each the T pictures, [H, W, 3] uint8, all of one size.
      frames_per_second: the speed, of which the format has whole hundredths of a second.

    Raises:
      ValueError: there are no pictures, or they have more than 256 colours.
    """
    pictures = np.stack([picture for episode in episodes for picture in episode])
    palette, frames = index(pictures)
    delay = round(100 / frames_per_second)
    delays = [time for episode in episodes for time in _delays(len(episode), delay)]
    scale = max(1, _SIDE // max(frames.shape[1:]))
    images, times = [], []
    for frame, time in merge(frames, delays):
        image = Image.fromarray(pictures_lib.enlarge(frame, scale))
        image.putpalette(palette.tobytes())
        images.append(image)
        times.append(10 * time)
    box, colors = io.BytesIO(), palette.tobytes()
    more = {'save_all': True, 'append_images': images[1:], 'duration': times, 'loop': 0}
    images[0].save(box, 'GIF', palette=colors, optimize=False, disposal=1, **more)
    return box.getvalue()


def index(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers the colours of all pictures.

    Args:
      pictures: [T, H, W, 3] uint8.

    Returns:
      palette: [C, 3] uint8, in ascending order.
      frames: [T, H, W] uint8, rows of the palette.

    Raises:
      ValueError: C is more than 256.
    """
    weights = np.array([1 << 16, 1 << 8, 1])
    codes, numbers = np.unique(pictures @ weights, return_inverse=True)
    if len(codes) > 256:
        raise ValueError(f'wanted pictures of at most 256 colours, got {len(codes)}')
    palette = (codes[:, None] // weights % 256).astype(np.uint8)
    return palette, numbers.reshape(pictures.shape[:-1]).astype(np.uint8)


def merge(frames: np.ndarray, delays: Sequence[int]) -> list[tuple[np.ndarray, int]]:
    """Makes one of frames in a row that are equal, which stays as long as they did together.

    Args:
      frames: [T, H, W] uint8.
      delays: T of them, in hundredths of a second.

    Returns:
      Frames and their delays.
    """
    merged = []
    groups = itertools.groupby(
        zip(frames, delays, strict=True), key=lambda shown: shown[0].tobytes()
    )
    for _, group in groups:
        shown = list(group)
        merged.append((shown[0][0], min(sum(delay for _, delay in shown), _LONGEST)))
    return merged


def _delays(count: int, delay: int) -> list[int]:
    """Returns how long each of the pictures of an episode stays, the last one longer."""
    return [*[delay] * (count - 1), max(delay, _LINGER)]
