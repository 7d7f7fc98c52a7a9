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


def test_a_palette_is_stored_once_and_a_picture_costs_little():
    sizes = [len(gif.encode([walk(count)], 8)) for count in (2, 12)]
    assert sizes[0] < 2000
    assert sizes[1] - sizes[0] < 10 * 150
    data = gif.encode([walk(12)], 8)
    assert data.count(bytes(COLORS[2])) == 1


def test_colours_are_numbered_in_ascending_order():
    pictures = np.stack([COLORS[[[0, 1]]], COLORS[[[3, 1]]]])
    palette, frames = gif.index(pictures)
    assert palette.tolist() == [[0, 0, 0], [0, 102, 179], [255, 255, 255]]
    assert frames.tolist() == [[[0, 2]], [[1, 2]]]


def test_more_colours_than_the_format_has_are_refused():
    random = np.arange(257 * 3, dtype=np.uint16).reshape(1, 1, 257, 3)
    many = np.stack([random // 256, random % 256, random % 7], -1)[..., 0, :].astype(np.uint8)
    assert len(np.unique(many.reshape(-1, 3), axis=0)) == 257
    with pytest.raises(ValueError, match='wanted pictures of at most 256 colours, got 257'):
        gif.index(many)


def test_equal_pictures_in_a_row_are_one_that_stays_longer():
    frames = np.array([[[1, 2]], [[1, 2]], [[3, 4]], [[1, 2]]], np.uint8)
    merged = gif.merge(frames, [2, 3, 5, 7])
    assert [(frame.tolist(), time) for frame, time in merged] == [
        ([[1, 2]], 5),
        ([[3, 4]], 5),
        ([[1, 2]], 7),
    ]
    assert gif.merge(frames[:2], [60_000, 60_000])[0][1] == 65_535


def test_an_episode_in_which_nothing_moves_is_one_picture():
    pictures, _ = read(gif.encode([3 * walk(1, (16, 5))], 8))
    assert [picture.shape for picture in pictures] == [(16 * 18, 5 * 18, 3)]
