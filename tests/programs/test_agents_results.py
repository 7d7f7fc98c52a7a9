"""What experiments with agents measure, print and draw, of numbers that are given."""

import os
from typing import NamedTuple

import pytest

from launch.agents import configuration, evaluation, learning, network, results
from launch.runs import plots
from tests.support import tiny_environments

CONFIG = configuration.Config(
    core='lstm', batch_size=4, unroll=5, evaluation_size=3, final_evaluation_size=7
)
SOURCE = tiny_environments.source(tiny_environments.Corridor(), has_success=True)


class Task(NamedTuple):
    """What of a task is given to it."""

    evaluate: object
    test: object


@pytest.fixture
def task(monkeypatch):
    """Returns a task whose evaluations return whom and how many they are of."""
    monkeypatch.setattr(network, 'make', lambda config, environment: (config, environment))

    def make(source, functions, size=None):
        assert (source, functions) == (SOURCE, (CONFIG, SOURCE.environment))
        return lambda params, size, kinds=False: {
            'return': 0.5 * size if params else 0.25,
            'success': size,
            **({'choice_success': 0.5} if kinds else {}),
        }

    monkeypatch.setattr(evaluation, 'make', make)
    monkeypatch.setattr(learning, 'make_task', lambda *rest: Task(*rest[3:]))
    return results.build(CONFIG, SOURCE, 'success')


def test_it_is_measured_in_training_and_at_the_end_against_the_random_policy(task):
    assert task.evaluate('parameters') == {'return': 1.5, 'success': 3}
    wanted = {'return': 3.5, 'success': 7, 'choice_success': 0.5}
    wanted |= {'random_return': 0.25, 'random_success': 7}
    assert task.test('parameters', True) == {'episodes': 7, 'test': 7, **wanted}


def test_means_are_described_with_their_standard_errors():
    found = {'step': 3, 'episodes': 1000}
    found |= {'return': 12.5, 'return_error': 0.25, 'length': 30, 'length_error': 1}
    found |= {f'random_{name}': -1 for name in ('return', 'return_error', 'length', 'length_error')}
    assert results.describe(CONFIG, found).splitlines() == [
        '60 environment steps; 1,000 held-out episodes',
        '  the agent                return 12.5 ± 0.25, length 30 ± 1',
        '  uniformly random policy  return -1 ± -1, length -1 ± -1',
    ]
    assert 'success 0.5 ± 0.1' in results.describe(
        CONFIG, {**found, 'success': 0.5, 'success_error': 0.1}
    )


def test_episodes_of_a_kind_are_described_below_all_with_their_number():
    found = {'step': 3, 'episodes': 1000, 'return': 2, 'return_error': 0.5, 'choice_episodes': 250}
    found |= {'choice_success': 0.5, 'choice_success_error': 0.03}
    kinds = {'rare': 'of which there are none', 'choice': 'with a choice of keys'}
    assert results.describe(CONFIG, found, kinds).splitlines()[1:] == [
        '  the agent                return 2 ± 0.5',
        '  with a choice of keys    success 0.5 ± 0.03, of 250 episodes',
    ]


def test_curves_are_drawn_over_environment_steps_with_what_they_are_compared_with(monkeypatch):
    seen = []
    monkeypatch.setattr(plots, 'plot_curves', lambda *x, **options: seen.append((x, options)))
    draw = results.drawer('success', lambda config: 'a corridor', lambda config: {'theirs': 0.9})
    rows = [{'step': 1, 'training_success': 0.5, 'return': 3}, {'step': 2, 'success': 0.25}]
    path = os.path.join('folder', 'success.png')
    assert draw(CONFIG, 'folder', rows, {'random_success': 0.125}) == [path]
    ((curves, output), options) = seen[0]
    assert curves == {'training': [(20, 0.5)], 'evaluation': [(40, 0.25)]}
    assert output == path
    assert options['baselines'] == {'uniformly random policy': 0.125, 'theirs': 0.9}
    assert options['title'] == 'LSTM: a corridor'
    assert options['styles']['evaluation']['color'] == plots.CORES['lstm'][1]
    assert options['x_label'] == 'environment steps'
    assert options['y_label'] == 'share of episodes with success'
