"""What all cores share: an unroll is repeated steps, batch elements are apart, resets forget."""

from collections.abc import Callable, Mapping
import functools
import types
from typing import NamedTuple

import chex
import haiku as hk
import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

import relational_rnn
from relational_rnn.baselines import feed_forward

pytestmark = pytest.mark.usefixtures('compile_quickly')
T, B, D = 5, 3, 7


def rmc(**options):
    return relational_rnn.RelationalMemory(3, 4, 2, **options)


class Case(NamedTuple):
    """A core, the shape of its inputs, and how it is unrolled and differentiated."""

    make: Callable[[], hk.RNNCore]
    size: tuple[int, ...] = (D,)
    options: Mapping[str, int] = types.MappingProxyType({})
    wrapper: Callable = lambda function: function


CASES = {
    'rmc': Case(rmc, options={'scan_unroll': 2}),
    'rmc_of_rows': Case(lambda: rmc(num_blocks=2, key_size=5), (2, D), {'remat': True}),
    'rmc_with_output_gate': Case(
        lambda: rmc(gate_style='memory', output_gate=True), wrapper=jax.checkpoint
    ),
    'transformer': Case(lambda: relational_rnn.Transformer(2, 3, 4, 2), options={'remat': True}),
    'dnc': Case(lambda: relational_rnn.DNC(4, 6, 3, 2, 8, 9, controller_layers=1)),
    'entity_network': Case(lambda: relational_rnn.EntityNetwork(4, 6)),
    'lstm': Case(lambda: hk.LSTM(6), options={'remat': True, 'scan_unroll': 2}),
    'conv_lstm': Case(lambda: hk.Conv2DLSTM((2, 3), 4, 2), (2, 3, D)),
    'deep': Case(lambda: hk.DeepRNN([hk.LSTM(5), jnp.tanh, hk.GRU(6)])),
    'feed_forward': Case(lambda: feed_forward.FeedForward(6)),
}
all_cores = pytest.mark.parametrize('name', CASES)
# Element 0 is the longest, 1 is reset before and after its end, 2 has no step at all.
LENGTHS = np.array([T - 1, 3, 0], np.int32)
RESETS = np.zeros((T, B), bool)
RESETS[[2, 4, 0, 2, 4, 1], [0, 0, 1, 1, 1, 2]] = True
ACTIVE = np.arange(T)[:, None] < LENGTHS
NEVER, TO_THE_END = np.zeros((T, B), bool), np.full(B, T, np.int32)


def transformed(function):
    return hk.without_apply_rng(hk.transform(function))


def unroll(name):
    """An unroll as a pure function of parameters, inputs, state, resets and lengths."""
    case = CASES[name]

    def run(*args):
        return relational_rnn.unroll(case.make(), *args, **case.options)

    return transformed(run)


def single_steps(name):
    """The same by one call a step, with resets and lengths by hand."""

    def run(inputs, state, resets, lengths):
        core = CASES[name].make()
        initial = core.initial_state(B)

        def step(now, state):
            x, reset, active = now
            start = where(reset & active, initial, state)
            output, after = core(x, start)
            output = where(active, output, jax.tree.map(jnp.zeros_like, output))
            return output, where(active, after, start)

        active = jnp.arange(T)[:, None] < lengths
        return hk.dynamic_unroll(step, (inputs, resets, active), state)

    return transformed(run)


def where(condition, on_true, on_false):
    def choose(a, b):
        return jnp.where(condition.reshape(-1, *[1] * (b.ndim - 1)), a, b)

    return jax.tree.map(choose, on_true, on_false)


def with_gradients(apply):
    """Outputs and state, and gradients of a function of both by parameters, inputs and state."""

    def run(params, inputs, state, resets, lengths):
        def call(params, inputs, state):
            return apply(params, inputs, state, resets, lengths)

        results, pull_back = jax.vjp(call, params, inputs, state)
        cotangents = jax.tree.map(cotangent, results)
        gradients = jax.tree.map(
            lambda g: jnp.zeros(g.shape) if g.dtype == jax.dtypes.float0 else g,
            pull_back(cotangents),
        )
        return results, gradients

    return jax.jit(run)


def cotangent(x):
    if jnp.issubdtype(x.dtype, jnp.integer):
        return np.zeros(x.shape, jax.dtypes.float0)
    return jnp.cos(2 * x)


@functools.cache
def compiled(name):
    return with_gradients(CASES[name].wrapper(unroll(name).apply))


def inputs_of(name, seed=1):
    shape = T, B, *CASES[name].size
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def initial_state(name, batch_size=B):
    state = transformed(lambda: CASES[name].make().initial_state(batch_size)).apply({})
    return jax.device_get(state)


@functools.cache
def params(name):
    """Random parameters, spread enough to move every gate."""
    shapes = jax.eval_shape(
        *(unroll(name).init, jax.random.key(0), inputs_of(name), initial_state(name)),
        *(NEVER, TO_THE_END),
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {np.dtype(np.float32)}
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: np.float32(0.5 * rng.normal(size=x.shape)), shapes)


@functools.cache
def used_state(name):
    """A state after some steps, of elements of different age."""
    return run(name, inputs_of(name, 7), initial_state(name), NEVER, np.array([5, 1, 3]))[0][1]


def run(name, inputs, state, resets=NEVER, lengths=TO_THE_END):
    """Outputs and state, and their gradients; always by the same program."""
    return jax.device_get(compiled(name)(params(name), inputs, state, resets, lengths))


def assert_close(got, wanted, atol=1e-5):
    chex.assert_trees_all_close(*jax.device_get((got, wanted)), rtol=1e-4, atol=atol)


@all_cores
def test_an_unroll_is_single_steps_in_outputs_state_and_gradients(name):
    state, inputs = used_state(name), inputs_of(name)
    results, gradients = run(name, inputs, state, RESETS, LENGTHS)
    plain = with_gradients(single_steps(name).apply)(params(name), inputs, state, RESETS, LENGTHS)
    assert_close(results, plain[0])
    assert_close(gradients, plain[1], atol=1e-4)
    assert not results[0][~ACTIVE].any()
    assert not gradients[1][~ACTIVE].any()
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients[0]):
        assert np.isfinite(leaf).all(), path
        assert leaf.any(), path


@all_cores
def test_what_the_inputs_hold_past_the_end_does_not_matter(name):
    state, inputs = used_state(name), inputs_of(name)
    wanted = run(name, inputs, state, RESETS, LENGTHS)
    for garbage in (np.nan, np.inf, 3e38):
        dirty = np.copy(inputs)
        dirty[~ACTIVE] = garbage
        chex.assert_trees_all_equal(run(name, dirty, state, RESETS, LENGTHS), wanted)


@all_cores
def test_batch_elements_are_apart(name):
    state, inputs = used_state(name), inputs_of(name)
    (outputs, after), _ = run(name, inputs, state)
    dirty = np.copy(inputs)
    dirty[2:, 1] = np.nan
    (got, got_after), (_, d_inputs, _) = run(name, dirty, state)
    kept = np.array([0, 2])
    np.testing.assert_array_equal(got[:, kept], outputs[:, kept])
    chex.assert_trees_all_equal(*(jax.tree.map(lambda x: x[kept], s) for s in (got_after, after)))
    assert np.isfinite(d_inputs[:, kept]).all()
    assert np.isnan(got[2:, 1]).any()


@all_cores
def test_the_future_does_not_change_the_past(name):
    state, inputs = used_state(name), inputs_of(name)
    (outputs, _), _ = run(name, inputs, state)
    changed = np.copy(inputs)
    changed[3:] += 1
    (got, _), _ = run(name, changed, state)
    np.testing.assert_array_equal(got[:3], outputs[:3])
    assert (np.abs(got - outputs)[3:].reshape(2, B, -1).max(-1) > 1e-4).all()


@all_cores
def test_nothing_from_before_a_reset_reaches_what_comes_after_it(name):
    resets = np.zeros((T, B), bool)
    resets[3, 1] = True
    state, inputs = used_state(name), inputs_of(name)
    (outputs, _), _ = run(name, inputs, state, resets)
    changed = np.copy(inputs)
    changed[:3] += 1
    (got, _), _ = run(name, changed, state, resets)
    np.testing.assert_array_equal(got[3:, 1], outputs[3:, 1])
    forgets = [np.array_equal(got[3:, b], outputs[3:, b]) for b in (0, 2)]
    assert forgets == [name == 'feed_forward'] * 2


@all_cores
def test_windows_that_carry_the_state_are_one_long_sequence(name):
    state, inputs = used_state(name), inputs_of(name)
    (outputs, end), _ = run(name, inputs, state)
    (first, middle), _ = run(name, inputs, state, lengths=np.full(B, 2))
    (second, after), _ = run(name, np.roll(inputs, -2, 0), middle, lengths=np.full(B, 3))
    assert_close((np.concatenate([first[:2], second[:3]]), after), (outputs, end))


@all_cores
def test_mapped_over_sequences_without_a_batch_it_is_the_batch(name):
    apply = functools.partial(unroll(name).apply, params(name))
    mapped = jax.jit(jax.vmap(apply, in_axes=(1, 0, 1, 0), out_axes=(1, 0)))
    args = inputs_of(name), used_state(name), RESETS, LENGTHS
    assert_close(mapped(*args), run(name, *args)[0])
    alone = initial_state(name, None)
    chex.assert_trees_all_equal(
        initial_state(name), jax.tree.map(lambda x: np.stack([x] * B), alone)
    )


@all_cores
def test_inside_reset_core_and_deep_rnn_it_is_the_same(name):
    def network(inputs, state):
        core = hk.ResetCore(hk.DeepRNN([CASES[name].make(), jnp.tanh]))
        return hk.dynamic_unroll(core, (inputs, RESETS), (state,))

    state, inputs = used_state(name), inputs_of(name)
    outputs, (after,) = jax.jit(transformed(network).apply)(params(name), inputs, state)
    wanted, wanted_after = run(name, inputs, state, RESETS)[0]
    assert_close((outputs, after), (np.tanh(wanted), wanted_after))


@all_cores
def test_bfloat16_inputs_are_computed_in_float32_and_leave_the_state_as_it_is(name):
    inputs, state = inputs_of(name).astype(jnp.bfloat16), initial_state(name)
    if name in ('lstm', 'conv_lstm', 'deep', 'feed_forward'):
        pytest.skip("Haiku's own cores follow the dtype of their inputs")
    jaxpr = jax.make_jaxpr(unroll(name).apply)(params(name), inputs, state, RESETS, LENGTHS)
    assert {variable.aval.dtype.name for variable in products(jaxpr.jaxpr)} == {'float32'}
    _, after = jax.eval_shape(unroll(name).apply, params(name), inputs, state, RESETS, LENGTHS)
    chex.assert_trees_all_equal_dtypes(after, state)


def products(jaxpr):
    """Yields the factors of all matrix products of a jaxpr."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == 'dot_general':
            yield from equation.invars
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from products(inner)
