"""What keys mean, byte for byte."""

import pytest

from launch.viewer import keyboard


@pytest.mark.parametrize(
    ('sent', 'names'),
    [
        (b'', []),
        (b'wasd', ['up', 'left', 'down', 'right']),
        (b'WASD', ['up', 'left', 'down', 'right']),
        (b'\x1b[A\x1b[B\x1b[C\x1b[D', ['up', 'down', 'right', 'left']),
        (b'\x1bOA\x1bOD', ['up', 'left']),
        (b'\x1b[1;2C', ['right']),  # with shift
        (b' .', ['stay', 'stay']),
        (b'rq\x04', ['anew', 'quit', 'quit']),
        (b'x7\n\xc3\xa4', []),
        (b'\x1b[3~\x1b[15~\x1bOPa', ['left']),  # delete, F5, F1
        (b'\x1bq', []),  # with alt
        (b'\x1b[200~', []),
    ],
)
def test_keys_have_names(sent, names):
    assert keyboard.split(sent) == (names, b'')


@pytest.mark.parametrize('rest', [b'\x1b', b'\x1b[', b'\x1b[1;', b'\x1bO'])
def test_a_key_that_is_cut_off_is_left_for_the_next_time(rest):
    assert keyboard.split(b'w' + rest) == (['up'], rest)


@pytest.mark.parametrize('cut', range(1, 9))
def test_where_it_is_cut_does_not_matter(cut):
    sent = b'w\x1b[1;5C\x1bOBq'
    first, rest = keyboard.split(sent[:cut])
    second, nothing = keyboard.split(rest + sent[cut:])
    assert (first + second, nothing) == (['up', 'right', 'down', 'quit'], b'')
