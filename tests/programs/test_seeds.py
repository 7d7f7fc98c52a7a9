"""Networks side by side: their trees, and what is told of all and of each."""

import chex
import jax
import numpy as np
import pytest

from launch.runs import display, metrics
from launch.training import seeds

VALUES = [{'accuracy': 0.5, 'loss': 1.0}, {'accuracy': 0.25, 'loss': 3.0}]


def test_trees_are_stacked_and_taken_apart_and_one_stays_as_it_is():
    trees = [{'w': np.full((2, 3), i), 'b': np.float32(i)} for i in range(4)]
    stacked = seeds.stack(trees)
    assert jax.tree.map(np.shape, stacked) == {'w': (4, 2, 3), 'b': (4,)}
    chex.assert_trees_all_equal(seeds.split(stacked, 4), trees)
    assert seeds.stack(trees[:1]) is trees[0]
    assert seeds.split(trees[0], 1) == [trees[0]]


def test_a_summary_has_the_means_and_each_networks_values():
    assert seeds.summarise(range(7, 9), VALUES) == {
        'accuracy': 0.375,
        'loss': 2.0,
        'seed_7_accuracy': 0.5,
        'seed_7_loss': 1.0,
        'seed_8_accuracy': 0.25,
        'seed_8_loss': 3.0,
    }
    assert seeds.summarise(range(7, 8), VALUES[:1]) == VALUES[0]


def test_the_line_of_several_has_their_ranges():
    assert seeds.describe(VALUES) == 'accuracy 0.375 (0.25 to 0.5)  loss 2 (1 to 3)'
    assert seeds.describe(VALUES[:1]) == display.describe(VALUES[0])


def test_ranges_stand_wherever_the_mean_is_a_number():
    rows = [
        {'step': 1, 'seconds': 2.0},
        {'step': 2, 'loss': 2.0, 'seed_9_loss': 1.0, 'seed_10_loss': 3.0, 'seed_9_eval_loss': 9.0},
        {'step': 3, 'loss': None, 'seed_9_loss': 1.0, 'seed_10_loss': None},
        {'step': 4, 'loss': 5.0, 'seed_9_loss': 7.0, 'seed_10_loss': 3.0},
        {'step': 5, 'loss': 6.0},
    ]
    assert seeds.ranges(rows, 'loss') == [(1.0, 3.0), (3.0, 7.0), (6.0, 6.0)]
    assert len(seeds.ranges(rows, 'loss')) == len(metrics.points(rows, 'loss'))
    assert seeds.ranges(rows, 'seconds') == []


@pytest.mark.parametrize('name', ['l.ss', 'oss', 'eval_loss|loss'])
def test_ranges_are_of_no_other_measure(name):
    assert seeds.ranges([{'step': 1, name: 1.0, 'seed_1_loss': 2.0}], name) == []
