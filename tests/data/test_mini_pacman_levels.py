"""The maze of Mini PacMan, and what is drawn of its levels, against plain Python."""

import functools

import jax
import numpy as np
import pytest

from tasks.environments.mini_pacman import levels
from tests.support import mini_pacman_reference as reference

pytestmark = pytest.mark.usefixtures('compile_quickly')

RULES = ('paper', 'released')
NUM_DRAWN = 7000


@functools.cache
def draw(rules, level=16, count=NUM_DRAWN):
    with jax.numpy_rank_promotion('raise'):
        words = np.random.default_rng(level).integers(
            0, 2**32, (count, levels.NUM_WORDS), np.uint32
        )
        new = jax.jit(jax.vmap(functools.partial(levels.new_level, rules), (None, 0)))
        return words, jax.tree.map(np.asarray, new(np.int32(level), words))


def test_the_maze_is_that_of_the_rules():
    drawn = np.array([[sign == '1' for sign in row] for row in reference.MAZE])
    np.testing.assert_array_equal(levels.WALLS, drawn)
    assert len(levels.CORRIDORS) == len(set(levels.CORRIDORS)) == 138
    assert [divmod(int(square), 19) for square in levels.CORRIDORS] == reference.OPEN


def test_steps_lead_to_the_next_square_or_nowhere_if_there_is_a_wall():
    for square in levels.CORRIDORS:
        here = divmod(int(square), 19)
        for action, move in enumerate(reference.ACTIONS):
            there = reference.add(here, move)
            expected = here if reference.is_wall(there) else there
            assert divmod(int(levels.steps()[square, action]), 19) == expected


@pytest.mark.parametrize('rules', RULES)
@pytest.mark.parametrize('level', [1, 2, 3, 6, 15, 16, 40])
def test_levels_are_those_of_plain_python(rules, level):
    words, drawn = draw(rules, level, 30)
    for row in range(30):
        game = reference.Game(rules, 'regular')
        game.begin_level(level, words[row])
        assert reference.square_of(drawn.pacman[row]) == game.pacman
        assert [reference.square_of(x) for x in drawn.pills[row]] == game.pills
        assert [reference.square_of(x) for x in drawn.ghosts[row]] == game.ghosts
        assert drawn.directions[row].tolist() == game.looks


def test_ghosts_grow_by_one_every_second_level_up_to_eight():
    counts = [int(levels.num_ghosts(np.int32(level))) for level in range(1, 20)]
    assert counts == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 8, 8, 8]


def test_all_start_on_different_squares_by_the_paper():
    drawn = draw('paper')[1]
    squares = np.concatenate([drawn.pacman[:, None], drawn.pills, drawn.ghosts], axis=1)
    assert all(len(set(row)) == 11 for row in squares.tolist())


def test_squares_are_sampled_uniformly_by_the_paper():
    drawn = draw('paper')[1]
    for squares in (drawn.pacman, drawn.pills, drawn.ghosts[:, -3:]):
        counts = np.bincount(squares.ravel(), minlength=levels.NUM_SQUARES)
        assert np.all(counts[levels.WALLS.ravel()] == 0)
        share = counts[levels.CORRIDORS] / squares.size
        assert np.sum((share * 138 - 1) ** 2) * squares.size / 138 < 205  # 137 +- 17
    assert set(drawn.directions.ravel()) == {0, 1, 2, 3}


def test_released_ghosts_start_far_from_pacman():
    drawn = draw('released')[1]
    here, there = (np.stack(np.divmod(x, 19)) for x in (drawn.pacman[:, None], drawn.ghosts))
    away = there - here
    near = np.all((away >= -5) & (away <= 4), axis=0)
    assert not np.any(near)
    assert np.any(np.all((away >= -6) & (away <= 5), axis=0))  # but as near as that
    assert set(drawn.directions.ravel()) == {0, 1, levels.NOT_RIGHT, levels.NOT_UP}


def test_released_pills_may_lie_on_each_other_and_under_pacman():
    drawn = draw('released')[1]
    pairs = drawn.pills[:, 0], drawn.pills[:, 1], drawn.pacman
    for first, second in (pairs[:2], pairs[1:]):
        assert np.mean(first == second) == pytest.approx(1 / 138, abs=0.004)
