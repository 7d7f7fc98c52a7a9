"""BoxWorld on drawn levels, against plain Python over long games, and played to the gem."""

import dataclasses
import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tasks.environments import boxworld
from tasks.environments import grid as grid_lib
from tasks.environments.boxworld import environment as environment_lib
from tests.support import boxworld_reference

pytestmark = pytest.mark.usefixtures('compile_quickly')

PAPER = boxworld.BoxWorld()
# Worlds in which a game at random comes to many an end.
SMALL = boxworld.BoxWorld(9, 7, (1, 2), (0, 1), max_steps=400)
LONG = boxworld.BoxWorld(9, 5, (1, 1), (0, 1), 2, viewport=None, max_steps=400)
COLORS = 4
DRAWN = boxworld.BoxWorld(5 + 2, COLORS, (1, 1), (0, 1), max_steps=6)
UP, DOWN, LEFT, RIGHT = range(4)
# Without a stop at the first box, keys a and c lie loose; the gem is locked with b.
DRAWING = """
@.a.c..
.......
.bA..aA
.......
.*B..c2
.......
......d
"""


@pytest.fixture(autouse=True)
def _no_rank_promotion():
    with jax.numpy_rank_promotion('raise'):
        yield


@functools.cache
def pool_of(environment):
    """A pool of 12 levels."""
    levels = jax.jit(lambda key: environment.sample_levels(key, 12))(jax.random.key(1))
    return jax.tree.map(np.asarray, levels)


def begin(environment, drawing):
    """The state of a drawn level: keys a to d, their locks A to D, locks of distractors 1 to 4."""
    signs = '.#*abcdABCD1234'
    rows = drawing.split()
    inside = [[signs.index(sign.replace('@', '.')) for sign in row] for row in rows]
    grid = np.pad(np.array(inside, np.uint8), 1, constant_values=boxworld.WALL)
    (position,) = np.argwhere(np.array([list(row) for row in rows]) == '@') + 1
    level = boxworld.Level(jnp.asarray(grid), jnp.asarray(position, jnp.int32))
    return environment.reset_to(level)[0]


def play(environment, state, actions):
    """The states and time steps after each of some moves, as lists."""
    after = []
    for action in actions:
        after.append(grid_lib.step(environment, state, np.int32(action)))
        state = after[-1][0]
    return after


def grid_of(state):
    return np.asarray(state.grid)


def test_moves_go_up_down_left_and_right():
    state = begin(DRAWN, DRAWING)._replace(position=jnp.array([4, 3]))
    moved = {'up': (3, 3), 'down': (5, 3), 'left': (4, 2), 'right': (4, 4)}
    state = state._replace(grid=state.grid.at[1:-1, 1:-1].set(boxworld.EMPTY))
    assert DRAWN.num_actions == len(DRAWN.action_names) == 4
    for action, name in enumerate(DRAWN.action_names):
        ((after, _),) = play(DRAWN, state, [action])
        assert tuple(after.position.tolist()) == moved[name]


def test_walls_stop():
    state = begin(DRAWN, DRAWING)
    for after, step in play(DRAWN, state, [UP, LEFT, UP]):
        assert after.position.tolist() == [1, 1]
        assert float(step.reward) == 0
    for corner, actions in (((7, 1), (DOWN, LEFT)), ((1, 7), (UP, RIGHT))):
        at_corner = state._replace(position=jnp.array(corner))
        for after, _ in play(DRAWN, at_corner, actions):
            assert after.position.tolist() == list(corner)
            np.testing.assert_array_equal(after.grid, state.grid)


def test_a_key_is_taken_by_walking_on_it_and_another_replaces_it():
    after = play(DRAWN, begin(DRAWN, DRAWING), [RIGHT, RIGHT, RIGHT, RIGHT])
    held = [int(state.held) for state, _ in after]
    key_a, key_c = boxworld.FIRST_KEY, boxworld.FIRST_KEY + 2
    assert held == [boxworld.WALL, key_a, key_a, key_c]
    assert [float(step.reward) for _, step in after] == [0, 0, 0, 0]
    state = after[-1][0]
    assert grid_of(state)[1, 3] == grid_of(state)[1, 5] == boxworld.EMPTY
    assert state.position.tolist() == [1, 5]


@pytest.mark.parametrize('held', [None, 'b', 'c', 'd'])
def test_a_lock_stops_without_its_key(held):
    state = begin(DRAWN, DRAWING)._replace(position=jnp.array([3, 4]))
    if held:
        state = state._replace(held=jnp.uint8(boxworld.FIRST_KEY + 'abcd'.index(held)))
    ((after, step),) = play(DRAWN, state, [LEFT])
    chex.assert_trees_all_equal(after, state._replace(steps=jnp.int32(1)))
    assert (float(step.reward), float(step.discount), bool(step.last)) == (0, 1, False)


def test_a_key_opens_its_lock_and_both_vanish():
    state = begin(DRAWN, DRAWING)._replace(position=jnp.array([3, 4]))
    state = state._replace(held=jnp.uint8(boxworld.FIRST_KEY))
    opened, step = play(DRAWN, state, [LEFT])[0]
    assert opened.position.tolist() == [3, 3]
    assert int(opened.held) == boxworld.WALL
    assert grid_of(opened)[3, 3] == boxworld.EMPTY
    assert (float(step.reward), float(step.discount), bool(step.last)) == (1, 1, False)
    (taken, step), (same, _) = play(DRAWN, opened, [LEFT, RIGHT])
    assert taken.position.tolist() == [3, 2]
    assert int(taken.held) == boxworld.FIRST_KEY + 1
    assert float(step.reward) == 0
    np.testing.assert_array_equal(grid_of(same)[3], [1] + [0] * 5 + [3, 7, 1])  # key a, lock A


@pytest.mark.parametrize(
    ('position', 'action'), [((2, 2), DOWN), ((3, 1), RIGHT), ((4, 2), UP), ((4, 2), DOWN)]
)
def test_the_content_of_a_locked_box_blocks_even_with_its_key(position, action):
    for held in (boxworld.WALL, *range(3, 7)):
        state = begin(DRAWN, DRAWING)._replace(position=jnp.array(position), held=jnp.uint8(held))
        ((after, step),) = play(DRAWN, state, [action])
        chex.assert_trees_all_equal(after, state._replace(steps=jnp.int32(1)))
        assert float(step.reward) == 0


def test_the_gem_gives_ten_and_ends():
    state = begin(DRAWN, DRAWING)._replace(position=jnp.array([5, 4]))
    state = state._replace(held=jnp.uint8(boxworld.FIRST_KEY + 1))
    (_, opened), (after, step) = play(DRAWN, state, [LEFT, LEFT])
    assert (float(opened.reward), float(opened.discount), bool(opened.last)) == (1, 1, False)
    assert (float(step.reward), float(step.discount), bool(step.last)) == (10, 0, True)
    assert int(after.held) == boxworld.WALL


def test_a_distractor_takes_one_and_ends():
    state = begin(DRAWN, DRAWING)._replace(position=jnp.array([4, 7]))
    state = state._replace(held=jnp.uint8(boxworld.FIRST_KEY + 1))
    (_, step), *_ = play(DRAWN, state, [DOWN])
    assert (float(step.reward), float(step.discount), bool(step.last)) == (-1, 0, True)
    state = state._replace(held=jnp.uint8(boxworld.FIRST_KEY))
    (after, step), *_ = play(DRAWN, state, [DOWN])
    assert (after.position.tolist(), float(step.reward), bool(step.last)) == ([4, 7], 0, False)


def test_an_episode_is_truncated_at_its_last_step_and_keeps_its_discount():
    after = play(DRAWN, begin(DRAWN, DRAWING), [DOWN, UP] * 3)
    assert [bool(step.last) for _, step in after] == [False] * 5 + [True]
    assert [float(step.discount) for _, step in after] == [1] * 6
    assert [int(state.steps) for state, _ in after] == [1, 2, 3, 4, 5, 6]


def test_rewards_can_be_chosen():
    environment = boxworld.BoxWorld(
        7, COLORS, (1, 1), (0, 1), gem_reward=3.5, box_reward=0.25, distractor_reward=-2.0
    )
    state = begin(environment, DRAWING)
    at_b = state._replace(position=jnp.array([5, 4]), held=jnp.uint8(4))
    at_2 = state._replace(position=jnp.array([4, 7]), held=jnp.uint8(4))
    rewards = [float(step.reward) for _, step in play(environment, at_b, [LEFT, LEFT])]
    assert [*rewards, float(play(environment, at_2, [DOWN])[0][1].reward)] == [0.25, 3.5, -2]


@functools.cache
def random_games(environment, count, steps, seed=0):
    """The states and time steps of games at random, [T + 1, B, ...], and the moves [T, B]."""
    for_levels, for_moves = jax.random.split(jax.random.key(seed))
    actions = jax.random.randint(for_moves, (steps, count), 0, 4)

    def advance(state, moves):
        state, step = jax.vmap(environment.step)(state, moves)
        return state, (state, step)

    def roll(keys, actions):
        first = jax.vmap(environment.reset)(keys)
        rest = jax.lax.scan(advance, first[0], actions)[1]
        return jax.tree.map(lambda x, xs: jnp.concatenate([x[None], xs]), first, rest)

    played = jax.jit(roll)(jax.random.split(for_levels, count), actions)
    return jax.tree.map(np.asarray, (*played, actions))


@pytest.mark.parametrize('environment', [SMALL, LONG], ids=['viewport', 'whole'])
def test_random_episodes_are_those_of_the_reference(environment):
    states, steps, actions = random_games(environment, 60, 350)
    colors, rewards = boxworld.key_colors(environment.num_colors), []
    for row in range(60):
        game = boxworld_reference.Game(
            states.grid[0, row], states.position[0, row], environment.num_colors
        )
        for time, action in enumerate(actions[:, row], 1):
            reward, ends = game.move(environment.action_names[action])
            rewards.append(reward)
            assert steps.reward[time, row] == reward
            assert steps.last[time, row] == ends
            assert steps.discount[time, row] == 1 - ends
            assert tuple(states.position[time, row]) == game.position
            expected = boxworld.WALL if game.held is None else 3
            if isinstance(game.held, int):
                expected += game.held
            if not ends:
                assert states.held[time, row] == expected
            if not ends and time % 9 == row % 9:
                if environment.viewport:
                    seen = game.window(colors, environment.viewport)
                else:
                    seen = game.picture(colors)
                np.testing.assert_array_equal(steps.observation[time, row], seen)
            if ends:
                break
    assert all(rewards.count(reward) > 4 for reward in (-1, 1, 10))


@pytest.mark.parametrize('environment', [PAPER, SMALL, LONG], ids=['paper', 'small', 'long'])
def test_the_shortest_solution_earns_ten_and_one_a_box(environment):
    start = jax.jit(environment.reset_to)
    for level in zip(*pool_of(environment), strict=True):
        state, _ = start(boxworld.Level(*level))
        game = boxworld_reference.Game(state.grid, state.position, environment.num_colors)
        names = boxworld_reference.shortest_solution(game)
        assert len(names) <= environment.max_steps
        after = play(environment, state, [environment.action_names.index(name) for name in names])
        assert [bool(step.last) for _, step in after] == [False] * (len(names) - 1) + [True]
        boxes = len(game.locks) - len(game.distractors)
        assert sum(float(step.reward) for _, step in after) == 10 + boxes
        assert float(after[-1][1].discount) == 0


def test_the_window_is_a_crop_of_the_whole():
    states = jax.tree.map(lambda x: x[::50, ::7], random_games(SMALL, 60, 350)[0])

    def observe(viewport):
        environment = dataclasses.replace(SMALL, viewport=viewport)
        one = functools.partial(environment_lib.observe, environment)
        return np.asarray(jax.jit(jax.vmap(jax.vmap(one)))(states))

    whole = observe(None)
    for side in (3, 5):
        window = observe(side)
        for time, row in np.ndindex(8, 9):
            inside = whole[time, row].copy()
            inside[0, 0] = 0  # a wall, without the held key
            padded = np.pad(inside, [(4, 4), (4, 4), (0, 0)])
            top, left = states.position[time, row] + 4 - side // 2
            crop = padded[top : top + side, left : left + side]
            seen = window[time, row]
            np.testing.assert_array_equal(seen[..., :3], crop)
            hand = np.broadcast_to(whole[time, row, 0, 0], crop.shape)
            np.testing.assert_array_equal(seen[..., 3:], hand)


def test_observations_are_as_specified():
    for environment, shape in ((SMALL, (5, 5, 6)), (LONG, (11, 11, 3))):
        assert environment.observation_spec == jax.ShapeDtypeStruct(shape, jnp.float32)
        state, step = grid_lib.reset(environment, jax.random.key(3))
        _, after = grid_lib.step(environment, state, np.int32(UP))
        for each in (step, after):
            chex.assert_shape(each.observation, shape)
            chex.assert_type(each, [jnp.float32, jnp.float32, jnp.float32, bool])
            assert 0 <= each.observation.min() < each.observation.max() <= 1
        assert (float(step.reward), float(step.discount), bool(step.last)) == (0, 1, False)


def test_a_level_set_by_hand_has_the_right_colors():
    state = begin(DRAWN, DRAWING)
    whole = environment_lib.observe(
        boxworld.BoxWorld(7, COLORS, (1, 1), (0, 1), viewport=None), state
    )
    key_a, key_b, *_ = boxworld.key_colors(COLORS)
    np.testing.assert_array_equal(whole[1, 1], np.full(3, 0.5, np.float32))
    np.testing.assert_array_equal(whole[1, 2], np.full(3, 0.8, np.float32))
    np.testing.assert_array_equal(whole[0], np.zeros((9, 3)))
    np.testing.assert_array_equal(whole[5, 2], np.ones(3))
    for row, column, color in ((1, 3, key_a), (3, 2, key_b), (3, 3, key_a), (5, 7, key_b)):
        np.testing.assert_array_equal(whole[row, column], color)


@pytest.mark.parametrize('num_colors', [20, 7])
def test_colors_can_be_distinguished(num_colors):
    greys = np.array([[0.8] * 3, [0.5] * 3, [0] * 3, [1] * 3], np.float32)
    colors = np.concatenate([boxworld.key_colors(num_colors), greys])
    assert colors.shape == (num_colors + 4, 3)
    for one, two in itertools.combinations(colors, 2):
        assert np.linalg.norm(one - two) > 0.2


def test_a_picture_shows_the_whole_enlarged():
    state, _ = grid_lib.reset(SMALL, jax.random.key(5))
    state = state._replace(held=jnp.uint8(boxworld.FIRST_KEY + 3))
    picture = SMALL.render(state, scale=3)
    assert picture.dtype == np.uint8
    assert picture.shape == (33, 33, 3)
    environment = dataclasses.replace(SMALL, viewport=None)
    whole = np.asarray(environment_lib.observe(environment, state))
    for row, column in np.ndindex(33, 33):
        expected = np.round(255 * whole[row // 3, column // 3])
        np.testing.assert_array_equal(picture[row, column], expected)


def test_the_same_level_and_moves_give_the_same_bytes_with_and_without_jit():
    level = boxworld.Level(*(jnp.asarray(x[0]) for x in pool_of(SMALL)))
    state, first = SMALL.reset_to(level)
    chex.assert_trees_all_equal((state, first), jax.jit(SMALL.reset_to)(level))
    for action in (UP, LEFT, DOWN, RIGHT, RIGHT):
        plain = SMALL.step(state, np.int32(action))
        chex.assert_trees_all_equal(plain, grid_lib.step(SMALL, state, np.int32(action)))
        state = plain[0]


def test_a_pool_has_the_levels_of_its_key_and_resets_sample_them_uniformly():
    pool = pool_of(SMALL)
    for key, *level in zip(jax.random.split(jax.random.key(1), 12), *pool, strict=True):
        state, _ = grid_lib.reset(SMALL, key)
        chex.assert_trees_all_equal((state.grid, state.position), tuple(level))
    pool = jax.tree.map(lambda x: x[:5], pool)
    keys = jax.random.split(jax.random.key(7), 2000)
    states, steps = jax.jit(lambda pool, keys: jax.vmap(SMALL.reset_from(pool))(keys))(pool, keys)
    assert not np.any(steps.last)
    same = np.all(np.asarray(states.grid)[:, None] == pool.grid, axis=(2, 3))
    np.testing.assert_array_equal(same.sum(axis=1), 1)
    np.testing.assert_allclose(same.mean(axis=0), 1 / 5, atol=0.05)


def test_episodes_follow_each_other_on_levels_of_a_pool():
    environment, pool = dataclasses.replace(SMALL, max_steps=9), pool_of(SMALL)

    def roll(pool, keys, actions):
        chain = grid_lib.AutoReset(environment, environment.reset_from(pool))
        state, _ = jax.vmap(chain.reset)(keys)
        return jax.lax.scan(jax.vmap(chain.step), state, actions)[1]

    actions = jax.random.randint(jax.random.key(9), (40, 3), 0, 4)
    steps = jax.jit(roll)(pool, jax.random.split(jax.random.key(10), 3), actions)
    steps = jax.tree.map(np.asarray, steps)
    starts = np.asarray(jax.jit(jax.vmap(environment.reset_to))(pool)[1].observation)
    for seen in steps.observation[steps.last]:
        assert np.any(np.all(starts == seen, axis=(1, 2, 3)))
    assert np.sum(steps.last) >= 3 * (40 // 9)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'viewport': 4}, 'wanted an odd viewport of 3 or more or None, got 4'),
        ({'viewport': 1}, 'odd viewport .* got 1'),
        ({'viewport': 0}, 'odd viewport .* got 0'),
        ({'max_steps': 0}, 'wanted max_steps of 1 or more, got 0'),
        ({'num_colors': 9}, 'a colour for each .* got num_colors 9'),
        ({'size': 9}, 'at most 4 .* size 9, got 11'),
    ],
)
def test_impossible_environments_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        boxworld.BoxWorld(**changes)
