"""Levels of BoxWorld: that each has one solution, and that what is drawn is drawn evenly."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tasks.environments.boxworld import levels as levels_lib
from tests.support import boxworld_reference

PAPER = levels_lib.Setting()
SETTINGS = {
    'paper': PAPER,
    'smallest': levels_lib.Setting(7, 3, (1, 2), (0, 0)),
    'most colours taken': levels_lib.Setting(8, 2, (1, 1), (1, 1)),
    'long branches': levels_lib.Setting(17, 11, (2, 4), (1, 2), 3),
    'only a solution': levels_lib.Setting(13, 9, (6, 6), (0, 0)),
}
pytestmark = pytest.mark.usefixtures('compile_quickly')

NUM_EVEN = 10_000  # levels that counts are taken of


@pytest.fixture(autouse=True)
def _no_rank_promotion():
    with jax.numpy_rank_promotion('raise'):
        yield


def keys_of(name, seed=0):
    return jax.random.split(jax.random.key(seed), NUM_EVEN if name == 'paper' else 80)


@functools.cache
def sampler(name, part):
    return jax.jit(jax.vmap(functools.partial(part, SETTINGS[name])))


@functools.cache
def sample(name):
    return jax.tree.map(np.asarray, sampler(name, levels_lib.sample)(keys_of(name)))


@functools.cache
def sample_boxes(name):
    return jax.tree.map(np.asarray, sampler(name, levels_lib.sample_boxes)(keys_of(name)))


def games(name):
    """Games of the first 80 levels."""
    levels = (x[:80] for x in sample(name))
    for grid, position in zip(*levels, strict=True):
        yield boxworld_reference.Game(grid, position, SETTINGS[name].num_colors)


def assert_even(counts):
    """Chi-square of counts that should be even, within five standard deviations of its mean."""
    expected = sum(counts) / len(counts)
    freedom = len(counts) - 1
    chi_square = sum((count - expected) ** 2 / expected for count in counts)
    assert chi_square < freedom + 5 * np.sqrt(2 * freedom) + 5, counts


@pytest.mark.parametrize('name', SETTINGS)
def test_every_level_has_one_solution_even_if_distractors_ended_nothing(name):
    for game in games(name):
        solution = set(game.locks) - game.distractors
        (order,) = boxworld_reference.ways_to_the_gem(game)
        assert set(order) == solution
        assert len(order) == len(solution)


@pytest.mark.parametrize('name', SETTINGS)
def test_lengths_and_numbers_of_branches_are_in_their_range(name):
    setting = SETTINGS[name]
    for game in games(name):
        low, high = setting.solution_length
        assert low <= len(game.locks) - len(game.distractors) <= high
        branches, rest = divmod(len(game.distractors), setting.distractor_length)
        assert not rest
        assert setting.num_distractors[0] <= branches <= setting.num_distractors[1]


@pytest.mark.parametrize('name', SETTINGS)
def test_all_around_a_box_and_a_loose_key_is_free(name):
    for grid in sample(name).grid[:80]:
        side = len(grid)
        whole = np.arange(side)
        inside = (whole > 0) & (whole < side - 1)
        np.testing.assert_array_equal(grid == levels_lib.WALL, ~(inside[:, None] & inside[None]))
        for row, column in zip(*np.nonzero(grid > levels_lib.WALL), strict=True):
            for other in itertools.product((row - 1, row, row + 1), range(column - 1, column + 2)):
                if other[0] != row or abs(other[1] - column) != 1:
                    assert grid[other] == levels_lib.EMPTY or other == (row, column)
            first_lock = levels_lib.FIRST_KEY + SETTINGS[name].num_colors
            if grid[row, column] >= first_lock:
                assert levels_lib.GEM <= grid[row, column - 1] < first_lock
                assert grid[row, column + 1] == levels_lib.EMPTY
            elif grid[row, column + 1]:
                assert grid[row, column + 1] >= first_lock


@pytest.mark.parametrize('name', ['paper', 'most colours taken', 'long branches'])
def test_boxes_form_a_solution_and_branches(name):
    """Read from the order of `Boxes`, with colours as numbers."""
    setting = SETTINGS[name]
    colors, most = setting.num_colors, setting.solution_length[1]
    boxes = (x[:80] for x in sample_boxes(name))
    for contents, locks, present in zip(*boxes, strict=True):
        assert locks[0] == levels_lib.EMPTY
        assert contents[0] - 3 in range(colors)
        length = present[1 : 1 + most].sum()
        chain = [int(contents[0]) - 3]
        for box in range(1, 1 + length):
            assert locks[box] == 3 + colors + chain[-1]
            chain.append(int(contents[box]) - 3)
        assert contents[length] == levels_lib.GEM
        solution, elsewhere = chain[:-1], []
        assert len(set(solution)) == length
        for first in range(1 + most, len(locks), setting.distractor_length):
            opened_by = None
            for box in range(first, first + setting.distractor_length):
                lock = int(locks[box]) - 3 - 2 * colors
                assert lock in solution if opened_by is None else lock == opened_by
                assert present[box] == present[first]
                opened_by = int(contents[box]) - 3
                elsewhere.append(opened_by)
        assert all(color in range(colors) for color in elsewhere)
        assert len({*solution, *elsewhere}) == length + len(elsewhere)


def test_lengths_branches_roots_and_colors_are_uniform():
    contents, locks, present = sample_boxes('paper')
    lengths, branches = present[:, 1:6].sum(axis=1), present[:, 6:].sum(axis=1)
    assert_even(np.bincount(lengths, minlength=6)[1:])
    assert_even(np.bincount(branches, minlength=6))
    assert_even(np.bincount(6 * lengths + branches, minlength=36)[6:])  # independent, too
    for column in (0, 6, 10):  # a loose key, what the first and the last branch hold
        assert_even(np.bincount(contents[:, column] - 3, minlength=20))
    for column in (6, 10):
        roots = locks[:, column] - 3 - 2 * 20 + 3 + 20
        steps = np.argmax(locks[:, 1:6] == roots[:, None], axis=1)
        for length in range(2, 6):
            assert_even(np.bincount(steps[lengths == length], minlength=length))


def test_the_loose_key_and_the_agent_are_anywhere():
    levels = sample('paper')
    places, ranks = np.zeros((16, 16), int), []
    for grid, (row, column) in zip(*levels, strict=True):
        is_key = (grid >= 3) & (grid < 23)
        loose = is_key & (np.roll(grid, -1, axis=1) == levels_lib.EMPTY)
        assert loose.sum() == 1
        places += loose
        free = np.flatnonzero(grid == levels_lib.EMPTY)
        assert grid[row, column] == levels_lib.EMPTY
        ranks.append(np.searchsorted(free, 16 * row + column) / len(free))
    inside = places[2:14, 2:13]  # a square away from every wall, room for a lock on the right
    assert inside.sum() == NUM_EVEN
    assert_even(inside.ravel())
    assert_even(np.histogram(ranks, bins=40, range=(0, 1))[0])


def test_places_are_uniform_among_those_left():
    """All orders of 2 rows of 4 places: the second box is evenly on what the first leaves free."""
    orders = np.array(list(itertools.permutations(range(1, 9))), np.uint32)
    pack = jax.jit(jax.vmap(lambda order: levels_lib.pack(order, 4, jnp.full(2, True))))
    found, places = jax.tree.map(np.asarray, pack(orders))
    squares = 4 * places[..., 0] + places[..., 1]
    for first in range(8):
        free = [x for x in range(8) if abs(x % 4 - first % 4) > 2]  # rows are neighbours
        chosen = squares[:, 0] == first
        assert chosen.sum() == len(orders) / 8
        assert found[chosen, 0].all()
        assert (found[chosen, 1] == bool(free)).all()
        for second in free:
            assert (squares[chosen, 1] == second).sum() == chosen.sum() / len(free)


def test_a_box_that_is_not_there_takes_no_place():
    order = jnp.array([6, 5, 4, 3, 2, 1], jnp.uint32)  # one row
    present = jnp.array([False, True, True])
    found, places = levels_lib.pack(order, 6, present)
    assert found.tolist() == [True, True, True]
    assert places[1:].tolist() == [[0, 0], [0, 3]]
    found, _ = levels_lib.pack(order, 6, jnp.array([True, True, True]))
    assert found.tolist() == [True, True, False]


def test_places_are_sampled_again_until_there_is_room():
    setting = SETTINGS['smallest']
    keys = jax.random.split(jax.random.key(4), 400)

    def first_attempt(key):
        order = jax.random.bits(jax.random.split(key)[1], (20,)) | 1
        return levels_lib.pack(order, 4, jnp.full(3, True))

    found, at_first = jax.jit(jax.vmap(first_attempt))(keys)
    find = functools.partial(levels_lib.sample_places, setting, jnp.full(3, True))
    places = jax.jit(jax.vmap(find))(keys)
    at_once = np.asarray(found).all(axis=1)
    assert 20 < (~at_once).sum() < 100
    np.testing.assert_array_equal(places[at_once], 2 + at_first[at_once])
    for three in np.asarray(places):
        for one, two in itertools.combinations(three, 2):
            assert abs(one[0] - two[0]) > 1 or abs(one[1] - two[1]) > 2


def test_a_level_is_a_function_of_its_key_alone():
    whole, name = sample('smallest'), 'smallest'
    is_same = np.arange(80) % 7 == 3
    keys = jnp.where(is_same, keys_of(name), keys_of(name, seed=1))
    other = sampler(name, levels_lib.sample)(keys)
    same = np.all(np.asarray(other.grid) == whole.grid, axis=(1, 2))
    assert same[is_same].all()
    assert same[~is_same].mean() < 0.2
    np.testing.assert_array_equal(other.position[is_same], whole.position[is_same])
    assert len({grid.tobytes() for grid in sample('paper').grid}) == NUM_EVEN


def test_shapes_are_those_of_the_setting():
    level = sample('long branches')
    chex.assert_shape(level, [(80, 19, 19), (80, 2)])
    chex.assert_type(level, [jnp.uint8, jnp.int32])
    boxes = sample_boxes('long branches')
    chex.assert_shape(boxes, (80, 1 + 4 + 2 * 3))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'solution_length': (0, 3)}, r'wanted solution_length as .* at least 1, got \(0, 3\)'),
        ({'solution_length': (4, 3)}, r'solution_length .* got \(4, 3\)'),
        ({'solution_length': (1, 2, 3)}, r'solution_length .* got \(1, 2, 3\)'),
        ({'num_distractors': (-1, 3)}, r'num_distractors .* at least 0, got \(-1, 3\)'),
        ({'num_distractors': (2, 1)}, r'num_distractors .* got \(2, 1\)'),
        ({'distractor_length': 0}, 'wanted distractor_length of 1 or more, got 0'),
        ({'num_colors': 9}, 'a colour for each of up to 10 boxes .* got num_colors 9'),
        ({'num_colors': 81}, 'at most 80, got num_colors 81'),
        ({'size': 13, 'solution_length': (1, 7)}, 'at most 12 .* size 13, got 13'),
        ({'size': 4}, 'at most 0 .* size 4, got 11'),
        ({'size': -9}, 'at most 0 .* size -9, got 11'),
    ],
)
def test_impossible_levels_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        levels_lib.Setting(**changes)


@pytest.mark.parametrize('name', ['paper', 'long branches', 'most colours taken'])
def test_there_is_a_choice_where_a_key_opens_two_boxes_with_keys(name):
    setting, grids = SETTINGS[name], sample(name).grid
    found = sampler(name, levels_lib.has_choice)(grids)
    for grid, is_found in zip(grids[:80], found, strict=False):
        leading_on, distracting = set(), set()
        for row, column in np.argwhere(grid >= setting.first_lock):
            code = int(grid[row, column]) - setting.first_lock
            distractor, color = divmod(code, setting.num_colors)
            if distractor:
                distracting.add(color)
            elif grid[row, column - 1] != levels_lib.GEM:
                leading_on.add(color)
        assert is_found == bool(leading_on & distracting)
        assert levels_lib.has_distractor(setting, grid) == bool(distracting)


def test_three_fifths_of_the_papers_levels_have_a_choice():
    share = np.mean(sampler('paper', levels_lib.has_choice)(sample('paper').grid))
    assert share == pytest.approx(expected_share_of_choices(5, 5), abs=0.02)


def expected_share_of_choices(most_boxes, most_distractors):
    """Returns the share for up to so many boxes and distractors: not all of them by the gem's."""
    lengths, counts = range(1, most_boxes + 1), range(most_distractors + 1)
    return np.mean([1 - (1 / length) ** count for length in lengths for count in counts])
