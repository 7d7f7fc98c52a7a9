"""Tests of the unroll of whole sequences, with resets and lengths."""

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational_rnn
from relational_rnn import memory, unrolling
from tests.support import memory_reference as reference

T, B, D = reference.T, reference.B, reference.D
all_cases = pytest.mark.parametrize('case', reference.CASES.values(), ids=reference.CASES)
some_cases = pytest.mark.parametrize(
    'case', [reference.CASES[name] for name in ('unit_gates', 'output_gate_memory_two_blocks')]
)
# Row 0 runs to the end, row 1 is reset both before and after its end, row 2 has no step at all.
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

    return reference.quick_jit(run)


def assert_close(got, wanted, tolerance=2e-5):
    """Compares trees by the largest element of each array."""
    chex.assert_trees_all_equal_structs(got, wanted)
    got, wanted = jax.device_get((got, wanted))
    for (path, leaf), other in zip(
        jax.tree.leaves_with_path(wanted), jax.tree.leaves(got), strict=True
    ):
        error = np.max(np.abs(other - leaf)) / (np.max(np.abs(leaf)) + 1e-30)
        assert error <= tolerance, f'{jax.tree_util.keystr(path)}: {error}'


# --- The same numbers as step by step


@pytest.mark.parametrize(
    'case',
    [reference.CASES[name] for name in ('two_blocks', 'output_gate')],
)
def test_unroll_is_dynamic_unroll_in_outputs_state_and_gradients(case):
    args = arguments(case)
    quick = with_gradients(of(case))(*args)
    plain = with_gradients(of(case, hk.dynamic_unroll))(*args)
    assert_close(quick[0], plain[0], 5e-6)
    assert_close(quick[1], plain[1])
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(jax.device_get(quick[1])))


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
        gradient = reference.quick_jit(jax.grad(loss_fn, argnums=(0, 1), has_aux=True))
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


SHORT = np.array([2, 3, 1], np.int32)  # all shorter than T


@some_cases
@pytest.mark.parametrize('remat', [False, True])
def test_behind_the_longest_length_it_is_as_if_the_inputs_ended_there(case, remat):
    params, inputs, state = arguments(case)
    inputs[3:] = np.nan
    run = with_gradients(of(case, remat=remat), None, SHORT)
    (outputs, after), (d_params, d_inputs, d_state) = jax.device_get(run(params, inputs, state))
    cut = jax.device_get(run(params, inputs[:3], state))
    assert_close((outputs[:3], after), cut[0], 1e-6)
    assert_close((d_params, d_inputs[:3], d_state), cut[1], 1e-5)
    assert not outputs[3:].any()
    assert not d_inputs[3:].any()


@pytest.mark.parametrize('remat', [False, True])
def test_behind_the_longest_length_no_step_is_made(remat, monkeypatch):
    case, step, calls = reference.CASES['unit_gates'], memory.step, []

    def counted(*args):
        jax.debug.callback(lambda: calls.append(1))
        return step(*args)

    monkeypatch.setattr(memory, 'step', counted)
    for lengths, wanted in ((SHORT, 3), (LENGTHS, T), (None, T)):
        calls.clear()
        jax.block_until_ready(of(case, remat=remat)(*arguments(case), None, lengths))
        jax.effects_barrier()
        assert len(calls) == wanted


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('output_gate', {'remat': True, 'scan_unroll': 2}),
        ('unit_gates', {'scan_unroll': 2}),
    ],
)
def test_remat_and_scan_unroll_change_no_number(name, options):
    case = reference.CASES[name]
    args = arguments(case)
    plain = with_gradients(of(case), RESETS, LENGTHS)(*args)
    assert_close(with_gradients(of(case, **options), RESETS, LENGTHS)(*args), plain, 5e-6)


@some_cases
def test_windows_that_carry_the_state_are_one_long_sequence(case):
    apply = reference.quick_jit(of(case))
    params, inputs, state = arguments(case)
    outputs, end = apply(params, inputs, state)
    first, state = apply(params, inputs[:2], state)
    second, state = apply(params, inputs[2:], state)
    chex.assert_trees_all_close(np.concatenate([first, second]), outputs, atol=1e-6)
    chex.assert_trees_all_close(state, end, atol=1e-6)


@some_cases
def test_the_future_does_not_change_the_past(case):
    apply = reference.quick_jit(of(case))
    params, inputs, state = arguments(case)
    outputs, _ = apply(params, inputs, state)
    later = (np.arange(T) >= 3).reshape(T, *[1] * (inputs.ndim - 1)).astype(np.float32)
    changed, _ = apply(params, inputs + later, state)
    np.testing.assert_array_equal(changed[:3], outputs[:3])
    assert (np.abs(np.asarray(changed)[3:] - outputs[3:]).max(axis=-1) > 1e-4).all()


@some_cases
def test_nothing_from_before_a_reset_reaches_what_comes_after_it(case):
    resets = np.zeros((T, B), bool)
    resets[3, 1] = True

    def after(params, inputs, state):
        outputs, end = of(case)(params, inputs, state, resets)
        return jnp.sum(outputs[3:, 1] ** 3) + jnp.sum(jax.tree.leaves(end)[-1][1] ** 3)

    d_inputs, d_state = reference.quick_jit(jax.grad(after, argnums=(1, 2)))(*arguments(case))
    d_inputs, d_state = jax.device_get((d_inputs, d_state))
    assert not d_inputs[:3].any()
    assert d_inputs[3:, 1].all()
    assert not any(leaf.any() for leaf in jax.tree.leaves(d_state))


@pytest.mark.parametrize(
    ('name', 'remat'),
    [('lstm', False), ('unit_gates', True), ('two_blocks', False)],
)
def test_what_the_inputs_hold_past_the_end_does_not_matter(name, remat):
    if name == 'lstm':
        inputs = np.float32(reference.inputs(reference.CASES['unit_gates']))
        apply, args = unroll_of(lambda: hk.LSTM(6), remat=remat), (LSTM_PARAMS, inputs, LSTM_STATE)
    else:
        apply, args = of(reference.CASES[name], remat=remat), arguments(reference.CASES[name])
    run = with_gradients(apply, RESETS, LENGTHS)
    params, inputs, state = args
    clean = jax.device_get(run(*args))
    mask = PAST_THE_END.reshape(T, B, *[1] * (inputs.ndim - 2))
    for garbage in (np.nan, np.inf, 3e38):
        dirty = np.where(mask, np.float32(garbage), inputs)
        chex.assert_trees_all_equal(jax.device_get(run(params, dirty, state)), clean)
    (outputs, _), (_, d_inputs, _) = clean
    assert not outputs[PAST_THE_END].any()
    assert not d_inputs[PAST_THE_END].any()


@some_cases
def test_without_a_batch_resets_and_lengths_are_those_of_one_row(case):
    params, inputs, state = arguments(case)
    apply = reference.quick_jit(of(case))
    outputs, end = apply(params, inputs, state, RESETS, LENGTHS)
    single = jax.tree.map(lambda leaf: leaf[1], state)
    output, single_end = apply(params, inputs[:, 1], single, RESETS[:, 1], LENGTHS[1])
    np.testing.assert_allclose(output, outputs[:, 1], atol=1e-6)
    chex.assert_trees_all_close(single_end, jax.tree.map(lambda leaf: leaf[1], end), atol=1e-6)


# --- Transformations round it


def test_checkpoint_round_an_unroll_changes_no_number():
    case = reference.CASES['unit_gates']
    apply, args = of(case), arguments(case)
    assert_close(with_gradients(jax.checkpoint(apply))(*args), with_gradients(apply)(*args), 5e-6)


def test_vmap_over_sequences_is_the_batch():
    case = reference.CASES['output_gate']
    by_row = jax.vmap(of(case), in_axes=(None, 1, 0), out_axes=(1, 0))
    results = reference.quick_jit(by_row)(*arguments(case))
    assert_close(results, reference.quick_jit(of(case))(*arguments(case)), 5e-6)


def test_second_derivatives_are_those_of_the_gradient():
    case = reference.CASES['one_slot_one_mlp_layer']
    direction = {'relational_memory': reference.parameters(case, 7)}

    def along(params, inputs, state):
        gradient = jax.grad(lambda params: jnp.sum(jnp.sin(of(case)(params, inputs, state)[0])))
        products = jax.tree.map(lambda g, v: jnp.sum(g * v), gradient(params), direction)
        return sum(jax.tree.leaves(products))

    with jax.enable_x64(True):
        params, inputs, state = arguments(case, np.float64)
        slope = reference.quick_jit(along)
        ahead, behind = (
            slope(jax.tree.map(lambda p, v, e=e: p + e * v, params, direction), inputs, state)
            for e in (1e-6, -1e-6)
        )
        second = reference.quick_jit(jax.grad(along))(params, inputs, state)
    curvature = sum(
        np.sum(np.asarray(second['relational_memory'][name]) * value)
        for name, value in direction['relational_memory'].items()
    )
    assert curvature == pytest.approx((float(ahead) - float(behind)) / 2e-6, rel=1e-6)


def test_other_flags_and_values_do_not_trace_again():
    case = reference.CASES['unit_gates']
    apply = jax.jit(chex.assert_max_traces(of(case), n=1))
    params, inputs, state = arguments(case)
    for lengths in (LENGTHS, LENGTHS + 1, np.zeros(B, np.int32)):
        outputs, state = apply(params, inputs, state, RESETS, lengths)
        inputs = inputs + 1
    assert not np.asarray(outputs).any()


# --- Other cores

LSTM_STATE = hk.LSTMState(np.full((B, 6), 0.25, np.float32), np.full((B, 6), -0.5, np.float32))
LSTM_PARAMS = {
    'lstm/linear': {
        'w': np.float32(np.random.default_rng(3).normal(size=(D + 6, 4 * 6)) * 0.4),
        'b': np.float32(np.random.default_rng(4).normal(size=4 * 6) * 0.3),
    }
}


def deep():
    return hk.DeepRNN([make_core(reference.CASES['unit_gates'].config), jnp.tanh, hk.GRU(6)])


@pytest.mark.parametrize('remat', [False, True])
def test_any_core_makes_no_step_behind_the_longest_length(remat):
    calls = []

    class Counted(hk.LSTM):
        def __call__(self, inputs, state):
            jax.debug.callback(lambda: calls.append(1))
            return super().__call__(inputs, state)

    inputs = np.random.default_rng(0).normal(size=(T, B, 7)).astype(np.float32)
    inputs[3:] = np.nan
    network = unroll_of(lambda: Counted(6, name='lstm'), remat=remat)
    run = with_gradients(network, None, SHORT)
    (outputs, after), (d_params, d_inputs, _) = run(LSTM_PARAMS, inputs, LSTM_STATE)
    cut = run(LSTM_PARAMS, inputs[:3], LSTM_STATE)
    assert_close((outputs[:3], after), cut[0], 1e-6)
    assert_close((d_params, d_inputs[:3]), cut[1][:2], 1e-5)
    assert not np.any(outputs[3:])
    assert not np.any(d_inputs[3:])
    for lengths, wanted in ((SHORT, 3), (LENGTHS, T), (None, T)):
        calls.clear()
        jax.block_until_ready(network(LSTM_PARAMS, inputs, LSTM_STATE, None, lengths))
        jax.effects_barrier()
        assert len(calls) == wanted


@pytest.mark.parametrize(
    ('make', 'remat'), [(lambda: hk.LSTM(6), True), (deep, False)], ids=['lstm', 'deep']
)
def test_any_core_is_stepped_row_by_row_with_resets_and_lengths(make, remat):
    inputs = np.float32(reference.inputs(reference.CASES['unit_gates']))
    step = hk.without_apply_rng(hk.transform(lambda x, state: make()(x, state)))
    initial = hk.testing.transform_and_run(lambda: make().initial_state(None))()
    params = reference.quick_jit(step.init)(jax.random.key(5), inputs[0, 0], initial)
    initial = jax.device_get(initial)
    start = jax.tree.map(lambda leaf: np.stack([leaf + b for b in range(B)]), initial)
    apply = reference.quick_jit(unroll_of(make, remat=remat))
    outputs, end = jax.device_get(apply(params, inputs, start, RESETS, LENGTHS))
    advance = reference.quick_jit(step.apply)
    for b in range(B):
        state = jax.tree.map(lambda leaf, b=b: leaf[b], start)
        for t in range(LENGTHS[b]):
            output, state = advance(params, inputs[t, b], initial if RESETS[t, b] else state)
            np.testing.assert_allclose(outputs[t, b], output, atol=2e-6)
        chex.assert_trees_all_close(jax.tree.map(lambda leaf, b=b: leaf[b], end), state, atol=2e-6)
    assert not outputs[PAST_THE_END].any()


def test_remat_of_any_core_keeps_little_more_than_its_states():
    inputs = np.zeros((T, B, D), np.float32)

    def kept(remat):
        apply = unroll_of(lambda: hk.LSTM(6), remat=remat)
        pull_back = jax.eval_shape(
            lambda params: jax.vjp(lambda p: apply(p, inputs, LSTM_STATE)[0], params)[1],
            LSTM_PARAMS,
        )
        return sum(leaf.size for leaf in jax.tree.leaves(pull_back))

    assert kept(True) < 0.7 * kept(False)


# --- Attention


@all_cases
def test_attention_is_that_of_the_loop_and_the_rest_that_of_unroll(case):
    params, inputs, state = arguments(case)
    apply = reference.quick_jit(of(case, relational_rnn.unroll_attention))
    outputs, end, attention = jax.device_get(apply(params, inputs, state, RESETS, LENGTHS))
    numbers = reference.parameters(case)
    run = reference.unroll(numbers, case.config, reference.inputs(case), RESETS, LENGTHS)
    np.testing.assert_allclose(outputs, run.outputs, atol=5e-6)
    for leaf, wanted in zip(jax.tree.leaves(end), run.state, strict=True):
        np.testing.assert_allclose(leaf, wanted, atol=5e-6)
    config, columns = case.config, case.config.mem_slots + case.num_rows
    assert len(attention) == config.num_blocks
    for block, weights in enumerate(attention):
        asking = config.mem_slots if block == config.num_blocks - 1 else columns
        chex.assert_shape(weights, (T, B, config.num_heads, asking, columns))
        np.testing.assert_allclose(weights, run.attention[block][:, :, :, :asking], atol=2e-6)
        sums = np.where(PAST_THE_END, 0.0, 1.0)[:, :, None, None]
        np.testing.assert_allclose(
            weights.sum(-1), np.broadcast_to(sums, weights.shape[:-1]), atol=1e-6
        )


@all_cases
def test_the_inside_is_that_of_the_loop_and_the_rest_that_of_attention(case):
    params, inputs, state = arguments(case)
    apply = reference.quick_jit(of(case, relational_rnn.unroll_inside))
    outputs, _, inside = jax.device_get(apply(params, inputs, state, RESETS, LENGTHS))
    run = reference.unroll(
        reference.parameters(case), case.config, reference.inputs(case), RESETS, LENGTHS
    )
    np.testing.assert_allclose(outputs, run.outputs, atol=5e-6)
    gates = [inside.input_gate, inside.forget_gate, inside.output_gate]
    wanted = inside_of_the_loop(case)
    there = [gate is not None for gate in gates]
    assert there == [True] * len(wanted['gates']) + [False] * (3 - len(wanted['gates']))
    for gate, values in zip(gates, wanted['gates'], strict=False):
        np.testing.assert_allclose(gate, values, atol=2e-6)
    np.testing.assert_allclose(inside.before, wanted['before'], atol=5e-6)
    np.testing.assert_allclose(inside.memory, wanted['memory'], atol=5e-6)
    for block, weights in enumerate(inside.attention):
        np.testing.assert_allclose(
            weights, run.attention[block][:, :, :, : weights.shape[3]], atol=2e-6
        )


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
    apply = reference.quick_jit(of(case, relational_rnn.unroll_inside))
    _, _, inside = apply({'relational_memory': module | gone}, inputs, state)
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
    apply = reference.quick_jit(of(case, relational_rnn.unroll_attention))
    _, _, attention = apply({'relational_memory': module | equal}, inputs, state)
    for weights in attention:  # 3 slots and 2 rows of the input
        np.testing.assert_allclose(weights, np.full(weights.shape, 1 / 5), rtol=1e-6)


def test_attention_is_that_of_a_relational_memory_only():
    with pytest.raises(ValueError, match='that of a RelationalMemory, got LSTM'):
        jax.eval_shape(
            unroll_of(lambda: hk.LSTM(6), relational_rnn.unroll_attention),
            LSTM_PARAMS,
            np.zeros((T, B, D), np.float32),
            LSTM_STATE,
        )


# --- The seam: what is computed, and what is kept


def equations(jaxpr, name):
    """Yields the equations of a primitive in a jaxpr and in all jaxprs that it calls."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == name:
            yield equation
        for value in equation.params.values():
            for part in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(part, 'jaxpr', part)
                if hasattr(inner, 'eqns'):
                    yield from equations(inner, name)


def multiplications_by(jaxpr, shapes):
    """Counts the multiplications of those matrix products that have a weight of these shapes."""
    total = 0
    for equation in equations(jaxpr, 'dot_general'):
        if any(tuple(sorted(variable.aval.shape)) in shapes for variable in equation.invars):
            (contracted, _), _ = equation.params['dimension_numbers']
            lengths = [equation.invars[0].aval.shape[axis] for axis in contracted]
            total += int(np.prod(equation.outvars[0].aval.shape) * np.prod(lengths))
    return total


def test_a_step_multiplies_the_slots_only_and_each_weight_once():
    """The input's rows are projected once, for all steps; they run through no MLP."""
    case = reference.Case(memory.MemoryConfig(4, 3, 2, attention_mlp_layers=3, key_size=5), 2)
    joint, size, gates = 2 * (5 + 5 + 3), 6, 2 * 6
    jaxpr = jax.make_jaxpr(of(case))(*arguments(case)).jaxpr
    (scan,) = equations(jaxpr, 'scan')
    shapes = {(D, size)[::-1], (size, joint), (size, size), (size, gates), (2 * size, gates)}
    shapes = {tuple(sorted(shape)) for shape in shapes}
    in_step = multiplications_by(scan.params['jaxpr'].jaxpr, shapes)
    assert scan.params['length'] == T
    assert in_step == B * 4 * (size * joint + 3 * size * size + size * gates)
    before = multiplications_by(jaxpr, shapes) - in_step
    assert before == T * B * 2 * (D * size + size * joint + size * gates)


@all_cases
def test_unroll_stacks_nothing_but_the_states(case):
    jaxpr = jax.make_jaxpr(of(case))(*arguments(case), RESETS, LENGTHS).jaxpr
    (scan,) = equations(jaxpr, 'scan')
    stacked = [variable for variable in scan.outvars if variable.aval.shape[0] == T]
    states = 2 if case.config.output_gate else 1
    elements = T * B * case.config.mem_slots * case.config.slot_size
    assert sum(variable.aval.size for variable in stacked) == states * elements


def test_the_gradient_of_a_long_sequence_does_not_stagnate_in_bfloat16():
    """A sum in bfloat16 stops growing at 256 times what is added; these are 2,000 equal steps."""
    config = memory.MemoryConfig(1, 2, forget_bias=-60.0, input_bias=60.0)
    numbers = reference.parameters(reference.Case(config, 1))
    params = reference.memory_params(config, numbers)
    inputs = jnp.ones((2000, 1, 1, D))

    def loss(step_params, dtype):
        step_params = jax.tree.map(lambda x: x.astype(dtype), step_params)
        projected = memory.project(params, config, inputs)
        state = memory.initial_memory(config, 1)
        flags = unrolling.Flags()
        return jnp.sum(unrolling.scan_memory(config, step_params, projected, state, flags))

    wide, narrow = (jax.grad(loss)(params.step, dtype) for dtype in (jnp.float32, jnp.bfloat16))
    np.testing.assert_allclose(narrow.mlp[-1].b, wide.mlp[-1].b, rtol=0.05)


def test_training_needs_much_less_memory_than_through_dynamic_unroll():
    case = reference.CASES['unit_gates']
    inputs = jnp.zeros((20, 32, D))
    state = memory.initial_memory(case.config, 32)

    def bytes_of(unroll, **options):
        apply = of(case, unroll, **options)
        gradient = jax.grad(lambda params: jnp.sum(apply(params, inputs, state)[0] ** 2))
        compiled = reference.quick_jit(gradient).lower(haiku_params(case)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    plain, quick = bytes_of(hk.dynamic_unroll), bytes_of(relational_rnn.unroll)
    assert quick < 0.5 * plain
    assert bytes_of(relational_rnn.unroll, remat=True) < 0.6 * quick


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
