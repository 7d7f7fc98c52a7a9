"""GIFs, read again: the colours are exact, the times add up, files are small."""

import io

import numpy as np
from PIL import Image
import pytest

from launch.viewer import gif

COLORS = np.array([(0, 0, 0), (255, 255, 255), (89, 0, 7), (0, 102, 179)], np.uint8)


def walk(count, shape=(15, 19)):
    """Pictures in which one square changes from each to the next."""
    picture = np.zeros((*shape, 3), np.uint8)
    picture[2:5] = COLORS[1]
    pictures = []
    for step in range(count):
        picture = picture.copy()
        picture[6, 3 + step] = COLORS[2 + step % 2]
        pictures.append(picture)
    return pictures


def read(data):
    """Returns the pictures of a file, and how long each stays, in milliseconds."""
    with Image.open(io.BytesIO(data)) as file:
        assert file.format == 'GIF'
        assert file.info['loop'] == 0
        pictures, times = [], []
        for number in range(file.n_frames):
            file.seek(number)
            pictures.append(np.asarray(file.convert('RGB')))
            times.append(file.info['duration'])
    return pictures, times


def test_every_pixel_comes_back():
    episodes = [walk(3), walk(2)]
    pictures, times = read(gif.encode(episodes, 8))
    assert [picture.shape for picture in pictures] == 5 * [(225, 285, 3)]
    for picture, wanted in zip(pictures, [*episodes[0], *episodes[1]], strict=True):
        np.testing.assert_array_equal(picture, np.kron(wanted, np.ones((15, 15, 1), np.uint8)))
    assert times == [120, 120, 1500, 120, 1500]


@pytest.mark.parametrize('count', [2, 256])
def test_as_many_colours_as_the_format_has_are_exact(count):
    rng = np.random.default_rng(count)
    colors = rng.integers(0, 256, (count, 3), np.uint8)
    picture = colors[np.resize(rng.permutation(count), (20, 30))]
    (read_again,), _ = read(gif.encode([[picture]], 8))
    np.testing.assert_array_equal(read_again[::10, ::10], picture)


def test_a_picture_costs_no_more_than_what_changes():
    sizes = [len(gif.encode([walk(count)], 8)) for count in (2, 12)]
    assert sizes[0] < 2000
    assert sizes[1] - sizes[0] < 10 * 150


@pytest.mark.parametrize(
    ('counts', 'frames_per_second', 'times'),
    [([2, 1, 2], 8, [240, 120, 1620]), ([2, 1], 50, [40, 1500]), ([700, 1], 1, [655_350, 1500])],
)
def test_equal_pictures_in_a_row_are_one_that_stays_longer(counts, frames_per_second, times):
    pictures = [
        picture
        for picture, count in zip(walk(len(counts)), counts, strict=True)
        for _ in range(count)
    ]
    found, delays = read(gif.encode([pictures], frames_per_second))
    assert len(found) == len(counts)
    assert delays == times
