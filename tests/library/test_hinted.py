"""Cores that say what they work out and hear it: readings, what is heard when, and their loss."""

import math
import re

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational_rnn
from relational_rnn import hinted

pytestmark = pytest.mark.usefixtures('compile_quickly')
T, B, D, N, A, M = 7, 3, 5, 2, 4, 3
FACTS = (2, 4)
K = 6
HIDDEN = (8, 6)
LENGTHS = np.array([7, 4, 5], np.int32)
STEPS = np.array([[2, 3, 1], [6, 0, 4]], np.int32)  # the second row has one operation
R = 2  # of registers
WRITES = np.array([[[1, 0], [1, 1], [0, 1]], [[1, 0], [0, 0], [1, 0]]], np.float32)
CORES = {
    'lstm': lambda: hk.LSTM(9),
    'rmc': lambda: relational_rnn.RelationalMemory(mem_slots=2, head_size=3, num_heads=2),
}


def _random(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _angles(values, places=A):
    """Returns cosine and sine of 2 pi v / 10^k, one by one."""
    values = np.asarray(values)
    found = np.zeros((*values.shape, places, 2), np.float32)
    for index in np.ndindex(values.shape):
        for place in range(places):
            angle = 2 * math.pi * int(values[index]) / 10 ** (place + 1)
            found[*index, place] = math.cos(angle), math.sin(angle)
    return found


INPUTS = _random((T, B, D), 1)
TOLD = hinted.Said(
    _angles(np.random.default_rng(2).integers(0, 10**A, (N, B, M))),
    np.eye(K, dtype=np.float32)[[[0, 1, 1], [1, 0, 0]]] + np.eye(K, dtype=np.float32)[3],
    _angles([[7, 1234, 9999], [10, 0, 5678]]),
)


def _perturbed(params):
    """Returns parameters none of which are zero."""
    leaves, tree = jax.tree.flatten(params)
    noise = [0.1 * _random(leaf.shape, 10 + i) for i, leaf in enumerate(leaves)]
    return jax.tree.unflatten(tree, [a + b for a, b in zip(leaves, noise, strict=True)])


def _make(core, told=TOLD):
    """Returns parameters and `listen` as a function of them and of its arrays."""

    def run(inputs, told):
        reader = hinted.Reader(A, M, FACTS, HIDDEN)
        return hinted.listen(CORES[core](), reader, inputs, LENGTHS, STEPS, WRITES, told)

    network = hk.without_apply_rng(hk.transform(run))
    return _perturbed(network.init(jax.random.key(0), INPUTS, told)), jax.jit(network.apply)


def _make_reader(*inputs, function):
    """Returns weights by name, in float64, and what a method of a reader makes of inputs."""

    def run(*inputs):
        reader = hinted.Reader(A, M, FACTS, HIDDEN)
        reader.combine(*reader.read(_random((B, 10), 3)))  # makes all parameters
        return getattr(reader, function)(*inputs)

    network = hk.without_apply_rng(hk.transform(run))
    params = _perturbed(network.init(jax.random.key(0), *inputs))
    weights = {name.split('/')[-1]: jax.tree.map(np.float64, leaf) for name, leaf in params.items()}
    return weights, network.apply(params, *inputs)


def test_operands_and_facts_are_read_linearly():
    output = _random((B, 10), 3)
    weights, (operands, facts) = _make_reader(output, function='read')
    wanted = [output @ weights[name]['w'] + weights[name]['b'] for name in ('operands', 'facts')]
    np.testing.assert_allclose(operands, wanted[0].reshape(B, M, A, 2), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(facts, wanted[1], rtol=1e-5, atol=1e-5)


def test_a_result_is_that_of_a_loop_over_places():
    operands, facts = _random((B, M, A, 2), 4), _random((B, K), 5)
    weights, result = _make_reader(operands, facts, function='combine')
    for row, place in np.ndindex(B, A):
        units = []
        for real, imaginary in np.float64(operands[row, :, place]):
            powers = [complex(real, imaginary) ** k for k in range(1, 10)]
            units += [part for power in powers for part in (power.real, power.imag)]
        units = np.array([*units, *facts[row]])
        for layer in range(len(HIDDEN)):
            made = units @ weights[f'hidden_{layer}']['w'] + weights[f'hidden_{layer}']['b']
            units = np.concatenate([made, np.maximum(made, 0), made**2])
        wanted = units @ weights['result']['w'] + weights['result']['b']
        np.testing.assert_allclose(result[row, place], wanted, rtol=1e-3, atol=1e-3)


def test_conclusions_are_drawn_from_the_nearest_numbers_and_likeliest_facts():
    values = np.random.default_rng(2).integers(0, 10**A, (B, M))
    operands, facts = _angles(values), np.array([[0.2, 0.1, 0, 0.7, 0.9, 0]] * B, np.float32)
    exact = np.array([[1.0, 0, 0, 0, 1, 0]] * B, np.float32)
    _, made = _make_reader(operands, exact, function='combine')
    noise = 0.2 * np.random.default_rng(3).uniform(-1, 1, operands.shape).astype(np.float32)
    _, concluded = _make_reader(3 * (operands + noise), facts, function='conclude')
    np.testing.assert_allclose(concluded, hinted.nearest(made), atol=1e-4)


def test_the_nearest_number_is_found_by_hand():
    """Of places whose digits say 3, 42.4 and 199 it is 243: 42.4 is nearer to 43 than to 33."""
    turns = 2 * np.pi * np.array([3.3 / 10, 42.4 / 100, 199.0 / 1000])
    points = np.float32(0.5) * np.stack([np.cos(turns), np.sin(turns)], -1).astype(np.float32)
    np.testing.assert_allclose(hinted.nearest(points), _angles(243, 3), atol=1e-6)


def test_angles_of_a_number_wrong_by_less_than_half_a_digit_are_mended():
    rng = np.random.default_rng(4)
    values = rng.integers(0, 10**6, 500)
    angles = _angles(values, 6)
    turn = 0.99 * 2 * np.pi / 20 * rng.uniform(-1, 1, angles.shape[:-1])
    radius = rng.uniform(0.1, 3, angles.shape[:-1])
    wrong = radius * ((angles[..., 0] + 1j * angles[..., 1]) * np.exp(1j * turn))
    points = np.stack([wrong.real, wrong.imag], -1).astype(np.float32)
    np.testing.assert_allclose(hinted.nearest(points), angles, atol=1e-5)


def test_of_each_register_the_last_result_is_heard_from_the_next_step_on():
    results = np.arange(1, 1 + N * B, dtype=np.float32).reshape(N, B, 1, 1) / 10
    heard = hinted.heard(np.broadcast_to(results, (N, B, 1, 2)), STEPS, WRITES, T)
    assert heard.shape == (T, B, 2 * R)
    first = [
        [0, 0, 0, 0.1, 0.1, 0.1, 0.1],  # ends after steps 2 and 6
        [0, 0, 0, 0, 0.2, 0.2, 0.2],  # after step 3, and no other
        [0, 0, 0, 0, 0, 0.6, 0.6],  # after step 4
    ]
    second = [[0] * 7, first[1], [0, 0, 0.3, 0.3, 0.3, 0.3, 0.3]]
    np.testing.assert_allclose(heard[..., 0].T, first, rtol=1e-6)
    np.testing.assert_allclose(heard[..., 2].T, second, rtol=1e-6)
    np.testing.assert_array_equal(heard[..., [0, 2]], heard[..., [1, 3]])


@pytest.mark.parametrize('core', CORES)
def test_a_core_that_is_told_what_it_says_is_one_that_hears_itself(core):
    params, listen = _make(core)
    said, state = listen(params, INPUTS, None)
    again, told_state = listen(params, INPUTS, TOLD._replace(result=said.result))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), said[:2], again[:2])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), state, told_state)
    other, _ = listen(params, INPUTS, TOLD._replace(result=said.result + 0.5))
    assert np.abs(other.operands[1, 0] - said.operands[1, 0]).max() > 1e-4  # so it is heard


def test_results_are_made_of_what_is_told_if_anything_is():
    params, listen = _make('lstm')
    said, _ = listen(params, INPUTS, TOLD)

    def combine(operands, facts):
        reader = hinted.Reader(A, M, FACTS, HIDDEN)
        return reader.combine(operands, facts)

    made = hk.without_apply_rng(hk.transform(combine)).apply(params, *TOLD[:2])
    np.testing.assert_allclose(said.result, made, rtol=1e-4, atol=1e-5)
    alone, _ = listen(params, INPUTS, None)
    made = hk.without_apply_rng(hk.transform(combine)).apply(params, *alone[:2])
    assert np.abs(made - alone.result).max() > 1e-2  # of the nearest numbers, not of these
    np.testing.assert_allclose(alone.result, hinted.nearest(alone.result), atol=1e-5)


@pytest.mark.parametrize('core', CORES)
def test_the_state_is_that_behind_each_sequence_with_its_last_result(core):
    params, listen = _make(core)
    said, state = listen(params, INPUTS, None)
    registers = state.heard.reshape(B, R, A, 2)
    for row, written in enumerate([[1, None], [0, 0], [1, 0]]):
        for register, last in enumerate(written):
            wanted = 0 * said.result[0, 0] if last is None else said.result[last, row]
            np.testing.assert_array_equal(registers[row, register], wanted)
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
    np.testing.assert_array_equal(changed.operands[0, 0], said.operands[0, 0])
    assert np.abs(changed.operands[1, 0] - said.operands[1, 0]).max() > 1e-4


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
        hearing = hinted.HearingCore(core, 2 * A)
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
    assert float(hinted.loss(zeros, told, taken, np.array([[[0, 1.0], [0, 0]]]))) == 34
    assert float(hinted.loss(zeros, told, taken, np.array([[[1.0, 1], [0, 0]]]))) == 34
    assert float(hinted.loss(told, told, taken, np.ones((1, 2, 2)))) == 0


def test_the_loss_is_a_mean_over_places():
    said = hinted.Said(_random((N, B, M, A, 2), 6), _random((N, B, K), 7), _random((N, B, A, 2), 8))
    told = jax.tree.map(np.zeros_like, said)
    found = hinted.loss(said, told, np.ones((N, B, M)), np.ones((N, B, R)))
    wanted = (said.operands**2).sum() / A + (said.facts**2).sum() + (said.result**2).sum() / A
    assert float(found) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize('sizes', [(0, M, FACTS), (A, 0, FACTS), (A, M, ()), (A, M, (2, 0))])
def test_there_is_something_to_read(sizes):
    def run():
        hinted.Reader(*sizes)

    with pytest.raises(ValueError, match=re.escape(f'got {sizes[0]}, {sizes[1]} and {sizes[2]}')):
        hk.transform(run).init(jax.random.key(0))
