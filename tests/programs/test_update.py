"""Many updates in one call to the device are the updates one after the other."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from launch.training import devices, loop, update
from launch.training import optimizer as optimizer_lib
from launch.training import task as task_lib
from relational_rnn import losses

B, D = 6, 3
CONFIG = loop.Config(batch_size=B, learning_rate=0.1, clip_norm=0.5)
OPTIMIZER = optimizer_lib.make(CONFIG, CONFIG.num_steps)
BAD_STEP = 4


def _key_data(step, element):
    """Returns the data of the key of a batch element, as the loop derives it from the seed."""
    key = jax.random.fold_in(jax.random.key(CONFIG.seed), 1)
    for number in (step, element, 1):
        key = jax.random.fold_in(key, number)
    return np.asarray(jax.random.key_data(key))


BAD_KEY = _key_data(BAD_STEP, 0)


def _loss(params, batch, carry, keys):
    del keys
    errors = jnp.square(batch['x'][0] @ params['w'] - batch['y'][0])
    weight = jnp.float32(errors.size)
    large = losses.WeightedSum(jnp.sum(errors > 1.0), weight)
    return {'loss': losses.WeightedSum(jnp.sum(errors), weight), 'large': large}, carry


def _sample(params, carry, keys):
    """Samples batch elements by their keys; those of one step are not numbers."""
    del params
    x = jax.vmap(lambda key: jax.random.normal(key, (D,)))(keys)
    x = jnp.where(jnp.all(jax.random.key_data(keys)[0] == BAD_KEY), jnp.nan, x)
    return {'x': x[None], 'y': (x @ jnp.arange(1.0, D + 1))[None]}, carry + 1


TASK = task_lib.Task(
    init=lambda key: {'w': jax.random.normal(key, (D,))},
    loss=_loss,
    evaluate=lambda params: {},
    test=lambda params, thorough: {},
    unit='sequences',
    consumes=('sequences', B),
    core_parameters=0,
    sample=_sample,
    initial_carry=lambda: np.zeros((B, 2), np.float32),
)


def _start():
    return loop.initial_state(CONFIG, TASK)


@pytest.fixture(scope='module')
def run():
    """Returns a number of updates of a state, and their report."""
    made = update.make_sampled_updates(TASK, OPTIMIZER, B)
    compiled = devices.compile_update(made, _start())

    def updates(state, count):
        state, report = compiled(devices.place(state), np.full(1, count, np.int32))
        return devices.gather(state), devices.to_host(report)

    return updates


@pytest.mark.parametrize('parts', [(1, 1, 1, 1), (2, 2), (3, 1), (4,)])
def test_however_many_a_call_makes_the_bytes_are_equal(run, parts):
    state, reports = _start(), []
    for count in parts:
        state, report = run(state, count)
        assert int(report.num_updates) == count
        reports.append(report)
    assert int(state.step) == 4
    whole, all_four = run(_start(), 4)
    chex.assert_trees_all_equal(state, whole)
    sums = jax.tree.map(lambda *x: sum(x), *(report.metrics for report in reports))
    chex.assert_trees_all_close(sums, all_four.metrics, rtol=1e-6)
    assert float(all_four.metrics['loss'].weight) == 4 * B
    assert float(all_four.metrics['grad_norm'].weight) == 4
    np.testing.assert_array_equal(whole.carry, np.full((B, 2), 4.0))


def test_they_are_adams_updates_of_batches_sampled_by_step_and_element(run):
    state, report = run(_start(), 3)
    first = _start()
    params, opt_state, total, large, norm = first.params, first.opt_state, 0.0, 0, 0.0
    for step in range(3):
        data = np.stack([_key_data(step, element) for element in range(B)])
        batch, _ = _sample(None, 0, jax.random.wrap_key_data(jnp.asarray(data)))

        def mean(params, batch=batch):
            return jnp.mean(jnp.square(batch['x'][0] @ params['w'] - batch['y'][0]))

        errors = np.square(np.asarray(batch['x'][0]) @ params['w'] - batch['y'][0])
        total, large = total + errors.sum(), large + (errors > 1).sum()
        grads = jax.grad(mean)(params)
        norm += float(np.linalg.norm(grads['w']))
        change, opt_state = OPTIMIZER.update(grads, opt_state)
        params = optax.apply_updates(params, change)
    chex.assert_trees_all_close(state.params, params, rtol=1e-5)
    assert float(report.metrics['loss'].total) == pytest.approx(total, rel=1e-5)
    assert int(report.metrics['large'].total) == large
    assert float(report.metrics['grad_norm'].total) == pytest.approx(norm, rel=1e-5)


def test_they_end_after_one_that_is_not_finite_which_changes_nothing(run):
    before, _ = run(_start(), BAD_STEP)
    state, report = run(_start(), 9)
    assert (int(report.num_updates), int(state.step)) == (BAD_STEP, BAD_STEP + 1)
    assert not report.finite
    chex.assert_trees_all_equal(state._replace(step=before.step), before)
    assert np.isfinite(report.metrics['loss'].total)
    later, report = run(state, 2)
    assert (int(report.num_updates), int(later.step)) == (2, 7)
    diagnosis = update.make_diagnosis(TASK, OPTIMIZER, B)
    compiled = devices.compile_update(diagnosis, state, donate=False)
    found = devices.to_host(compiled(devices.place(state), np.ones(1, np.int32)))
    assert update.first_nonfinite(found) == 'the loss'


def test_a_carry_that_is_not_finite_changes_nothing_and_is_named():
    def loss(*args):
        found, carry = _loss(*args)
        return found, carry.at[2, 1].set(jnp.inf)

    task = TASK._replace(loss=loss)
    state, report = devices.compile_update(
        update.make_sampled_updates(task, OPTIMIZER, B), _start()
    )(devices.place(_start()), np.ones(1, np.int32))
    assert not devices.to_host(report.finite)
    found = devices.compile_update(
        update.make_diagnosis(task, OPTIMIZER, B), _start(), donate=False
    )(state, np.ones(1, np.int32))
    assert update.first_nonfinite(devices.to_host(found)) == 'the carried state'
    state, start = devices.gather(state), _start()
    assert state.step == 1
    chex.assert_trees_all_equal(state._replace(step=start.step), start)


@pytest.mark.parametrize(
    ('change', 'wanted'),
    [
        ({'the loss': False}, 'the loss'),
        ({'the gradient of ': {'a': True, 'w': False}}, "the gradient of ['w']"),
        ({'the carried state': False}, 'the carried state'),
        ({'the parameter ': {'a': False, 'w': False}}, "the parameter ['a']"),
    ],
)
def test_the_first_that_is_not_finite_is_named(change, wanted):
    tree = {'a': True, 'w': True}
    found = {
        'the loss': True,
        'the gradient of ': tree,
        'the carried state': True,
        'the parameter ': tree,
    }
    assert update.first_nonfinite(dict(sorted((found | change).items()))) == wanted


@pytest.mark.parametrize('share', [0.0, 1.0, 0.5])
def test_a_share_of_sampled_batches_is_of_earlier_levels(share):
    """Of levels 0 to 3, while the present one is 2."""

    def sample(params, carry, keys, level):
        batch, carry = _sample(params, carry, keys)
        return batch, carry + jax.nn.one_hot(level, 4)

    curriculum = task_lib.Curriculum(10, 4, 1, 0.5, lambda params, level: 0.0, share)
    carry = lambda: np.zeros((B, 4), np.float32)  # noqa: E731
    task = TASK._replace(sample=sample, curriculum=curriculum, initial_carry=carry)
    state = loop.initial_state(CONFIG, task)._replace(level=np.array([2, 0], np.int32))
    state = state._replace(step=np.array(10, np.int32))  # after the one that is not finite
    compiled = devices.compile_update(update.make_sampled_updates(task, OPTIMIZER, B), state)
    state = devices.gather(compiled(devices.place(state), np.full(1, 300, np.int32))[0])
    assert int(state.step) == 310
    levels = np.asarray(state.carry)[:, :] - 300  # `_sample` adds 1 to each
    assert np.all(levels == levels[0])  # one level for all elements of a batch
    wanted = 300 * (share / 3 + (1 - share) * np.array([0, 0, 1, 0])) * [1, 1, 1, 0]
    np.testing.assert_allclose(levels[0], wanted, atol=30 * (share > 0))
