"""Many updates in one call to the device are the updates one after the other."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from launch import _parallel, _supervised, _update
from relational_rnn import losses

B, D = 6, 3
CONFIG = _supervised.Config(batch_size=B, learning_rate=0.1, clip_norm=0.5)


def _loss(params, batch, carry, keys):
    del keys
    errors = jnp.square(batch['x'][0] @ params['w'] - batch['y'][0])
    value = losses.WeightedSum(jnp.sum(errors), jnp.float32(errors.size))
    return value, carry, {'large': jnp.sum(errors > 1.0)}


def _sample(keys, step):
    """Draws rows by their keys; those of step 4 are not numbers."""
    x = jax.vmap(lambda key: jax.random.normal(key, (D,)))(keys)
    x = jnp.where(step == 4, jnp.nan, x)
    return {'x': x[None], 'y': (x @ jnp.arange(1.0, D + 1))[None]}


TASK = _update.Task(
    init=lambda key: {'w': jax.random.normal(key, (D,))},
    initial_carry=(),
    loss=_loss,
    evaluate=lambda params: {},
    unit='rows',
    sample=_sample,
    names=('large',),
)


@pytest.fixture(scope='module')
def updates():
    """Returns the compiled updates, and the state before them."""
    optimiser = _supervised.optimizer(CONFIG)
    compiled = _parallel.compile_update(_update.make_updates(TASK, _sample, optimiser, 1, B))

    def run(state, count):
        state, _, outcome = compiled(state, (), np.full(1, count, np.int32))
        return jax.device_get(state), jax.device_get(outcome)

    return run, lambda: _supervised.initial_state(CONFIG, TASK.init, ()).replicated


@pytest.mark.parametrize('parts', [(1, 1, 1, 1), (2, 2), (3, 1), (4,)])
def test_however_many_a_call_makes_the_bytes_are_equal(updates, parts):
    run, start = updates
    state, outcomes = start(), []
    for count in parts:
        state, outcome = run(state, count)
        assert int(outcome.made) == count
        outcomes.append(outcome)
    assert int(state.step) == 4
    whole, all_four = run(start(), 4)
    chex.assert_trees_all_equal(state, whole)
    for name in ('total', 'weight', 'grad_norm', 'sums'):
        sums = jax.tree.map(lambda *x: sum(x), *(getattr(each, name) for each in outcomes))
        chex.assert_trees_all_close(sums, getattr(all_four, name), rtol=1e-6)
    assert float(all_four.weight) == 4 * B


def test_they_are_adams_updates_of_batches_drawn_by_step_and_row(updates):
    run, start = updates
    state, outcome = run(start(), 3)
    first = start()
    params, opt_state = first.params, first.opt_state
    optimiser, total, large = _supervised.optimizer(CONFIG), 0.0, 0
    for step in range(3):
        key = jax.random.fold_in(jax.random.wrap_key_data(first.key), step)
        keys = jnp.stack([jax.random.fold_in(jax.random.fold_in(key, i), 1) for i in range(B)])
        batch = _sample(keys, step)

        def mean(params, batch=batch):
            return jnp.mean(jnp.square(batch['x'][0] @ params['w'] - batch['y'][0]))

        errors = np.square(np.asarray(batch['x'][0]) @ params['w'] - batch['y'][0])
        total, large = total + errors.sum(), large + (errors > 1).sum()
        change, opt_state = optimiser.update(jax.grad(mean)(params), opt_state)
        params = optax.apply_updates(params, change)
    chex.assert_trees_all_close(state.params, params, rtol=1e-5)
    assert float(outcome.total) == pytest.approx(total, rel=1e-5)
    assert int(outcome.sums['large']) == large


def test_they_end_after_one_that_is_not_finite_which_changes_nothing(updates):
    run, start = updates
    before, _ = run(start(), 4)
    state, outcome = run(start(), 9)
    assert (int(outcome.made), int(state.step)) == (4, 5)
    assert not outcome.fault['finite']
    assert _update.first_fault(outcome.fault, state.params) == 'the loss'
    chex.assert_trees_all_equal(state.params, before.params)
    chex.assert_trees_all_equal(state.opt_state, before.opt_state)
    assert np.isfinite(outcome.total)
    later, outcome = run(state, 2)
    assert (int(outcome.made), int(later.step)) == (2, 7)


@pytest.mark.parametrize(
    ('change', 'wanted'),
    [
        ({'total': np.inf}, 'the loss'),
        ({'grad_squares': np.array([1.0, np.nan])}, "the gradient of ['w']"),
        ({'bad_carry': 3}, 'the carried state'),
        ({}, "the parameter ['w']"),
    ],
)
def test_the_first_fault_is_named(change, wanted):
    fault = {
        'total': 1.0,
        'grad_squares': np.ones(2),
        'bad_carry': 0,
        'bad_params': np.array([0, 1]),
    }
    assert _update.first_fault(fault | change, {'a': 0, 'w': 0}) == wanted
