"""Tests of the unroll of whole sequences, with resets and lengths."""

import functools

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational_rnn
from relational_rnn import memory
from tests.support import memory_reference as reference

pytestmark = pytest.mark.usefixtures('compile_quickly')
T, B, D = reference.T, reference.B, reference.D
all_cases = pytest.mark.parametrize('case', reference.CASES.values(), ids=reference.CASES)
# Element 0 runs to the end, 1 is reset both before and after its end, 2 has no step at all.
LENGTHS = np.array([T, 3, 0], np.int32)
RESETS = np.zeros((T, B), bool)
RESETS[[2, 4, 0, 2, 4, 1], [0, 0, 1, 1, 1, 2]] = True
PAST_THE_END = np.arange(T)[:, None] >= LENGTHS


@pytest.fixture(autouse=True)
def _strict_ranks():
    with jax.numpy_rank_promotion('raise'):
        yield


def make_core(config):
    options = {field: getattr(config, field) for field in memory.MemoryConfig.__dataclass_fields__}
    return relational_rnn.RelationalMemory(**options)


def haiku_params(case, dtype=np.float32):
    return {'relational_memory': {k: dtype(v) for k, v in reference.parameters(case).items()}}


def unroll_of(make, unroll=relational_rnn.unroll, **options):
    """An unroll as a pure function of parameters, inputs, state and, if any, flags."""

    def run(inputs, state, *flags):
        return unroll(make(), inputs, state, *flags, **options)

    return hk.without_apply_rng(hk.transform(run)).apply


def of(case, unroll=relational_rnn.unroll, **options):
    return unroll_of(lambda: make_core(case.config), unroll, **options)


def arguments(case, dtype=np.float32):
    """Parameters, inputs and the initial state."""
    state = jax.tree.map(dtype, memory.initial_memory(case.config, B))
    return haiku_params(case, dtype), dtype(reference.inputs(case)), state


def with_gradients(apply, *flags):
    """Outputs and state, and the gradients of a function of both by all three arguments."""

    def run(*args):
        results, pull_back = jax.vjp(lambda *args: apply(*args, *flags), *args)
        return results, pull_back(jax.tree.map(lambda x: jnp.cos(2 * x), results))

    return jax.jit(run)


def assert_close(got, wanted, tolerance=2e-5):
    """Compares trees by the largest element of each array."""
    chex.assert_trees_all_equal_structs(got, wanted)
    got, wanted = jax.device_get((got, wanted))
    for (path, leaf), other in zip(
        jax.tree.leaves_with_path(wanted), jax.tree.leaves(got), strict=True
    ):
        error = np.max(np.abs(other - leaf)) / (np.max(np.abs(leaf)) + 1e-30)
        assert error <= tolerance, f'{jax.tree_util.keystr(path)}: {error}'


@all_cases
def test_resets_and_lengths_are_those_of_a_float64_loop_with_its_derivative(case):
    """The derivative along a random direction, against central differences of the loop."""
    numbers, inputs = reference.parameters(case), reference.inputs(case)
    other_numbers, other_inputs = reference.parameters(case, 7), reference.inputs(case, 8)

    def loop(step):
        moved = {name: numbers[name] + step * other_numbers[name] for name in numbers}
        return reference.unroll(moved, case.config, inputs + step * other_inputs, RESETS, LENGTHS)

    def loss(run):
        return np.sin(run.outputs).sum() + sum(np.cos(3 * leaf).sum() for leaf in run.state)

    def loss_fn(params, inputs, state):
        outputs, state = of(case)(params, inputs, state, RESETS, LENGTHS)
        total = sum(jnp.sum(jnp.cos(3 * leaf)) for leaf in jax.tree.leaves(state))
        return jnp.sum(jnp.sin(outputs)) + total, (outputs, state)

    with jax.enable_x64(True):
        args = arguments(case, np.float64)
        gradient = jax.jit(jax.grad(loss_fn, argnums=(0, 1), has_aux=True))
        (d_params, d_inputs), (outputs, state) = gradient(*args)
    run = loop(0.0)
    np.testing.assert_allclose(outputs, run.outputs, rtol=0, atol=1e-12)
    for leaf, wanted in zip(jax.tree.leaves(state), run.state, strict=True):
        np.testing.assert_allclose(leaf, wanted, rtol=0, atol=1e-12)
    slope = np.sum(np.asarray(d_inputs) * other_inputs)
    for name, value in other_numbers.items():
        slope += np.sum(np.asarray(d_params['relational_memory'][name]) * value)
    wanted = (loss(loop(1e-6)) - loss(loop(-1e-6))) / 2e-6
    assert slope == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(
    ('make', 'options'),
    [
        (lambda: make_core(reference.CASES['unit_gates'].config), {}),
        (lambda: make_core(reference.CASES['unit_gates'].config), {'remat': True}),
        (lambda: hk.LSTM(6), {}),
    ],
)
def test_no_step_is_made_after_the_longest_length(make, options, monkeypatch):
    calls = []

    def counted(function):
        def call(*args):
            jax.debug.callback(lambda: calls.append(1))
            return function(*args)

        return call

    monkeypatch.setattr(memory, 'step', counted(memory.step))
    monkeypatch.setattr(hk.LSTM, '__call__', counted(hk.LSTM.__call__))

    def run(inputs, lengths):
        core = make()
        return relational_rnn.unroll(core, inputs, core.initial_state(B), None, lengths, **options)

    network = hk.without_apply_rng(hk.transform(run))
    inputs = np.float32(reference.inputs(reference.CASES['unit_gates']))
    params = jax.eval_shape(network.init, jax.random.key(0), inputs, LENGTHS)
    params = jax.tree.map(lambda x: np.full(x.shape, 0.1, x.dtype), params)
    apply = jax.jit(network.apply)
    for lengths, wanted in ((np.array([2, 3, 1], np.int32), 3), (LENGTHS, T)):
        calls.clear()
        jax.block_until_ready(apply(params, inputs, lengths))
        jax.effects_barrier()
        assert len(calls) == wanted


# --- Transformations


@pytest.mark.slow
@pytest.mark.parametrize('backward', ['stepwise', 'deferred'])
def test_second_derivatives_are_those_of_the_gradient(backward):
    case = reference.CASES['one_slot_one_mlp_layer']
    direction = {'relational_memory': reference.parameters(case, 7)}
    apply = of(case, backward=backward)

    def along(params, inputs, state):
        gradient = jax.grad(lambda params: jnp.sum(jnp.sin(apply(params, inputs, state)[0])))
        products = jax.tree.map(lambda g, v: jnp.sum(g * v), gradient(params), direction)
        return sum(jax.tree.leaves(products))

    with jax.enable_x64(True):
        params, inputs, state = arguments(case, np.float64)
        slope = jax.jit(along)
        ahead, behind = (
            slope(jax.tree.map(lambda p, v, e=e: p + e * v, params, direction), inputs, state)
            for e in (1e-6, -1e-6)
        )
        second = jax.jit(jax.grad(along))(params, inputs, state)
    curvature = sum(
        np.sum(np.asarray(second['relational_memory'][name]) * value)
        for name, value in direction['relational_memory'].items()
    )
    assert curvature == pytest.approx((float(ahead) - float(behind)) / 2e-6, rel=1e-6)


@pytest.mark.parametrize('backward', ['stepwise', 'deferred'])
def test_gradients_in_shard_map_are_those_outside_of_it(backward):
    """Arrays have the type of varying along a mesh axis, even where that has one device."""
    case = reference.CASES['two_blocks']
    apply = of(case, backward=backward)
    params, inputs, state = arguments(case)
    mesh = jax.sharding.Mesh(jax.devices()[:1], ('devices',))
    over_batch = jax.P(None, 'devices')

    def loss(params, inputs, resets, lengths):
        return jnp.sum(jnp.sin(apply(params, inputs, state, resets, lengths)[0]))

    def sharded(*args):
        return jax.grad(lambda *x: jax.lax.psum(loss(*x), 'devices'), argnums=(0, 1))(*args)

    args = params, inputs, RESETS, LENGTHS
    specs = jax.P(), over_batch, over_batch, jax.P('devices')
    mapped = jax.shard_map(sharded, mesh=mesh, in_specs=specs, out_specs=(jax.P(), over_batch))
    wanted = jax.jit(jax.grad(loss, argnums=(0, 1)))(*args)
    assert_close(jax.jit(mapped)(*args), wanted)


def test_any_core_runs_in_shard_map():
    inputs = np.float32(reference.inputs(reference.CASES['unit_gates']))
    params = {'lstm/linear': {'w': np.full((D + 6, 24), 0.1, np.float32), 'b': np.zeros(24)}}
    mesh = jax.sharding.Mesh(jax.devices()[:1], ('devices',))

    def run(inputs, lengths):
        core = hk.LSTM(6)
        return relational_rnn.unroll(core, inputs, core.initial_state(B), None, lengths)[0]

    apply = hk.without_apply_rng(hk.transform(run)).apply
    specs = jax.P(), jax.P(None, 'devices'), jax.P('devices')
    mapped = jax.shard_map(apply, mesh=mesh, in_specs=specs, out_specs=jax.P(None, 'devices'))
    args = params, inputs, LENGTHS
    np.testing.assert_allclose(jax.jit(mapped)(*args), apply(*args), rtol=1e-5)


@pytest.mark.parametrize('name', ['unit_gates', 'output_gate'])
def test_float64_stays_float64(name):
    case = reference.CASES[name]

    def run(inputs, lengths=None):
        core = make_core(case.config)
        state = core.initial_state(B)
        plain, _ = hk.dynamic_unroll(core, inputs, state)
        return plain, *relational_rnn.unroll_inside(core, inputs, state, None, lengths)[:2]

    apply = hk.without_apply_rng(hk.transform(run)).apply
    with jax.enable_x64(True):
        args = haiku_params(case, np.float64), reference.inputs(case)
        plain, outputs, state = apply(*args)
        _, cut, _ = apply(*args, LENGTHS)
    chex.assert_trees_all_close(plain, outputs, atol=1e-12)
    np.testing.assert_allclose(cut[:, 0], outputs[:, 0], atol=1e-12)
    assert {x.dtype.name for x in jax.tree.leaves((plain, outputs, state, cut))} == {'float64'}


def test_a_state_in_float32_takes_inputs_in_float64():
    case = reference.CASES['unit_gates']
    with jax.enable_x64(True):
        _, inputs, state = arguments(case, np.float64)
        narrow = state.astype(np.float32)
        outputs, state = of(case)(haiku_params(case, np.float64), inputs, narrow)
    assert outputs.dtype == state.dtype == np.float64


def test_other_flags_and_values_do_not_trace_again():
    case = reference.CASES['unit_gates']
    apply = jax.jit(chex.assert_max_traces(of(case), n=1))
    params, inputs, state = arguments(case)
    for lengths in (LENGTHS, LENGTHS + 1, np.zeros(B, np.int32)):
        outputs, state = apply(params, inputs, state, RESETS, lengths)
        inputs = inputs + 1
    assert not np.asarray(outputs).any()


# --- Inside


@functools.cache
def compiled_inside(name):
    return jax.jit(of(reference.CASES[name], relational_rnn.unroll_inside))


@pytest.mark.parametrize(
    'name',
    ['unit_gates', 'no_gates_three_blocks', 'two_blocks', 'output_gate_memory_two_blocks'],
)
def test_the_inside_is_that_of_the_loop(name):
    case = reference.CASES[name]
    config, columns = case.config, case.config.mem_slots + case.num_rows
    args = *arguments(case), RESETS, LENGTHS
    outputs, end, inside = jax.device_get(compiled_inside(name)(*args))
    numbers = reference.parameters(case)
    run = reference.unroll(numbers, config, reference.inputs(case), RESETS, LENGTHS)
    np.testing.assert_allclose(outputs, run.outputs, atol=5e-6)
    for leaf, leaf_wanted in zip(jax.tree.leaves(end), run.state, strict=True):
        np.testing.assert_allclose(leaf, leaf_wanted, atol=5e-6)
    wanted = inside_of_the_loop(case)
    np.testing.assert_allclose(inside.before, wanted['before'], atol=5e-6)
    np.testing.assert_allclose(inside.memory, wanted['memory'], atol=5e-6)
    gates = [inside.input_gate, inside.forget_gate, inside.output_gate]
    assert [gate is None for gate in gates] == [i >= len(wanted['gates']) for i in range(3)]
    for gate, values in zip(gates, wanted['gates'], strict=False):
        np.testing.assert_allclose(gate, values, atol=2e-6)
    assert len(inside.attention) == config.num_blocks
    for block, weights in enumerate(inside.attention):
        queries = config.mem_slots if block == config.num_blocks - 1 else columns
        chex.assert_shape(weights, (T, B, config.num_heads, queries, columns))
        np.testing.assert_allclose(weights, run.attention[block][:, :, :, :queries], atol=2e-6)
        sums = np.where(PAST_THE_END, 0.0, 1.0)[:, :, None, None]
        np.testing.assert_allclose(
            weights.sum(-1), np.broadcast_to(sums, weights.shape[:-1]), atol=1e-6
        )


def test_unroll_attention_is_a_part_of_unroll_inside():
    case = reference.CASES['unit_gates']
    args = *arguments(case), RESETS, LENGTHS
    apply = jax.jit(of(case, relational_rnn.unroll_attention))
    outputs, end, inside = compiled_inside('unit_gates')(*args)
    chex.assert_trees_all_close(apply(*args), (outputs, end, inside.attention), atol=1e-6)


def inside_of_the_loop(case):
    """Memories and gates of every step of every row, [T, B, N, F] and [T, B, N, G] in float64."""
    config, params, inputs = case.config, reference.parameters(case), reference.inputs(case)
    count = (3 if config.output_gate else 2) if config.gate_style else 0
    size = reference.width(config)
    shapes = [(T, B, config.mem_slots, size)] * 2
    before, after = (np.zeros(shape) for shape in shapes)
    gate_size = size if config.gate_style == 'unit' else 1
    gates = [np.zeros((T, B, config.mem_slots, gate_size)) for _ in range(count)]
    biases = [config.input_bias, config.forget_bias, 0.0]
    for b in range(B):
        state = reference.initial_state(config)
        for t in range(LENGTHS[b]):
            state = reference.initial_state(config) if RESETS[t, b] else state
            rows = np.atleast_2d(inputs[t, b])
            shown = [reference.linear(params, 'input', row) for row in rows]
            for slot in range(config.mem_slots if count else 0):
                seen = state[0][slot] if config.output_gate else np.tanh(state[0][slot])
                joint = reference.linear(params, 'input_gates', np.concatenate(shown))
                joint = joint + reference.linear(params, 'memory_gates', seen)
                for i, part in enumerate(joint.reshape(count, -1)):
                    gates[i][t, b, slot] = 1 / (1 + np.exp(-part - biases[i]))
            before[t, b] = state[-1]
            state, _ = reference.step(params, config, rows, state)
            after[t, b] = state[-1]
    return {'gates': gates, 'before': before, 'memory': after}


def test_a_gate_made_of_its_bias_alone_is_the_sigmoid_of_that_bias():
    case = reference.CASES['unit_gates']
    params, inputs, state = arguments(case)
    module = params['relational_memory']
    gone = {name: np.zeros_like(value) for name, value in module.items() if '_gates_' in name}
    flags = np.zeros((T, B), bool), np.full(B, T, np.int32)
    _, _, inside = compiled_inside('unit_gates')(
        {'relational_memory': module | gone}, inputs, state, *flags
    )
    for gate, bias in (
        (inside.input_gate, case.config.input_bias),
        (inside.forget_gate, case.config.forget_bias),
    ):
        np.testing.assert_allclose(gate, np.full(gate.shape, 1 / (1 + np.exp(-bias))), rtol=1e-6)


def test_keys_that_are_all_equal_get_equal_attention():
    case = reference.CASES['two_blocks']
    params, inputs, state = arguments(case)
    module = params['relational_memory']
    equal = {k: np.zeros_like(v) for k, v in module.items() if k.startswith('projection_norm')}
    flags = np.zeros((T, B), bool), np.full(B, T, np.int32)
    _, _, inside = compiled_inside('two_blocks')(
        {'relational_memory': module | equal}, inputs, state, *flags
    )
    for weights in inside.attention:  # 3 slots and 2 rows of the input
        np.testing.assert_allclose(weights, np.full(weights.shape, 1 / 5), rtol=1e-6)


def test_attention_is_that_of_a_relational_memory_only():
    with pytest.raises(ValueError, match='that of a RelationalMemory, got LSTM'):
        jax.eval_shape(
            unroll_of(lambda: hk.LSTM(6), relational_rnn.unroll_attention),
            {},
            np.zeros((T, B, D), np.float32),
            hk.LSTMState(*[np.zeros((B, 6))] * 2),
        )


# --- Memory


def test_remat_of_any_core_keeps_little_more_than_its_states():
    inputs, state = np.zeros((T, B, D), np.float32), hk.LSTMState(*[np.zeros((B, 6))] * 2)
    params = {'lstm/linear': {'w': np.zeros((D + 6, 24)), 'b': np.zeros(24)}}

    def kept(remat):
        apply = unroll_of(lambda: hk.LSTM(6), remat=remat)
        _, pull_back = jax.eval_shape(
            lambda params: jax.vjp(lambda p: apply(p, inputs, state)[0], params), params
        )
        return sum(leaf.size for leaf in jax.tree.leaves(pull_back))

    assert kept(True) < 0.7 * kept(False)


# --- Errors


@pytest.mark.parametrize(
    ('flags', 'words'),
    [
        (
            (np.zeros((T, B + 1), bool),),
            r'resets is \[T, B\] like the inputs, .*got shape \(5, 4\)',
        ),
        ((np.zeros((B, T), bool),), r'resets is \[T, B\] .*got shape \(3, 5\)'),
        ((np.zeros((T, B, 1), bool),), r'resets is \[T, B\] .*got shape \(5, 3, 1\)'),
        ((np.array(True),), r'resets is \[T, B\] .*got shape \(\)'),
        ((np.zeros((T, B)),), 'resets is of dtype bool, got float32'),
        ((np.zeros(T, bool),), 'resets and the state both have a batch dimension or both'),
        ((None, np.zeros(B + 1, int)), r'lengths is \[B\] like the inputs, .*got shape \(4,\)'),
        ((None, np.zeros((B, 1), int)), r'lengths is \[B\] .*got shape \(3, 1\)'),
        ((None, np.ones(B)), 'lengths is of dtype integer, got float32'),
        ((None, np.ones(B, bool)), 'lengths is of dtype integer, got bool'),
        ((None, 3), 'lengths and the state both have a batch dimension or both'),
    ],
)
@pytest.mark.parametrize('unroll', [relational_rnn.unroll, relational_rnn.unroll_attention])
def test_flags_that_do_not_fit(unroll, flags, words):
    case = reference.CASES['unit_gates']
    apply = of(case, unroll)
    with pytest.raises(ValueError, match=words):
        jax.eval_shape(lambda *args: apply(*args, *flags), *arguments(case))


def test_a_sequence_has_at_least_one_step():
    case = reference.CASES['unit_gates']
    params, inputs, state = arguments(case)
    with pytest.raises(ValueError, match=r'at least one time step, got shape \(0, 3, 7\)'):
        jax.eval_shape(of(case), params, inputs[:0], state)


def test_inputs_without_time_are_named_as_such():
    case = reference.CASES['unit_gates']
    params, inputs, state = arguments(case)
    with pytest.raises(ValueError, match=r'inputs are \[T, B, D\] or \[T, B, K, D\] with B = 3'):
        jax.eval_shape(of(case), params, inputs[0], state)
