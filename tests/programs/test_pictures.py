"""Pictures as text, and what is dark in them, by hand."""

import numpy as np
import pytest

from launch.viewer import pictures

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
PICTURE = np.array([[RED, RED], [GREEN, BLUE], [BLUE, GREEN]], np.uint8)


def test_half_blocks_show_two_rows_in_one_and_name_a_colour_where_it_changes():
    assert pictures.half_blocks(PICTURE) == [
        '\x1b[38;2;255;0;0m\x1b[48;2;0;255;0m▀\x1b[48;2;0;0;255m▀\x1b[0m',
        '\x1b[38;2;0;0;255m▀\x1b[38;2;0;255;0m▀\x1b[0m',  # nothing below
    ]


def test_a_swatch_is_two_squares_and_then_plain():
    assert pictures.swatch(np.array([1, 20, 255], np.uint8)) == '\x1b[48;2;1;20;255m  \x1b[0m'


@pytest.mark.parametrize(('hide', 'wanted'), [(False, [35, 70, 0]), (True, [40, 40, 40])])
def test_what_is_not_seen_is_dark_and_what_is_seen_as_it_was(hide, wanted):
    picture = np.broadcast_to(np.array([100, 200, 1], np.uint8), (2, 3, 3))
    seen = np.array([[True, False, True], [False, False, True]])
    shaded = pictures.shade(picture, seen, hide)
    assert shaded.dtype == np.uint8
    for place in np.ndindex(2, 3):
        assert shaded[place].tolist() == ([100, 200, 1] if seen[place] else wanted)


def test_to_enlarge_is_to_repeat_every_square():
    large = pictures.enlarge(PICTURE, 4)
    assert large.shape == (12, 8, 3)
    for row, column in np.ndindex(12, 8):
        assert large[row, column].tolist() == PICTURE[row // 4, column // 4].tolist()
    assert pictures.enlarge(np.array([[1, 2]]), 2).tolist() == [[1, 1, 2, 2], [1, 1, 2, 2]]
