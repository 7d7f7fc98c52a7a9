"""The bank of LSTM cells, against a float64 loop, Haiku's own LSTM, literals and laws."""

import functools

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational_rnn
from relational_rnn.baselines import entity_network

pytestmark = pytest.mark.usefixtures('compile_quickly')
T, B, D, K, H = 6, 4, 5, 3, 7
INPUT, KEYS, HIDDEN = (f'entity_network/~/lstm_{part}' for part in ('input', 'keys', 'hidden'))


@pytest.fixture(autouse=True)
def _strict_ranks():
    with jax.numpy_rank_promotion('raise'):
        yield


def transformed(function):
    return hk.without_apply_rng(hk.transform(function))


def pure(cells=K, unroll=relational_rnn.unroll):
    """An unroll as a pure function of parameters, inputs, state and, if any, flags."""

    def run(inputs, state, *flags):
        return unroll(relational_rnn.EntityNetwork(cells, H), inputs, state, *flags)

    return transformed(run)


@functools.cache
def apply(cells=K):
    return jax.jit(pure(cells).apply)


def initial_state(batch_size=B, cells=K):
    core = transformed(lambda: relational_rnn.EntityNetwork(cells, H).initial_state(batch_size))
    return core.apply({})


@functools.cache
def params(cells=K):
    """Parameters in float64, none of them zero or one, and spread enough to move every gate."""
    args = jnp.zeros((1, 1, D)), initial_state(1, cells)
    shapes = jax.eval_shape(pure(cells).init, jax.random.key(0), *args)
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: 0.6 * rng.normal(size=leaf.shape), shapes)


def single(tree):
    return jax.tree.map(np.float32, tree)


def used_state():
    rng = np.random.default_rng(4)
    return jax.tree.map(lambda leaf: np.tanh(rng.normal(size=leaf.shape)), initial_state())


def inputs_of(steps=T, seed=1):
    return np.random.default_rng(seed).normal(size=(steps, B, D)).astype(np.float32)


# --- A float64 loop over rows and cells, from the equations at the top of the file


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _step(numbers, x, hidden, cell):
    """One row and one step: x [D], hidden and cell [K][h]; returns the output and the state."""
    encoder = numbers['entity_network/~/input']
    encoded = x @ encoder['w'] + encoder['b']
    after = []
    for key, h, c in zip(numbers['entity_network']['keys'], hidden, cell, strict=True):
        gate = _sigmoid(sum(encoded * h) + sum(encoded * key))
        numbers_in = np.concatenate([encoded, key, h])
        weights = np.concatenate([numbers[name]['w'] for name in (INPUT, KEYS, HIDDEN)])
        write, new, keep, show = (numbers_in @ weights + numbers[INPUT]['b']).reshape(4, H)
        new_c = _sigmoid(keep + 1) * c + _sigmoid(write) * np.tanh(new)
        new_h = _sigmoid(show) * np.tanh(new_c)
        after.append(((1 - gate) * h + gate * new_h, (1 - gate) * c + gate * new_c))
    hidden, cell = zip(*after, strict=True)
    return sum(hidden), np.array(hidden), np.array(cell)


def test_many_steps_are_those_of_a_float64_loop():
    inputs, wanted = inputs_of().astype(float), np.zeros((T, B, H))
    hidden, cell = (np.array(leaf) for leaf in used_state())
    for t in range(T):
        for b in range(B):
            wanted[t, b], hidden[b], cell[b] = _step(params(), inputs[t, b], hidden[b], cell[b])
    with jax.enable_x64(True):
        outputs, state = jax.jit(pure().apply)(params(), inputs, used_state())
    np.testing.assert_allclose(outputs, wanted, rtol=0, atol=1e-12)
    np.testing.assert_allclose(state.hidden, hidden, rtol=0, atol=1e-12)
    np.testing.assert_allclose(state.cell, cell, rtol=0, atol=1e-12)


# --- Literals


def test_a_gate_opens_by_what_a_cell_remembers_and_by_its_key():
    log = np.log(np.array([3.0, 7.0], np.float32))
    encoded = jnp.array([log[0], log[1]])
    keys, hidden = jnp.eye(3)[:, :2], jnp.array([[0.0, 0], [1, 0], [0, -1]])
    # Of the cells, s . w_j is log 3, log 7 and 0, and s . h_j is 0, log 3 and -log 7.
    got = entity_network.gates(encoded, keys, hidden)
    np.testing.assert_allclose(got, [3 / 4, 21 / 22, 1 / 8], rtol=1e-6)


def test_a_state_moves_as_far_as_its_gates_are_open():
    states = [
        entity_network.EntityState(jnp.full((3, 2), a), jnp.full((3, 2), b))
        for a, b in ((0.5, 8.0), (-0.5, 4.0))
    ]
    got = entity_network.move(jnp.array([0, 0.25, 1]), *states)
    np.testing.assert_array_equal(got.hidden[:, 0], [-0.5, -0.25, 0.5])
    np.testing.assert_array_equal(got.cell[:, 1], [4, 5, 8])


def test_the_keys_weights_and_biases_begin_at_their_scale():
    wide = transformed(lambda x, s: relational_rnn.EntityNetwork(50, 100)(x, s))
    zeros = entity_network.EntityState(*[jnp.zeros((1, 50, 100))] * 2)
    made = jax.jit(wide.init)(jax.random.key(2), jnp.zeros((1, 20)), zeros)
    cut = 0.88  # a normal distribution cut off at two deviations
    assert abs(np.std(made['entity_network']['keys']) - cut * 0.1) < 0.003
    for name in (INPUT, KEYS, HIDDEN):
        assert made[name]['w'].shape == (100, 400)
        assert abs(np.std(made[name]['w']) - cut * 300**-0.5) < 0.001
    assert not made[INPUT]['b'].any()
    assert [list(made[name]) for name in (KEYS, HIDDEN)] == [['w']] * 2
    assert abs(np.std(made['entity_network/~/input']['w']) - cut * 20**-0.5) < 0.01


# --- Laws


def test_a_cell_whose_gate_is_open_is_an_lstm_that_sees_input_and_key():
    numbers = single(params(1))
    encoder = dict(numbers['entity_network/~/input'])
    encoder['b'] = encoder['b'] + 50 * numbers['entity_network']['keys'][0]  # s . w is large
    numbers = {**numbers, 'entity_network/~/input': encoder}
    inputs = inputs_of()
    outputs, _ = apply(1)(numbers, inputs, initial_state(cells=1))
    encoded = inputs @ encoder['w'] + encoder['b'].reshape(1, 1, -1)
    keys = np.broadcast_to(numbers['entity_network']['keys'][0], encoded.shape)
    weights = np.concatenate([numbers[name]['w'] for name in (INPUT, KEYS, HIDDEN)])

    def run(inputs):
        core = hk.LSTM(H)
        return hk.dynamic_unroll(core, inputs, core.initial_state(B))[0]

    lstm = {'lstm/linear': {'w': weights, 'b': numbers[INPUT]['b']}}
    with jax.numpy_rank_promotion('allow'):
        wanted = transformed(run).apply(lstm, jnp.asarray(np.concatenate([encoded, keys], -1)))
    np.testing.assert_allclose(outputs, wanted, rtol=0, atol=1e-5)
    assert np.abs(wanted).max() > 0.5


def test_where_the_gates_are_shut_nothing_is_remembered():
    numbers = single(params())
    encoder = {**numbers['entity_network/~/input'], 'b': np.full(H, -60, np.float32)}
    keys = np.abs(numbers['entity_network']['keys']) + 1
    numbers = {**numbers, 'entity_network/~/input': encoder, 'entity_network': {'keys': keys}}
    start = single(used_state())
    outputs, state = apply()(numbers, inputs_of(), start._replace(hidden=np.abs(start.hidden)))
    np.testing.assert_allclose(outputs[-1], np.abs(start.hidden).sum(1), rtol=1e-6)
    np.testing.assert_allclose(state.cell, start.cell, rtol=1e-6)


def test_permuting_keys_and_states_permutes_the_cells_and_not_the_output():
    order, numbers, start = np.array([2, 0, 1]), single(params()), single(used_state())
    outputs, state = apply()(numbers, inputs_of(), start)
    keys = {'keys': numbers['entity_network']['keys'][order]}
    moved, after = apply()(
        {**numbers, 'entity_network': keys},
        inputs_of(),
        jax.tree.map(lambda leaf: leaf[:, order], start),
    )
    np.testing.assert_allclose(moved, outputs, rtol=0, atol=1e-5)
    wanted = jax.tree.map(lambda leaf: leaf[:, order], state)
    chex.assert_trees_all_close(after, wanted, rtol=0, atol=1e-5)


def test_cells_with_equal_keys_stay_alike_and_keys_tell_them_apart():
    numbers = single(params())
    keys = numbers['entity_network']['keys'][[0, 1, 0]]
    _, state = apply()({**numbers, 'entity_network': {'keys': keys}}, inputs_of(), initial_state())
    np.testing.assert_array_equal(state.hidden[:, 0], state.hidden[:, 2])
    np.testing.assert_array_equal(state.cell[:, 0], state.cell[:, 2])
    assert np.abs(state.hidden[:, 0] - state.hidden[:, 1]).max() > 0.1


def test_the_output_of_a_cell_stays_within_one():
    inputs = 5 * inputs_of(30, seed=5)
    _, state = apply()(single(params()), inputs, initial_state())
    assert np.abs(state.hidden).max() <= 1
    assert np.abs(state.hidden).max() > 0.5


def test_the_initial_state_is_zero():
    for batch_size, shape in ((B, (B, K, H)), (None, (K, H))):
        state = initial_state(batch_size)
        chex.assert_shape([state.hidden, state.cell], shape)
        assert not state.hidden.any()
        assert not state.cell.any()


def test_derivatives_are_those_of_small_differences_and_reach_all_parameters():
    with jax.enable_x64(True):
        inputs, weights = inputs_of().astype(float), np.random.default_rng(2).normal(size=(B, H))
        direction = jax.tree.map(np.cos, params())

        @jax.jit
        def loss(scale, numbers):
            numbers = jax.tree.map(lambda x, d: x + scale * d, numbers, direction)
            return jnp.sum(weights * pure().apply(numbers, inputs, used_state())[0][-1])

        derivative, gradients = jax.grad(loss, argnums=(0, 1))(0.0, params())
        slope = (loss(1e-6, params()) - loss(-1e-6, params())) / 2e-6
    np.testing.assert_allclose(derivative, slope, rtol=1e-6)
    assert all(leaf.any() for leaf in jax.tree.leaves(gradients))


# --- Errors


@pytest.mark.parametrize(
    ('sizes', 'message'),
    [
        ((0, H), 'num_cells is a whole number of at least 1, got 0'),
        ((K, -1), 'cell_size is a whole number of at least 1, got -1'),
    ],
)
def test_counts_that_make_no_core_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        transformed(lambda: relational_rnn.EntityNetwork(*sizes)).init(jax.random.key(0))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (lambda x, s: (x, s.hidden), 'the state is of type EntityState and .*, got ArrayImpl'),
        (lambda x, s: (x, ()), r'the state is of type EntityState .*, got tuple of shapes \[\]'),
        (lambda x, s: (x, s._replace(cell=s.cell[1:])), r'shapes .*\(3, 3, 7\)'),
        (
            lambda x, s: (x, jax.tree.map(lambda leaf: leaf[None], s)),
            r'\[3, 7\], \[3, 7\], with or without B',
        ),
        (lambda x, s: (x[1:], s), r'inputs are \[B, D\] with B = 4 .*, got shape \(3, 5\)'),
        (lambda x, s: (x[:, :0], s), r'none of them 0, got shape \(4, 0\)'),
        (
            lambda x, s: (x, initial_state(None)),
            r'inputs are \[D\] for a state without B.* \(4, 5\)',
        ),
        (lambda x, s: (x.astype(int), s), 'inputs are of a floating dtype, got int32'),
        (
            lambda x, s: (x, jax.tree.map(lambda leaf: leaf.astype(int), s)),
            'the state is of a floating dtype, got int32',
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    step = transformed(lambda *args: relational_rnn.EntityNetwork(K, H)(*args))
    with pytest.raises(ValueError, match=message):
        step.apply(single(params()), *arguments(jnp.asarray(inputs_of()[0]), initial_state()))
