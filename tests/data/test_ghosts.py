"""How ghosts move, one by one; whole games are in the tests of the rules."""

import functools

import jax
import numpy as np
import pytest

from tasks.environments.mini_pacman import ghosts as ghosts_
from tasks.environments.mini_pacman import levels
from tests.support import mini_pacman_reference as reference
from tests.support import mini_pacman_scenes as scenes

pytestmark = pytest.mark.usefixtures('compile_quickly')

NAMES = scenes.DIRECTIONS


@functools.cache
def jitted(function):
    return jax.jit(function)


def turn(square, look, pacman, powered=False):
    """Where a ghost looks after a move by the paper's rules; it has gone there."""
    state = scenes.place(pacman, [(square, look)])
    path = ghosts_.Path(*(3 * [state.pacman]))
    ghosts = ghosts_.Ghosts(state.ghosts, state.directions)
    with jax.numpy_rank_promotion('raise'):
        after, _ = jitted(ghosts_.chase)(ghosts, path, np.array(powered))
    way = int(after.directions[0])
    assert reference.square_of(after.squares[0]) == reference.add(
        square, reference.ACTIONS[1 + way]
    )
    assert np.all(np.asarray(after.squares)[1:] == levels.NOWHERE)
    return NAMES[way]


@functools.cache
def wander_often(square, look, pacman, level, powered):
    """Where a ghost of the released rules goes: how often it moves, and which way if so."""
    count = 20_000
    state = scenes.place(pacman, [(square, look)], level=level)
    words = np.random.default_rng(5).integers(0, 2**32, (count, 8), np.uint32)
    ghosts = ghosts_.Ghosts(state.ghosts, state.directions)
    with jax.numpy_rank_promotion('raise'):
        many = jax.vmap(ghosts_.wander, (None, None, None, None, 0))
        after, _ = jitted(many)(ghosts, state.pacman, state.level, np.array(powered), words)
    moved = np.asarray(after.squares)[:, 0] != state.ghosts[0]
    ways = np.bincount(np.asarray(after.directions)[moved, 0], minlength=4)
    return moved.mean(), ways / moved.sum()


def test_in_a_corridor_a_ghost_goes_on_whether_or_not_pacman_is_there():
    for pacman in ((3, 6), (3, 12)):
        for powered in (False, True):
            assert turn((3, 9), 'left', pacman, powered) == 'left'
            assert turn((3, 9), 'right', pacman, powered) == 'right'


def test_at_a_bend_a_ghost_turns_and_does_not_go_back():
    for pacman in ((13, 1), (3, 17)):
        assert turn((1, 1), 'up', pacman) == 'right'
        assert turn((1, 1), 'left', pacman) == 'down'


def test_a_ghost_that_faces_a_wall_in_a_corridor_takes_the_first_way():
    assert turn((3, 9), 'up', (13, 1)) == 'right'
    assert turn((4, 3), 'left', (13, 1)) == 'up'


def test_at_a_junction_a_ghost_goes_the_straightest_way_to_pacman():
    assert turn((3, 3), 'right', (3, 9)) == 'right'
    assert turn((3, 3), 'right', (13, 5)) == 'down'
    assert turn((3, 3), 'right', (1, 3)) == 'up'
    assert turn((3, 3), 'left', (5, 1)) == 'left'  # down is as straight, but comes later


def test_at_a_junction_a_ghost_does_not_go_back():
    assert turn((3, 3), 'right', (3, 1)) == 'up'  # up and down are equal
    assert turn((3, 3), 'left', (3, 9)) == 'up'
    assert turn((3, 3), 'down', (1, 3)) == 'right'


def test_at_a_junction_a_ghost_flees_from_power():
    assert turn((3, 3), 'right', (3, 9), powered=True) == 'up'
    assert turn((3, 3), 'up', (3, 9), powered=True) == 'left'
    assert turn((3, 3), 'down', (13, 4), powered=True) == 'left'


def test_on_pacman_a_ghost_goes_the_first_way():
    assert turn((3, 3), 'left', (3, 3)) == 'up'


def test_the_odd_directions_of_the_released_code_only_forbid():
    assert turn((3, 3), 'not right', (3, 9)) == 'up'
    assert turn((3, 3), 'not up', (1, 3)) == 'right'
    assert turn((3, 9), 'not right', (13, 1)) == 'left'  # right is the first, but forbidden
    assert turn((4, 3), 'not up', (13, 1)) == 'down'
    assert turn((3, 9), 'not up', (13, 1)) == 'right'


@pytest.mark.parametrize(
    ('level', 'speed'), [(1, 0.5), (2, 0.6), (3, 0.7), (5, 0.9), (6, 1), (9, 1)]
)
def test_released_ghosts_move_more_often_level_by_level_and_half_as_often_from_power(level, speed):
    for powered, share in ((False, speed), (True, speed / 2)):
        exact = float(ghosts_.speed(np.int32(level), np.array(powered))) / ghosts_.CHANCES
        assert exact == pytest.approx(share, abs=0.5 / ghosts_.CHANCES)
        found, _ = wander_often((3, 9), 'left', (13, 1), level, powered)
        assert found == pytest.approx(share, abs=0.012)


def test_released_ghosts_stray_at_junctions_in_a_twentieth_of_cases():
    assert pytest.approx(0.05, abs=1e-4) == ghosts_.STRAYS / ghosts_.CHANCES
    _, ways = wander_often((3, 3), 'right', (3, 9), 9, False)
    np.testing.assert_allclose(ways, [1 - 0.1 / 3, 0.05 / 3, 0, 0.05 / 3], atol=0.004)
    assert wander_often((3, 3), 'right', (3, 9), 9, True)[1].tolist() == [0, 1, 0, 0]
    assert wander_often((3, 9), 'left', (13, 1), 9, False)[1].tolist() == [0, 0, 1, 0]


def test_a_released_ghost_that_does_not_move_keeps_its_direction():
    state = scenes.place((13, 1), [((3, 3), 'not up')])
    ghosts = ghosts_.Ghosts(state.ghosts, state.directions)
    still = np.full(8, 4095, np.uint32)
    after, met = jitted(ghosts_.wander)(ghosts, state.pacman, state.level, np.array(False), still)
    assert not np.any(met)
    np.testing.assert_array_equal(after.squares, ghosts.squares)
    np.testing.assert_array_equal(after.directions, ghosts.directions)
