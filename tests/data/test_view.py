"""What is seen of Mini PacMan, square by square, and a window as a piece of the whole."""

import functools

import jax
import numpy as np
import pytest

from tasks.environments import grid
from tasks.environments.mini_pacman import levels, view
from tests.support import mini_pacman_reference as reference
from tests.support import mini_pacman_scenes as scenes

pytestmark = pytest.mark.usefixtures('compile_quickly')

BLACK, RED, GREEN, BLUE = (0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)
CYAN, WHITE, YELLOW, PINK = (0, 1, 1), (1, 1, 1), (1, 1, 0), (1, 0.4, 0.7)
# Everything on something else: pills on food, a ghost on a pill, Pacman on food.
GHOSTS = [((3, 9), 'left'), ((5, 5), 'up'), ((3, 8), 'left')]
SCENE = scenes.place((3, 7), GHOSTS, [(3, 9), (1, 5)], [(3, 7), (3, 6), (1, 5), (3, 8), (13, 1)])


@functools.cache
def jitted(function, *choices):
    return jax.jit(lambda state: function(state, *choices))


def see(function, state, *choices):
    with jax.numpy_rank_promotion('raise'):
        return np.asarray(jitted(function, *choices)(state))


def color(state, square, rules):
    return tuple(see(view.colors, state, rules, None, False)[square].tolist())


def test_what_covers_what():
    expected = {
        (3, 7): GREEN, (3, 6): BLUE, (3, 8): RED, (3, 9): RED, (5, 5): RED,
        (1, 5): CYAN, (13, 1): BLUE, (3, 10): BLACK, (0, 0): WHITE, (2, 2): WHITE,
    }  # fmt: skip
    for square, wanted in expected.items():
        assert color(SCENE, square, 'paper') == wanted, square
    met = SCENE._replace(pacman=np.int32(scenes.number((3, 9))))
    assert color(met, (3, 9), 'paper') == GREEN


def test_the_whole_is_that_of_a_loop():
    whole = see(view.colors, SCENE, 'paper', None, False)
    assert whole.shape == (15, 19, 3)
    for square in np.ndindex(15, 19):
        expected = WHITE if reference.is_wall(square) else BLACK
        number = scenes.number(square)
        for things, its_color in (
            (np.flatnonzero(SCENE.food), BLUE), (SCENE.pills, CYAN),
            (SCENE.ghosts, RED), ([SCENE.pacman], GREEN),
        ):  # fmt: skip
            expected = its_color if number in things else expected
        assert tuple(whole[square]) == expected


def test_ghosts_that_may_be_eaten_are_yellow():
    powered = SCENE._replace(power=np.int32(5))
    assert color(powered, (3, 8), 'paper') == YELLOW
    assert color(powered, (3, 8), 'released') == (1, 0.25, 0)
    full = SCENE._replace(power=np.int32(20))
    assert color(full, (3, 8), 'released') == YELLOW
    assert color(powered, (3, 7), 'paper') == GREEN


@pytest.mark.parametrize('viewport', [None, 3, 5, 7, 21])
@pytest.mark.parametrize('rules', ['paper', 'released'])
def test_a_window_is_a_piece_of_the_whole_with_walls_around(rules, viewport):
    random = np.random.default_rng(3)
    outside = {view.colors: np.float32([1, 1, 1]), view.planes: np.float32([1, 0, 0, 0, 0, 0])}
    for square in ((1, 1), (13, 17), (7, 3), (1, 9), (9, 15), (11, 1)):
        state = scenes.scatter(rules, 'regular', random)
        state = state._replace(pacman=np.int32(scenes.number(square)))
        for function, fill in outside.items():
            rest = (False,) if function is view.colors else ()
            whole = see(function, state, rules, None, *rest)
            if viewport is None:
                assert whole.shape == (15, 19, len(fill))
                continue
            half = viewport // 2
            pads = (half, half), (half, half)
            padded = np.stack(
                [np.pad(x, pads, constant_values=f) for x, f in zip(whole.T, fill, strict=True)]
            ).T
            row, column = square
            crop = padded[row : row + viewport, column : column + viewport]
            window = see(function, state, rules, viewport, *rest)
            assert window.tobytes() == crop.tobytes()
            with jax.numpy_rank_promotion('raise'):
                shared = grid.viewport(whole, np.array(square), viewport, fill)
            np.testing.assert_array_equal(window, shared)


@pytest.mark.parametrize('viewport', [None, 5])
def test_the_power_bar_is_a_row_below(viewport):
    width = viewport or 19
    for power in (0, 1, 7, 19):
        state = SCENE._replace(power=np.int32(power))
        plain = see(view.colors, state, 'paper', viewport, False)
        barred = see(view.colors, state, 'paper', viewport, True)
        np.testing.assert_array_equal(barred[:-1], plain)
        filled = power / 19 * width
        expected = [min(max(filled - column, 0), 1) for column in range(width)]
        np.testing.assert_allclose(barred[-1], np.outer(expected, PINK), atol=1e-5)
    assert np.sum(see(view.colors, SCENE._replace(power=np.int32(7)), 'paper', None, True)[-1, :, 0]
                  > 0.5) == 7  # fmt: skip


@pytest.mark.parametrize(('rules', 'most'), [('paper', 19), ('released', 20)])
def test_planes_show_what_is_where_whatever_covers_it(rules, most):
    planes = see(view.planes, SCENE._replace(power=np.int32(5)), rules, None)
    assert planes.shape == (15, 19, 6)
    np.testing.assert_array_equal(planes[..., 0], levels.WALLS)
    np.testing.assert_array_equal(planes[..., 1], SCENE.food)
    found = [[tuple(map(int, x)) for x in np.argwhere(planes[..., i])] for i in range(6)]
    assert found[2] == [(3, 7)]
    assert found[3] == found[4] == [(3, 8), (3, 9), (5, 5)]
    assert found[5] == [(1, 5), (3, 9)]
    np.testing.assert_allclose(planes[3, 8, 3:5], [1 - 5 / most, 5 / most], rtol=1e-6)
    assert np.all((planes >= 0) & (planes <= 1))
