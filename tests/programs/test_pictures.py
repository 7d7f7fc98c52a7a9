"""What is dark in pictures, by hand, and the colours of terminals."""

import numpy as np
import pytest

from launch.viewer import pictures


@pytest.mark.parametrize(('hide', 'wanted'), [(False, [35, 70, 0]), (True, [40, 40, 40])])
def test_what_is_not_visible_is_dark_and_what_is_visible_as_it_was(hide, wanted):
    picture = np.broadcast_to(np.array([100, 200, 1], np.uint8), (2, 3, 3))
    visible = np.array([[True, False, True], [False, False, True]])
    shaded = pictures.shade(picture, visible, hide)
    assert shaded.dtype == np.uint8
    for place in np.ndindex(2, 3):
        assert shaded[place].tolist() == ([100, 200, 1] if visible[place] else wanted)


def test_to_enlarge_is_to_repeat_every_square():
    picture = np.arange(18, dtype=np.uint8).reshape(3, 2, 3)
    large = pictures.enlarge(picture, 4)
    assert large.shape == (12, 8, 3)
    for row, column in np.ndindex(12, 8):
        assert large[row, column].tolist() == picture[row // 4, column // 4].tolist()


@pytest.mark.parametrize(
    ('color', 'number'),
    [
        ((0, 0, 0), 16),
        ((255, 255, 255), 231),
        ((255, 0, 0), 196),
        ((0, 0, 100), 17),
        ((90, 140, 200), 16 + 36 * 1 + 6 * 2 + 4),
        ((130, 127, 128), 244),
        ((238, 238, 240), 255),
    ],
)
def test_the_nearest_colour_of_a_terminal(color, number):
    assert pictures.nearest(color) == number


def test_a_colour_that_is_taken_is_left_out_while_there_are_others():
    first = pictures.nearest((254, 3, 0))
    second = pictures.nearest((254, 3, 0), {first})
    assert (first, pictures.PALETTE[second - 16].tolist()) == (196, [215, 0, 0])
    assert pictures.nearest((254, 3, 0), range(16, 256)) == first
