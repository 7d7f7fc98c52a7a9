"""The Transformer core: a window in one pass, against single steps and a float64 loop."""

import functools

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational_rnn
from relational_rnn.baselines import transformer

pytestmark = pytest.mark.usefixtures('compile_quickly')
B, D, L, H, C = 4, 5, 2, 3, 6
F = H * C
LENGTHS = np.array([9, 4, 7, 0])


@pytest.fixture(autouse=True)
def _strict_ranks():
    with jax.numpy_rank_promotion('raise'):
        yield


def make_core(memory_size):
    return relational_rnn.Transformer(L, H, C, memory_size)


def resets_of(steps):
    """Row 0 is never reset, row 1 before and after its end, row 2 in the middle, row 3 after."""
    resets = np.zeros((steps, B), bool)
    resets[[0, steps - 1, steps // 2, 1], [1, 1, 2, 3]] = True
    return resets


def inputs_of(steps, seed=1):
    return np.random.default_rng(seed).normal(size=(steps, B, D)).astype(np.float32)


def pure(memory_size, unroll=relational_rnn.unroll, **options):
    """An unroll as a pure function of parameters, inputs, state and, if any, flags."""

    def run(inputs, state, *flags):
        return unroll(make_core(memory_size), inputs, state, *flags, **options)

    return hk.without_apply_rng(hk.transform(run))


@functools.cache
def params():
    """Parameters in float64, none of them zero or one."""
    args = np.zeros((1, 1, D), np.float32), initial_state(2, 1)
    shapes = jax.eval_shape(pure(2).init, jax.random.key(0), *args)
    rng = np.random.default_rng(0)

    def number(path, leaf):
        spread = leaf.shape[0] ** -0.5 if leaf.ndim == 2 else 0.3
        centre = 1 if path[-1].key == 'scale' else 0
        return centre + spread * rng.normal(size=leaf.shape)

    return jax.tree_util.tree_map_with_path(number, shapes)


def single_params():
    return jax.tree.map(np.float32, params())


def initial_state(memory_size, batch_size):
    core = hk.without_apply_rng(
        hk.transform(lambda: make_core(memory_size).initial_state(batch_size))
    )
    return core.apply({})


def used_state(memory_size):
    """A state after a few steps, with rows of different age."""
    lengths, resets = np.array([5, 0, 2, 4]), np.zeros((5, B), bool)
    resets[2, 3] = True
    _, state = pure(memory_size).apply(
        single_params(), inputs_of(5, 7), initial_state(memory_size, B), resets, lengths
    )
    return state


# --- A float64 loop


def _norm(x, numbers):
    centred = x - x.mean()
    return centred / np.sqrt((centred**2).mean() + 1e-5) * numbers['scale'] + numbers['offset']


def _linear(x, numbers):
    return x @ numbers['w'] + numbers['b']


def _pairs(x):
    """The heads of a vector as complex numbers, [H, C / 2]."""
    heads = x.reshape(H, 2, C // 2)
    return heads[:, 0] + 1j * heads[:, 1]


def _attend(query, seen, attention):
    """One query to a list of vectors, the newest last."""
    speeds = 10_000.0 ** -(np.arange(C // 2) / (C // 2))
    asked = _pairs(_linear(query, attention('query')))
    logits, values = np.zeros((len(seen), H)), np.zeros((len(seen), H, C))
    for index, other in enumerate(seen):
        steps = len(seen) - 1 - index
        key = _pairs(_linear(other, attention('key')))
        product = np.conj(asked) * key * np.exp(-1j * steps * speeds)
        logits[index] = product.real.sum(-1) / np.sqrt(C)
        values[index] = _linear(other, attention('value')).reshape(H, C)
    weights = np.exp(logits) / np.exp(logits).sum(0)
    attended = (weights[:, :, None] * values).sum(0).reshape(-1)
    return _linear(attended, attention('linear'))


def _step(numbers, x, past, memory_size):
    """One input of one row, [D], and each layer's past, lists of [F], to which it is added."""
    x = _linear(x, numbers['transformer/~/input'])
    for layer in range(L):
        block = f'transformer/~/block_{layer}'
        past[layer] = [*past[layer], x][-memory_size - 1 :]
        norm = numbers[f'{block}/attention_norm']
        seen = [_norm(other, norm) for other in past[layer]]
        x = x + _attend(seen[-1], seen, lambda name, b=block: numbers[f'{b}/attention/{name}'])
        hidden = _linear(_norm(x, numbers[f'{block}/mlp_norm']), numbers[f'{block}/mlp_0'])
        x = x + _linear(np.maximum(hidden, 0), numbers[f'{block}/mlp_1'])
    return _norm(x, numbers['transformer/~/norm'])


def reference(numbers, inputs, memory_size, resets, lengths):
    """Outputs and state of all rows from an empty memory, one number after another."""
    outputs = np.zeros((len(inputs), B, F))
    memory, num_valid = np.zeros((B, memory_size, L, F)), np.zeros(B, int)
    for b in range(B):
        past = [[] for _ in range(L)]
        for t in range(lengths[b]):
            if resets[t, b]:
                past = [[] for _ in range(L)]
            outputs[t, b] = _step(numbers, inputs[t, b], past, memory_size)
        for layer in range(L):
            kept = past[layer][-memory_size:]
            num_valid[b] = len(kept)
            if kept:
                memory[b, -len(kept) :, layer] = kept
    return outputs, memory, num_valid


@pytest.mark.parametrize('memory_size', [2, 7, 11])
def test_a_window_is_that_of_a_float64_loop(memory_size):
    steps = 9
    args = inputs_of(steps).astype(float), memory_size, resets_of(steps), LENGTHS
    wanted = reference(params(), *args)
    with jax.enable_x64(True):
        state = jax.tree.map(np.asarray, initial_state(memory_size, B))
        state = state._replace(memory=state.memory.astype(float))
        apply = jax.jit(pure(memory_size).apply)
        outputs, (memory, num_valid) = apply(params(), args[0], state, *args[2:])
    np.testing.assert_allclose(outputs, wanted[0], rtol=0, atol=1e-11)
    np.testing.assert_allclose(memory, wanted[1], rtol=0, atol=1e-11)
    np.testing.assert_array_equal(num_valid, wanted[2])


def test_remat_keeps_less_for_the_backward_pass():
    def kept(remat):
        apply = pure(4, remat=remat).apply
        args = single_params(), inputs_of(9), initial_state(4, B)
        _, pull_back = jax.eval_shape(
            lambda *a: jax.vjp(lambda p: apply(p, *a[1:])[0], a[0]), *args
        )
        return sum(leaf.size for leaf in jax.tree.leaves(pull_back))

    assert kept(True) < 0.5 * kept(False)


# --- Laws


def test_the_initial_state_is_empty():
    memory, num_valid = initial_state(7, B)
    np.testing.assert_array_equal(memory, np.zeros((B, 7, L, F), np.float32))
    np.testing.assert_array_equal(num_valid, np.zeros(B, np.int32))
    chex.assert_shape(jax.tree.leaves(initial_state(7, None)), [(7, L, F), ()])


def test_weights_begin_at_their_scale_and_the_last_of_each_layer_smaller():
    layers, size = 3, 4 * 16
    wide = hk.transform(lambda x, s: relational_rnn.Transformer(layers, 4, 16, 2)(x, s))
    empty = transformer.TransformerState(jnp.zeros((1, 2, layers, size)), jnp.zeros(1, jnp.int32))
    made = jax.jit(wide.init)(jax.random.key(2), jnp.zeros((1, 20)), empty)
    for layer in range(layers):
        first, last = (made[f'transformer/~/block_{layer}/mlp_{i}']['w'] for i in (0, 1))
        assert np.std(first) == pytest.approx(size**-0.5, rel=0.03)
        assert np.std(last) == pytest.approx((2 * layers * 4 * size) ** -0.5, rel=0.03)


def test_a_step_sees_the_memorys_length_back_in_each_layer_and_no_further():
    # With 2 layers, step t hears through the memory from step t - 2 M, and not from t - 2 M - 1.
    inputs = inputs_of(11)
    changed = inputs.copy()
    changed[2] += 1
    apply = jax.jit(pure(3).apply)
    before, after = (apply(single_params(), x, initial_state(3, B))[0] for x in (inputs, changed))
    differs = np.abs(before - after).max(axis=(1, 2))
    np.testing.assert_array_equal(differs[[0, 1, 9, 10]], np.zeros(4))
    assert differs[2:9].min() > 1e-5
    one_layer = hk.without_apply_rng(
        hk.transform(
            lambda x: relational_rnn.unroll(
                core := relational_rnn.Transformer(1, H, C, 3), x, core.initial_state(B)
            )[0]
        )
    ).apply
    before, after = (one_layer(single_params(), x) for x in (inputs, changed))
    differs = np.abs(before - after).max(axis=(1, 2))
    assert differs[2:6].min() > 1e-5
    np.testing.assert_array_equal(differs[6:], np.zeros(5))


def test_only_the_distance_in_time_counts():
    """The same M + T inputs, once at the beginning and once behind others, in a full memory."""
    memory_size, steps = 3, 4
    inputs = inputs_of(2 * L * memory_size + steps)
    apply = jax.jit(pure(memory_size).apply)
    early = inputs[-L * memory_size - steps :]
    outputs, _ = apply(single_params(), early, initial_state(memory_size, B))
    later, _ = apply(single_params(), inputs, initial_state(memory_size, B))
    np.testing.assert_allclose(outputs[-steps:], later[-steps:], rtol=0, atol=1e-5)
    assert np.abs(outputs[0] - later[L * memory_size]).max() > 1e-3  # its memory was not yet full


def test_rotations_of_pairs_turn_the_older_further_back():
    x = np.zeros((3, 1, 4), np.float32)
    x[:, 0, 0] = 2  # the first pair is numbers 0 and 2, and turns by a radian a step
    x[:, 0, 1] = 5  # the second is numbers 1 and 3, at a hundredth of the speed
    turned = transformer.rotate(jnp.asarray(x))[:, 0]
    for steps, row in enumerate(turned[::-1]):
        slow = steps / 100
        wanted = 2 * np.cos(steps), 5 * np.cos(slow), -2 * np.sin(steps), -5 * np.sin(slow)
        np.testing.assert_allclose(row, wanted, rtol=1e-6, atol=1e-6)


def test_what_is_visible_is_a_band_that_begins_at_the_memory_or_a_reset():
    # M = 2 with one valid entry, T = 3, and a reset before the last step.
    resets = np.array([[False], [False], [True]])
    first = transformer.first_visible(jnp.array([1]), resets, 3, 2)
    np.testing.assert_array_equal(first[:, 0], [1, 1, 4])
    mask = transformer.visible(first, 2)
    wanted = [[0, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 1]]
    np.testing.assert_array_equal(mask[0], np.array(wanted, bool))


# --- Errors


@pytest.mark.parametrize(
    ('sizes', 'message'),
    [
        ((0, 3, 6, 2), 'num_layers is a whole number of at least 1, got 0'),
        ((2, 0, 6, 2), 'num_heads is a whole number of at least 1, got 0'),
        ((2, 3, 6, 0), 'memory_size is a whole number of at least 1, got 0'),
        ((2, 3, 5, 2), 'head_size is an even number of at least 2, got 5'),
        ((2, 3, 0, 2), 'head_size is an even number of at least 2, got 0'),
    ],
)
def test_sizes_that_make_no_core_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        hk.transform(lambda: relational_rnn.Transformer(*sizes)).init(None)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (lambda x, s: (x[:, :3], s), r'inputs are \[T, B, D\] with B = 4 .* got shape \(9, 3, 5\)'),
        (lambda x, s: (x[:, :, None], s), r'inputs are \[T, B, D\] with B = 4 .*\(9, 4, 1, 5\)'),
        (lambda x, s: (x[:, :, :0], s), r'none of them 0, got shape \(9, 4, 0\)'),
        (lambda x, s: (x.astype(int), s), 'inputs are of a floating dtype, got int'),
        (
            lambda x, s: (x, s._replace(memory=s.memory.astype(int))),
            'the state is of a floating dtype, got int',
        ),
        (lambda x, s: (x, s.memory), r'of type TransformerState and shapes \[3, 2, 18\], \[\]'),
        (lambda x, s: (x, s._replace(memory=s.memory[:, 1:])), r'got TransformerState of shapes'),
        (lambda x, s: (x, s._replace(num_valid=s.num_valid[:2])), r'of shapes .*\(2,\)'),
        (lambda x, s: (x, s, np.zeros(9, bool)), 'resets and the state both have a batch'),
        (lambda x, s: (x, s, None, np.array(3)), 'lengths and the state both have a batch'),
        (lambda x, s: (x, s, np.zeros((9, B), int)), 'resets is of dtype bool'),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        pure(3).apply(single_params(), *arguments(inputs_of(9), initial_state(3, B)))
