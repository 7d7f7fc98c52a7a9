"""The steps of Mini PacMan, set by hand one after the other, and against plain Python."""

import functools

import jax
import numpy as np
import pytest

from tasks.environments.mini_pacman import levels
from tasks.environments.mini_pacman import rules as rules_lib
from tests.support import mini_pacman_reference as reference
from tests.support import mini_pacman_scenes as scenes

pytestmark = pytest.mark.usefixtures('compile_quickly')

ROWS = 70  # games at once; those set by hand are played as often
STAY, RIGHT, UP, LEFT, DOWN = range(5)
MODES = ('regular', 'avoid', 'hunt', 'ambush', 'rush')
RULES = ('paper', 'released')
EVERY = [(rules, mode) for rules in RULES for mode in MODES]
# step, food, pill, ghost, death
REWARDS = {
    'regular': (0, 1, 2, 5, 0),
    'avoid': (0.1, -0.1, -5, -10, -20),
    'hunt': (0, 0, 1, 10, -20),
    'ambush': (0, -0.1, 0, 10, -20),
    'rush': (0, -0.1, 10, 0, 0),
}
PACMAN = 3, 7  # in a corridor from (3, 6) to (3, 12), with junctions at its ends


@pytest.fixture(autouse=True)
def _no_rank_promotion():
    with jax.numpy_rank_promotion('raise'):
        yield


@functools.cache
def advance(rules, mode):
    return jax.jit(jax.vmap(functools.partial(rules_lib.step, rules, mode)))


def play(state, action, rules='paper', mode='regular', words=None):
    """The state after a step, its reward, and whether it killed."""
    if words is None:
        words = np.full(rules_lib.num_words(rules), scenes.STEADY)
        words[: levels.NUM_WORDS] = np.arange(1000, 1000 + levels.NUM_WORDS)
    rows = jax.tree.map(lambda x: np.stack(ROWS * [x]), (state, np.int32(action), words))
    found = advance(rules, mode)(*rows)
    state, reward, dead = jax.tree.map(lambda x: np.asarray(x)[-1], found)
    return state, float(reward), bool(dead)


def square(number):
    return reference.square_of(number)


@pytest.mark.parametrize(('rules', 'mode'), EVERY)
def test_episodes_are_those_of_plain_python(rules, mode):
    random = np.random.default_rng(EVERY.index((rules, mode)))
    states = [scenes.scatter(rules, mode, random) for _ in range(ROWS)]
    games = [reference.Game.of(rules, mode, state) for state in states]
    alive, seen = np.ones(ROWS, bool), np.zeros(3, int)
    rows = jax.tree.map(lambda *x: np.stack(x), *states)
    shape = ROWS, rules_lib.num_words(rules)
    for _ in range(40):
        actions = random.integers(0, 5, ROWS).astype(np.int32)
        words = random.integers(0, 2**32, shape, np.uint32)
        found = advance(rules, mode)(rows, actions, words)
        rows, rewards, dead = jax.tree.map(np.asarray, found)
        for row in np.flatnonzero(alive):
            before = games[row].level
            reward, died = games[row].step(actions[row], words[row])
            after = jax.tree.map(lambda x, row=row: x[row], rows)
            assert (rewards[row], dead[row]) == (reward, died)
            assert reference.Game.of(rules, mode, after).facts() == games[row].facts()
            assert after.num_food == after.food.sum()
            alive[row] = not died
            seen += died, games[row].level > before, games[row].power > 0
    assert np.all(seen >= (5, 2, 20)), seen  # what was to happen has


@pytest.mark.parametrize('rules', RULES)
def test_actions_are_stay_right_up_left_and_down(rules):
    for action, (row, column) in ((0, (3, 3)), (1, (3, 4)), (2, (2, 3)), (3, (3, 2)), (4, (4, 3))):
        state, reward, dead = play(scenes.place((3, 3)), action, rules)
        assert square(state.pacman) == (row, column)
        assert (reward, dead) == (0, False)
        assert (state.steps, state.timer) == (1, 1)


@pytest.mark.parametrize('rules', RULES)
def test_walls_are_not_walked_into(rules):
    for action in (UP, DOWN):
        assert square(play(scenes.place(PACMAN), action, rules)[0].pacman) == PACMAN


@pytest.mark.parametrize(('rules', 'mode'), EVERY)
def test_rewards_are_those_of_the_mode(rules, mode):
    step, eaten, pill, ghost, death = REWARDS[mode]
    far = ((13, 9), 'left')
    food = [(3, 7), (3, 8), (13, 1)]
    hungry = scenes.place(PACMAN, [far], [(13, 13)], food)
    near = scenes.place(PACMAN, [((3, 9), 'left')], [(13, 13)])
    beside = scenes.place(PACMAN, [((3, 8), 'left'), far], [(13, 13)], power=9)
    cases = [
        (hungry, UP, step + eaten),
        (hungry, RIGHT, step + eaten),
        (scenes.place(PACMAN, [far], [(13, 13)]), RIGHT, step),
        (near, RIGHT, step + death),
        (near._replace(power=np.int32(9)), STAY, step),
        (scenes.place(PACMAN, [far], [(3, 8), (13, 13)]), RIGHT, step + pill),
        (beside, RIGHT, step + ghost),
    ]
    for number, (state, action, expected) in enumerate(cases):
        after, reward, dead = play(state, action, rules, mode)
        assert reward == pytest.approx(expected, abs=1e-6), number
        assert dead == (number == 3)
        assert after.score == np.float32(reward)


@pytest.mark.parametrize('rules', RULES)
def test_food_is_eaten_once_and_counted(rules):
    state = scenes.place(PACMAN, food=[PACMAN, (3, 8), (3, 9)], score=5)
    rewards = []
    for action in (RIGHT, LEFT, RIGHT, STAY):
        state, reward, _ = play(state, action, rules)
        rewards.append(reward)
    assert rewards == [1, 1, 0, 0]  # what lies under Pacman is eaten when he comes back, or stays
    assert state.num_food == state.food.sum() == 1
    assert (state.score, state.steps) == (7, 4)


@pytest.mark.parametrize('rules', RULES)
def test_power_lasts_for_the_19_steps_after_a_pill(rules):
    state, reward, _ = play(scenes.place(PACMAN, pills=[(3, 8)]), RIGHT, rules)
    assert reward == 2
    assert state.power == {'paper': 19, 'released': 20}[rules]
    assert np.all(state.pills == levels.NOWHERE)
    outcomes = []
    for _ in range(21):
        met = scenes.place((3, 9), [((3, 10), 'left')])
        met = state._replace(pacman=met.pacman, ghosts=met.ghosts, directions=met.directions)
        outcomes.append(play(met, RIGHT, rules)[1:])
        state = play(state, STAY, rules)[0]
    assert outcomes == 19 * [(5, False)] + 2 * [(0, True)]


@pytest.mark.parametrize('rules', RULES)
def test_power_holds_in_the_step_of_the_pill(rules):
    state = scenes.place(PACMAN, [((3, 8), 'left')], [(3, 8)])
    after, reward, dead = play(state, RIGHT, rules)
    assert (reward, dead) == (7, False)
    assert np.all(after.ghosts == levels.NOWHERE)


def test_with_power_pacman_moves_two_squares_by_the_paper():
    state = play(scenes.place(PACMAN, pills=[(3, 8)]), RIGHT)[0]
    assert square(state.pacman) == (3, 8)
    columns = []
    for step in range(20):
        state = play(state, LEFT if step % 2 else RIGHT)[0]
        columns.append(int(state.pacman) % 19)
    assert columns == [10, 8] * 9 + [10, 9]  # the 20th is one square again


def test_with_power_pacman_moves_one_square_in_the_released_code():
    state = play(scenes.place(PACMAN, power=9), RIGHT, 'released')[0]
    assert square(state.pacman) == (3, 8)


def test_a_double_move_eats_from_both_squares_and_is_stopped_by_walls():
    food = [(3, 8), (3, 9), (13, 1)]
    assert play(scenes.place(PACMAN, food=food, power=1), RIGHT)[1] == 2
    both = scenes.place(PACMAN, pills=[(3, 9), (3, 8)], power=1)
    assert play(both, RIGHT)[1] == 4
    assert square(play(scenes.place((3, 16), power=5), RIGHT)[0].pacman) == (3, 17)
    edge = scenes.place((3, 16), food=[(3, 17), (13, 1)], power=5)
    assert play(edge, RIGHT)[1] == 1  # once, though he is pushed back to it
    # Two squares to the right is a corridor, but there is a wall between.
    assert square(play(scenes.place((1, 3), power=5), RIGHT)[0].pacman) == (1, 3)


def test_to_pass_each_other_is_to_meet():
    state, reward, dead = play(scenes.place(PACMAN, [((3, 8), 'left')]), RIGHT)
    assert (square(state.pacman), square(state.ghosts[0])) == ((3, 8), (3, 7))
    assert (reward, dead) == (0, True)
    for column in (7, 8, 9):  # passed in either half of the step, or met at its end
        state = scenes.place((3, 6), [((3, column), 'left')], power=5)
        after, reward, dead = play(state, RIGHT)
        assert (reward, dead) == (5, False)
        assert after.ghosts[0] == levels.NOWHERE


def test_to_follow_a_ghost_closely_is_to_meet_in_the_released_code_alone():
    state = scenes.place(PACMAN, [((3, 8), 'right')])
    assert [play(state, RIGHT, rules)[2] for rules in RULES] == [False, True]
    powered = state._replace(power=np.int32(5))
    assert [play(powered, RIGHT, rules)[1] for rules in RULES] == [5, 5]


def test_all_ghosts_met_are_eaten_by_the_paper_but_one_in_the_released_code():
    ghosts = [((3, 12), 'left'), ((3, 8), 'left'), ((3, 8), 'left'), ((3, 11), 'left')]
    state = scenes.place(PACMAN, ghosts, power=9)
    after, reward, _ = play(state, STAY, 'paper')
    assert reward == 10
    assert [square(ghost) for ghost in after.ghosts[:4]] == [(3, 11), None, None, (3, 10)]
    after, reward, _ = play(state, STAY, 'released')
    assert reward == 5
    assert [square(ghost) for ghost in after.ghosts[:4]] == [(3, 11), None, (3, 8), (3, 11)]


def test_of_two_pills_on_a_square_the_released_code_gives_one_a_step():
    state = scenes.place(PACMAN, pills=[(3, 8), (3, 8)])
    state, reward, _ = play(state, RIGHT, 'released')
    assert (reward, sorted(state.pills)) == (2, [scenes.number((3, 8)), levels.NOWHERE])
    state, reward, _ = play(state, STAY, 'released')
    assert (reward, state.power) == (2, 20)


@pytest.mark.parametrize(('rules', 'mode'), EVERY)
def test_levels_are_cleared_as_the_mode_defines(rules, mode):
    far = [((13, 9), 'left')]
    last_food = scenes.place(PACMAN, far, [(13, 13)], food=[(3, 8)])
    last_pill = scenes.place(PACMAN, far, [(3, 8)])
    last_ghost = scenes.place(PACMAN, [((3, 8), 'left')], [(13, 13)], power=9)
    cleared = {
        'food': play(last_food, RIGHT, rules, mode),
        'pills': play(last_pill, RIGHT, rules, mode),
        'ghosts': play(last_ghost, STAY, rules, mode),
    }
    for timer in (78, 79, 126, 127):
        late = scenes.place(PACMAN, far, [(13, 13)], timer=timer)
        cleared[timer] = play(late, STAY, rules, mode)
    by = {name for name, (after, _, dead) in cleared.items() if after.level == 2 and not dead}
    paper = {
        'regular': {'food'},
        'avoid': {127},
        'hunt': {'ghosts', 79, 126, 127},  # no game comes to the latter two
        'ambush': {'ghosts', 79, 126, 127},
        'rush': {'pills'},
    }
    released = {'avoid': {'food', 127}, 'hunt': {'ghosts'}, 'ambush': {'ghosts'}}
    assert by == {**paper, **(released if rules == 'released' else {})}[mode]


@pytest.mark.parametrize('rules', RULES)
def test_the_next_level_has_all_food_and_more_ghosts(rules):
    for level, ghosts in ((1, 1), (2, 2), (3, 2), (4, 3), (13, 7), (14, 8), (15, 8), (16, 8)):
        state = scenes.place(
            PACMAN, [((13, 9), 'left')], food=[(3, 8)], power=7, level=level, timer=99, steps=200
        )
        after, reward, dead = play(state, RIGHT, rules)
        assert (reward, dead, after.level) == (1, False, level + 1)
        assert np.sum(after.ghosts < levels.NOWHERE) == ghosts
        np.testing.assert_array_equal(after.food, ~levels.WALLS)
        assert after.num_food == 138
        assert np.all(after.pills < levels.NOWHERE)
        assert (after.power, after.timer, after.steps, after.score) == (0, 0, 201, 1)


@pytest.mark.parametrize('rules', RULES)
def test_the_last_food_saves_but_time_does_not(rules):
    last_food = scenes.place(PACMAN, [((3, 9), 'left')], food=[(3, 8)])
    after, _, dead = play(last_food, RIGHT, rules)
    assert (dead, after.level) == (False, 2)
    late = scenes.place(PACMAN, [((3, 9), 'left')], timer=127)
    after, reward, dead = play(late, RIGHT, rules, 'avoid')
    assert (dead, after.level, after.timer) == (True, 1, 128)
    assert reward == pytest.approx(-19.9)


def test_a_new_level_comes_from_the_first_words_of_the_step():
    words = np.arange(50, 50 + levels.NUM_WORDS, dtype=np.uint32)
    after = play(scenes.place(PACMAN, food=[(3, 8)]), RIGHT, words=words)[0]
    level = jax.jit(functools.partial(levels.new_level, 'paper'))(np.int32(2), words)
    for name, value in level._asdict().items():
        np.testing.assert_array_equal(getattr(after, name), value)
