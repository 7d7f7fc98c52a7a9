"""The agent's network: against loops, and the same numbers in single steps and in unrolls."""

import functools

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational_rnn
from relational_rnn.baselines import feed_forward
from relational_rnn.networks import actor_critic

pytestmark = pytest.mark.usefixtures('compile_quickly')
T, B, H, W, C, A = 6, 3, 4, 5, 2, 7
CORES = {
    'rmc rows': (lambda: relational_rnn.RelationalMemory(2, 4, 2, gate_style='memory'), 'rows'),
    'rmc flat': (lambda: relational_rnn.RelationalMemory(2, 4, 2, gate_style='memory'), 'flat'),
    'lstm': (lambda: hk.LSTM(9), 'flat'),
    'conv_lstm': (lambda: hk.Conv2DLSTM((H, W), 6, 2), 'map'),
    'feed_forward': (lambda: feed_forward.FeedForward(9), 'flat'),
}


@functools.cache
def _network(name):
    make, cells = CORES[name]

    def functions():
        network = actor_critic.ActorCritic(make(), A, cells)
        return network.unroll, (network.step, network.unroll, network.initial_state)

    network = hk.multi_transform(functions)
    step, unroll, initial_state = network.apply
    state = initial_state({}, None, B)
    params = jax.jit(network.init)(jax.random.key(0), *_observed(), state)
    step, unroll = (jax.jit(functools.partial(f, params, None)) for f in (step, unroll))
    return params, state, step, unroll


def _observed(seed=0):
    rng = np.random.default_rng(seed)
    resets = rng.uniform(size=(T, B)) < 0.3
    assert resets[1:].any()
    assert not resets.all(axis=1).any()
    return np.float32(rng.uniform(size=(T, B, H, W, C))), resets


def _assert_close(got, wanted):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, wanted)


@pytest.mark.parametrize('name', ['rmc rows', 'lstm', 'conv_lstm', 'feed_forward'])
def test_single_steps_and_an_unroll_give_the_same_numbers(name):
    _, state, step, unroll = _network(name)
    observations, resets = _observed()
    output, last = unroll(observations, resets, state)
    assert output.logits.shape == (T, B, A)
    assert output.value.shape == (T, B)
    for t in range(T):
        now, state = step(observations[t], resets[t], state)
        _assert_close(now, jax.tree.map(lambda x, t=t: x[t], output))
    _assert_close(state, last)


@pytest.mark.parametrize('name', ['rmc rows', 'lstm', 'conv_lstm', 'feed_forward'])
def test_a_reset_forgets_and_only_in_its_row(name):
    _, state, _, unroll = _network(name)
    observations, _ = _observed(1)
    resets = np.zeros((T, B), bool)
    resets[3, 1] = True
    changed = np.array(observations)
    changed[:3] = 0.25
    (one, _), (other, _) = (unroll(seen, resets, state) for seen in (observations, changed))
    np.testing.assert_array_equal(one.logits[3:, 1], other.logits[3:, 1])
    kept = [0, 2]
    same = np.allclose(one.logits[3:, kept], other.logits[3:, kept], rtol=0, atol=1e-6)
    assert same == (name == 'feed_forward')
    fresh, _ = unroll(observations[3:], resets[3:] * False, state)
    _assert_close(one.logits[3:, 1], fresh.logits[:, 1])


def test_rows_do_not_see_each_other():
    _, state, _, unroll = _network('rmc rows')
    observations, resets = _observed()
    changed = np.array(observations)
    changed[:, 1] = 0.5
    one, other = (unroll(seen, resets, state)[0] for seen in (observations, changed))
    np.testing.assert_array_equal(one.value[:, [0, 2]], other.value[:, [0, 2]])
    assert not np.allclose(one.value[:, 1], other.value[:, 1])


def test_a_network_without_memory_is_what_loops_say():
    params, state, step, _ = _network('feed_forward')
    (observation, *_), (reset, *_) = _observed()
    output, _ = step(observation, reset, state)
    layers = {name: {k: np.float64(v) for k, v in each.items()} for name, each in params.items()}
    first, second = (layers[f'actor_critic/~/convolution{i}'] for i in ('', '_1'))
    assert (first['w'].shape, second['w'].shape) == ((4 * C, 12), (4 * 12, 24))
    hidden, policy, value = (
        layers[name]
        for name in ('feed_forward/~/linear', 'actor_critic/~/policy', 'actor_critic/~/value')
    )
    for b in range(B):
        maps = _convolve(_convolve(np.float64(observation[b]), first), second)
        places = np.zeros((H, W, 2))
        for y in range(H):
            for x in range(W):
                places[y, x] = 2 * x / (W - 1) - 1, 2 * y / (H - 1) - 1
        seen = np.concatenate([maps, places], axis=-1).reshape(-1)
        units = np.maximum(seen @ hidden['w'] + hidden['b'], 0)
        np.testing.assert_allclose(
            output.logits[b], units @ policy['w'] + policy['b'], rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(
            output.value[b], (units @ value['w'] + value['b'])[0], rtol=1e-4, atol=1e-5
        )


def _convolve(picture, layer):
    """A convolution of 2 x 2 with zeros to the right and below, and ReLU, in loops."""
    height, width, channels = picture.shape
    out = np.zeros((height, width, layer['w'].shape[1]))
    for y in range(height):
        for x in range(width):
            out[y, x] = layer['b']
            for dy in (0, 1):
                for dx in (0, 1):
                    if y + dy < height and x + dx < width:
                        first = (2 * dy + dx) * channels
                        w = layer['w'][first : first + channels]
                        out[y, x] += picture[y + dy, x + dx] @ w
    return np.maximum(out, 0)


def test_cells_enter_the_memory_as_rows_or_as_one_vector():
    for name, width in (('rmc rows', 24 + 2), ('rmc flat', H * W * (24 + 2))):
        assert _network(name)[0]['relational_memory']['input_w'].shape == (width, 8)


def test_patches_times_a_matrix_are_haikus_convolution():
    pictures = np.random.default_rng(0).normal(size=(B, H, W, C)).astype(np.float32)
    network = hk.without_apply_rng(hk.transform(lambda x: hk.Conv2D(5, 2)(x)))
    params = network.init(jax.random.key(1), pictures)
    kernel = params['conv2_d']['w'].reshape(4 * C, 5)
    _assert_close(actor_critic.patches(pictures) @ kernel, network.apply(params, pictures))


def test_coordinates_by_hand():
    got = actor_critic.add_coordinates(jnp.full((2, 3, 1), 7.0))
    wanted = [
        [[7, -1, -1], [7, 0, -1], [7, 1, -1]],
        [[7, -1, 1], [7, 0, 1], [7, 1, 1]],
    ]
    np.testing.assert_array_equal(got, wanted)


def test_every_parameter_gets_a_gradient():
    params, state, _, _ = _network('rmc rows')
    observations, resets = _observed()

    def functions():
        network = actor_critic.ActorCritic(CORES['rmc rows'][0](), A, 'rows')
        return network.unroll, network.unroll

    unroll = hk.multi_transform(functions).apply

    def total(params):
        output, _ = unroll(params, None, observations, resets, state)
        return jnp.sum(jnp.sin(output.logits)) + jnp.sum(jnp.sin(output.value))

    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(total))(params)):
        assert float(jnp.sum(jnp.abs(leaf))) > 0, jax.tree_util.keystr(path)


@pytest.mark.parametrize(
    ('flags', 'wanted'),
    [
        ({'cells': 'columns'}, r"cells is one of \('rows', 'flat', 'map'\), got 'columns'"),
        ({'num_actions': 1}, 'num_actions is at least 2, got 1'),
    ],
)
def test_what_does_not_fit_is_refused(flags, wanted):
    def make():
        return actor_critic.ActorCritic(hk.LSTM(3), **{'num_actions': A, **flags})

    with pytest.raises(ValueError, match=wanted):
        hk.testing.transform_and_run(make)()


def test_an_observation_of_another_rank_is_refused():
    _, state, step, _ = _network('lstm')
    with pytest.raises(ValueError, match=r'observations are \[T, B, H, W, C\], got shape'):
        step(np.zeros((B, H, W), np.float32), np.zeros(B, bool), state)
