"""Cores that say what they work out and hear it: readings, what is heard when, and their loss."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational_rnn
from relational_rnn import hinted

pytestmark = pytest.mark.usefixtures('compile_quickly')
T, B, D, N, A, M, K = 7, 3, 5, 2, 4, 3, 6
HIDDEN = (8, 6)
LENGTHS = np.array([7, 4, 5], np.int32)
STEPS = np.array([[2, 3, 1], [6, 0, 4]], np.int32)  # the second row has one operation
PRESENT = np.array([[1, 1, 1], [1, 0, 1]], np.float32)
GIVEN = np.array([[1, 1, 0], [1, 0, 1]], np.float32)  # one result of the third row is not told
CORES = {
    'lstm': lambda: hk.LSTM(9),
    'rmc': lambda: relational_rnn.RelationalMemory(mem_slots=2, head_size=3, num_heads=2),
}


def _random(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


INPUTS, TOLD = _random((T, B, D), 1), _random((N, B, A, 2), 2)


def _perturbed(params):
    """Returns parameters none of which are zero."""
    leaves, tree = jax.tree.flatten(params)
    noise = [0.1 * _random(leaf.shape, 10 + i) for i, leaf in enumerate(leaves)]
    return jax.tree.unflatten(tree, [a + b for a, b in zip(leaves, noise, strict=True)])


def _make(core, told=TOLD):
    """Returns parameters and `listen` as a function of them and of its arrays."""

    def run(inputs, told):
        reader = hinted.Reader(A, M, K, HIDDEN)
        return hinted.listen(CORES[core](), reader, inputs, LENGTHS, STEPS, PRESENT, GIVEN, told)

    network = hk.without_apply_rng(hk.transform(run))
    return _perturbed(network.init(jax.random.key(0), INPUTS, told)), jax.jit(network.apply)


def test_a_reading_is_that_of_a_loop_over_places():
    output = _random((B, 10), 3)
    network = hk.without_apply_rng(hk.transform(lambda x: hinted.Reader(A, M, K, HIDDEN)(x)))
    params = _perturbed(network.init(jax.random.key(0), output))
    said = network.apply(params, output)
    weights = {name.split('/')[-1]: jax.tree.map(np.float64, leaf) for name, leaf in params.items()}

    def apply(name, x):
        return np.float64(x) @ weights[name]['w'] + weights[name]['b']

    for row in range(B):
        operands = apply('operands', output[row]).reshape(M, A, 2)
        facts = apply('facts', output[row])
        np.testing.assert_allclose(said.operands[row], operands, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(said.facts[row], facts, rtol=1e-5, atol=1e-5)
        for place in range(A):
            units = np.concatenate([operands[:, place].ravel(), facts])
            for layer in range(len(HIDDEN)):
                made = apply(f'hidden_{layer}', units)
                units = np.concatenate([made, np.maximum(made, 0), made**2])
            result = apply('result', units)
            np.testing.assert_allclose(said.result[row, place], result, rtol=1e-4, atol=1e-4)


def test_the_last_result_that_was_told_is_heard_from_the_next_step_on():
    results = np.arange(1, 1 + N * B, dtype=np.float32).reshape(N, B, 1, 1) / 10
    heard = hinted.heard(np.broadcast_to(results, (N, B, 1, 2)), STEPS, PRESENT, GIVEN, T)
    assert heard.shape == (T, B, 2)
    wanted = [
        [0, 0, 0, 0.1, 0.1, 0.1, 0.1],  # ends after steps 2 and 6
        [0, 0, 0, 0, 0.2, 0.2, 0.2],  # after step 3, and no other
        [0, 0, 0, 0, 0, 0.6, 0.6],  # after steps 1, whose result is not told, and 4
    ]
    np.testing.assert_allclose(heard[..., 0].T, wanted, rtol=1e-6)
    np.testing.assert_array_equal(heard[..., 0], heard[..., 1])


def test_what_is_heard_is_bounded():
    results = np.full((N, B, A, 2), 7.0, np.float32)
    assert np.max(hinted.heard(results, STEPS, PRESENT, GIVEN, T)) == 1.5
    assert np.min(hinted.heard(-results, STEPS, PRESENT, GIVEN, T)) == -1.5


@pytest.mark.parametrize('core', CORES)
def test_a_core_that_is_told_what_it_says_is_one_that_hears_itself(core):
    params, listen = _make(core)
    said, state = listen(params, INPUTS, None)
    again, told_state = listen(params, INPUTS, said.result)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), said, again)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), state, told_state)
    assert np.abs(np.asarray(said.result)[PRESENT > 0]).min() > 1e-4
    other, _ = listen(params, INPUTS, said.result + 0.5)  # so what is told is heard
    assert np.abs(other.result[1, 0] - said.result[1, 0]).max() > 1e-4


@pytest.mark.parametrize('core', CORES)
def test_the_state_is_that_behind_each_sequence_with_its_last_result(core):
    params, listen = _make(core)
    said, state = listen(params, INPUTS, None)
    for row, last in enumerate([1, 0, 1]):
        wanted = np.clip(said.result[last, row], -1.5, 1.5)
        np.testing.assert_array_equal(state.heard[row].reshape(A, 2), wanted)
    longer = INPUTS.copy()
    longer[4:, 1] += 1  # behind its end
    _, same = listen(params, longer, None)
    jax.tree.map(np.testing.assert_array_equal, state, same)
    longer[3, 1] += 1
    _, other = listen(params, longer, None)
    assert np.abs(jax.tree.leaves(other.core)[0][1] - jax.tree.leaves(state.core)[0][1]).max() > 0


def test_what_comes_later_changes_nothing_that_was_said():
    params, listen = _make('rmc')
    said, _ = listen(params, INPUTS, None)
    later = INPUTS.copy()
    later[3:, 0] += 1
    changed, _ = listen(params, later, None)
    np.testing.assert_array_equal(changed.result[0, 0], said.result[0, 0])
    assert np.abs(changed.result[1, 0] - said.result[1, 0]).max() > 1e-4


def test_no_gradient_goes_through_what_is_heard():
    params, listen = _make('lstm')

    def last_heard(params):
        return jnp.sum(listen(params, INPUTS, None)[1].heard)

    gradients = jax.grad(last_heard)(params)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradients))


def test_a_core_that_answers_hears_one_result_all_the_time():
    inputs, heard = _random((B, D), 4), _random((B, 2 * A), 5)

    def run(inputs, heard):
        core = hk.LSTM(9)
        hearing = hinted.HearingCore(core, A)
        start = hearing.initial_state(B)
        state = start._replace(heard=heard)
        inside = core(jnp.concatenate([inputs, heard], axis=-1), start.core)
        return start, hearing(inputs, state), inside

    network = hk.without_apply_rng(hk.transform(run))
    params = _perturbed(network.init(jax.random.key(0), inputs, heard))
    start, (output, state), inside = network.apply(params, inputs, heard)
    assert start.heard.shape == (B, 2 * A)
    assert not start.heard.any()
    np.testing.assert_array_equal(state.heard, heard)
    np.testing.assert_array_equal(output, np.concatenate([inside[0], heard], axis=-1))
    jax.tree.map(np.testing.assert_array_equal, state.core, inside[1])


def test_the_loss_can_be_counted_by_hand():
    zeros = hinted.Said(np.zeros((1, 2, 2, 1, 2)), np.zeros((1, 2, 3)), np.zeros((1, 2, 1, 2)))
    operands = np.array([[[[[3.0, 4.0]], [[1.0, 1.0]]], [[[9.0, 9.0]], [[9.0, 9.0]]]]])
    facts, results = np.array([[[1.0, 0, 2], [9, 9, 9]]]), np.array([[[[2.0, 0]], [[9, 9]]]])
    told = hinted.Said(operands, facts, results)
    taken = np.array([[[1.0, 0], [1, 1]]])  # 25 + (2 is not taken) + 4 of the result + 5 of facts
    present, given = np.array([[1.0, 0]]), np.ones((1, 2))
    assert float(hinted.loss(zeros, told, taken, present, given)) == 34
    assert float(hinted.loss(zeros, told, taken, present, 0 * given)) == 30  # without the result
    assert float(hinted.loss(told, told, taken, given, given)) == 0


def test_the_loss_is_a_mean_over_places():
    said = hinted.Said(_random((N, B, M, A, 2), 6), _random((N, B, K), 7), _random((N, B, A, 2), 8))
    told = jax.tree.map(np.zeros_like, said)
    found = hinted.loss(said, told, np.ones((N, B, M)), np.ones((N, B)), np.ones((N, B)))
    wanted = (said.operands**2).sum() / A + (said.facts**2).sum() + (said.result**2).sum() / A
    assert float(found) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize('sizes', [(0, M, K), (A, 0, K), (A, M, 0)])
def test_there_is_something_to_read(sizes):
    def run():
        hinted.Reader(*sizes)

    with pytest.raises(ValueError, match=f'got {sizes[0]}, {sizes[1]} and {sizes[2]}'):
        hk.transform(run).init(jax.random.key(0))
