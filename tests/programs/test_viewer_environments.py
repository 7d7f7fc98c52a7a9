"""What is shown of environments, in states set by hand."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from launch.viewer import environments
from tasks import base
from tasks.environments import boxworld, mini_pacman
from tests.support import mini_pacman_scenes

SMALL = boxworld.BoxWorld(
    size=7, num_colors=4, solution_length=(1, 1), num_distractors=(0, 0), viewport=3
)
RED = [255, 0, 0]


def boxes(held, position=(3, 5)):
    grid = np.ones((9, 9), np.uint8)  # walls
    grid[1:-1, 1:-1] = 0
    grid[5, 4] = 3  # a key of the first colour
    return boxworld.State(jnp.asarray(grid), jnp.array(position), jnp.uint8(held), jnp.int32(0))


def test_a_window_is_that_of_a_loop():
    for viewport in (3, 5):
        for position in [(0, 0), (2, 3), (3, 5)]:
            found = environments.window((4, 6), np.array(position), viewport)
            for row, column in np.ndindex(4, 6):
                away = abs(row - position[0]), abs(column - position[1])
                assert found[row, column] == (max(away) <= (viewport - 1) / 2)
    assert environments.window((4, 6), np.array([1, 1]), None).all()


def test_boxworld_shows_the_whole_grid_and_the_window_and_the_key_in_hand():
    scene = environments.scene(SMALL, boxes(held=3))
    assert scene.picture.shape == (9, 9, 3)
    assert scene.picture[5, 4].tolist() == RED
    assert scene.picture[3, 5].tolist() == [128, 128, 128]
    visible = [*[(row, column) for row in (2, 3, 4) for column in (4, 5, 6)], (0, 0)]
    assert sorted(map(tuple, np.argwhere(scene.visible).tolist())) == sorted(visible)
    assert (scene.status, scene.color.tolist()) == ('the key in hand', RED)
    scene = environments.scene(SMALL, boxes(held=1))
    assert (scene.status, scene.color) == ('no key in hand', None)


@pytest.mark.parametrize('rules', ['paper', 'released'])
@pytest.mark.parametrize('observation', ['rgb', 'planes'])
def test_mini_pacman_shows_the_maze_and_its_power_bar(rules, observation):
    environment = mini_pacman.MiniPacman(rules=rules, observation=observation)
    state = mini_pacman_scenes.place((3, 4), [((9, 3), 'up')], power=4, level=3)
    scene = environments.scene(environment, state)
    assert scene.picture.shape == (16, 19, 3)
    assert scene.picture[3, 4].tolist() == [0, 255, 0]
    assert scene.picture[13, 1].tolist() == [0, 0, 255]
    visible = np.argwhere(scene.visible[:15])
    assert (visible.min(0).tolist(), visible.max(0).tolist()) == ([1, 2], [5, 6])
    assert scene.visible[15].all()
    assert scene.status == 'level 3   power 4'


def test_with_a_full_view_all_is_visible():
    environment = mini_pacman.MiniPacman(viewport=None)
    assert environments.scene(environment, mini_pacman_scenes.place((3, 4))).visible.all()
    environment = dataclasses.replace(SMALL, viewport=None)
    assert environments.scene(environment, boxes(held=1)).visible.all()


@pytest.mark.parametrize(
    ('environment', 'reward', 'discount', 'last', 'wanted'),
    [
        (SMALL, 1, 1, False, ''),
        (SMALL, 0, 1, True, 'truncated'),
        (SMALL, 10, 0, True, 'the gem is taken'),
        (SMALL, -1, 0, True, 'a distractor box is opened'),
        (mini_pacman.MiniPacman(), 3, 1, False, ''),
        (mini_pacman.MiniPacman(), 3, 1, True, 'truncated'),
        (mini_pacman.MiniPacman(), 3, 0, True, 'eaten by a ghost'),
    ],
)
def test_an_episode_ends_in_one_of_these_ways(environment, reward, discount, last, wanted):
    timestep = base.TimeStep((), jnp.float32(reward), jnp.float32(discount), jnp.array(last))
    assert environments.ending(environment, timestep) == wanted
