"""Many updates in one call to the device are the updates one after the other.

And many networks in one program are those that each seed trains alone.
"""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from launch.training import devices, loop, nth_farthest_config, update
from relational_rnn import losses

B, D = 6, 3
FLAGS = {'batch_size': B, 'learning_rate': 0.1, 'clip_norm': 0.5}
CONFIG = loop.Config(**FLAGS)
SEEDS = range(3, 6)
SEVERAL = nth_farthest_config.Config(**FLAGS, seed=SEEDS[0], num_seeds=len(SEEDS))


def _loss(params, batch, carry, keys):
    del keys
    errors = jnp.square(batch['x'][0] @ params['w'] - batch['y'][0])
    value = losses.WeightedSum(jnp.sum(errors), jnp.float32(errors.size))
    bits = jax.lax.bitcast_convert_type(batch['x'], jnp.int32) & 0xFFFF
    return value, carry, {'large': jnp.sum(errors > 1.0), 'bits': jnp.sum(bits)}


def _sample(keys, step):
    """Draws rows by their keys; those of step 4 are not numbers."""
    x = jax.vmap(lambda key: jax.random.normal(key, (D,)))(keys)
    x = jnp.where(step == 4, jnp.nan, x)
    return {'x': x[None], 'y': (x @ jnp.arange(1.0, D + 1))[None]}


TASK = update.Task(
    init=lambda key: {'w': jax.random.normal(key, (D,))},
    initial_carry=(),
    loss=_loss,
    evaluate=lambda params: {},
    unit='rows',
    sample=_sample,
    names=('large', 'bits'),
)


def _compile(config):
    """Returns the compiled updates, and the state before them."""
    sizes = 1, B, len(config.seeds())
    made = update.make_updates(TASK, _sample, loop.optimizer(config), *sizes)
    compiled = devices.compile_update(made)

    def run(state, count):
        state, _, outcome = compiled(state, (), np.full(1, count, np.int32))
        return jax.device_get(state), jax.device_get(outcome)

    return run, lambda: loop.initial_state(config, TASK.init, ()).replicated


@pytest.fixture(scope='module')
def updates():
    return _compile(CONFIG)


@pytest.fixture(scope='module')
def several():
    return _compile(SEVERAL)


def _alone(updates, seed, count):
    """Returns state and outcome of a network that is trained alone."""
    config = dataclasses.replace(CONFIG, seed=seed)
    return updates[0](loop.initial_state(config, TASK.init, ()).replicated, count)


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
    optimiser, total, large = loop.optimizer(CONFIG), 0.0, 0
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
    assert update.first_fault(outcome.fault, state.params) == 'the loss'
    chex.assert_trees_all_equal(state.params, before.params)
    chex.assert_trees_all_equal(state.opt_state, before.opt_state)
    assert np.isfinite(outcome.total)
    later, outcome = run(state, 2)
    assert (int(outcome.made), int(later.step)) == (2, 7)


def test_networks_side_by_side_are_those_that_each_seed_trains_alone(updates, several):
    run, start = several
    state, outcome = run(start(), 4)
    assert state.step == 4
    for i, seed in enumerate(SEEDS):
        wanted, alone = _alone(updates, seed, 4)
        own = jax.tree.map(lambda x, i=i: x[i], state._replace(step=np.full(len(SEEDS), 4)))
        chex.assert_trees_all_equal_structs(own, wanted)
        chex.assert_trees_all_close(own, wanted, rtol=1e-5, atol=1e-7)
        np.testing.assert_array_equal(own.key, wanted.key)
        each = jax.tree.map(lambda x, i=i: x[i], outcome)
        assert each.sums['bits'] == alone.sums['bits']  # of the same batches
        chex.assert_trees_all_close(each._replace(fault={}), alone._replace(fault={}), rtol=1e-5)
    assert len(set(outcome.sums['bits'].tolist())) == len(SEEDS)


def test_they_begin_as_each_seed_does_alone_and_one_has_no_axis_more(several):
    start = several[1]()
    for i, seed in enumerate(SEEDS):
        config = dataclasses.replace(CONFIG, seed=seed)
        alone = loop.initial_state(config, TASK.init, ()).replicated
        for part in ('params', 'opt_state', 'key'):
            own = jax.tree.map(lambda x, i=i: x[i], getattr(start, part))
            chex.assert_trees_all_equal(own, getattr(alone, part))
        assert (alone.params['w'].shape, alone.key.shape, alone.step.shape) == ((D,), (2,), ())


def test_they_all_end_where_one_is_not_finite_and_the_others_made_theirs(updates, several):
    run, start = several
    before = start()
    before.params['w'][1] = 1e30  # whose square overflows
    state, outcome = run(jax.tree.map(np.copy, before), 3)
    assert outcome.made.tolist() == [1, 0, 1]
    assert outcome.fault['finite'].tolist() == [True, False, True]
    assert state.step == 1
    np.testing.assert_array_equal(state.params['w'][1], before.params['w'][1])
    wanted, _ = _alone(updates, SEEDS[2], 1)
    np.testing.assert_allclose(state.params['w'][2], wanted.params['w'], rtol=1e-5)
    assert np.isfinite(outcome.total).all()


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
    assert update.first_fault(fault | change, {'a': 0, 'w': 0}) == wanted


def test_a_state_without_a_level_is_saved_as_before_there_were_levels():
    names = []
    for has_levels in (False, True):
        state = loop.initial_state(CONFIG, TASK.init, (), has_levels)
        leaves = jax.tree_util.tree_leaves_with_path(state)
        names.append([jax.tree_util.keystr(path) for path, _ in leaves])
    assert all(name.startswith('.replicated.') for name in names[0])
    assert names[1] == [*names[0], '.level']
