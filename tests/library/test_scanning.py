"""Tests of the two ways in which a scan is differentiated, and of what they compute and keep."""

import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from relational_rnn import memory, operations, scanning, unrolling
from tests.support import memory_reference as reference

pytestmark = pytest.mark.usefixtures('compile_quickly')
T, B, D = reference.T, reference.B, reference.D
all_cases = pytest.mark.parametrize('case', reference.CASES.values(), ids=reference.CASES)
# Element 0 runs to the end, 1 is reset both before and after its end, 2 has no step at all.
LENGTHS = np.array([T, 3, 0], np.int32)
RESETS = np.zeros((T, B), bool)
RESETS[[2, 4, 0, 2, 4, 1], [0, 0, 1, 1, 1, 2]] = True
DEFERRED = unrolling.Options(backward='deferred')
STEPWISE = unrolling.Options(backward='stepwise')
both_ways = pytest.mark.parametrize('options', [STEPWISE, DEFERRED], ids=['stepwise', 'deferred'])


@pytest.fixture(autouse=True)
def _strict_ranks():
    with jax.numpy_rank_promotion('raise'):
        yield


def arguments(case, dtype=np.float64):
    """Parameters, inputs as rows, and a state which is not the initial one."""
    params = jax.tree.map(dtype, reference.memory_params(case.config, reference.parameters(case)))
    inputs = dtype(reference.inputs(case)).reshape(T, B, case.num_rows, -1)
    state = jax.tree.map(dtype, memory.initial_memory(case.config, B))
    return params, inputs, jax.tree.map(lambda x: 0.5 * x + 0.25, state)


def flags_of(kind):
    active = np.arange(T)[:, None] < LENGTHS
    return {
        'plain': unrolling.Flags(),
        'resets': unrolling.Flags(resets=RESETS),
        'both': unrolling.Flags(RESETS & active, active),
    }[kind]


def step_by_step(config, params, inputs, state, flags):
    """A scan of `project` and `step` together that JAX differentiates as it pleases."""
    del flags

    def body(state, rows):
        projected = memory.project(params, config, rows)
        state = memory.step(params.step, config, projected, state)[0]
        return state, state

    return jax.lax.scan(body, state, inputs)[1]


def with_gradients(scan):
    """The states, and the gradients of a function of all of them."""

    def run(*args):
        states, pull_back = jax.vjp(scan, *args)
        return states, pull_back(jax.tree.map(lambda x: jnp.cos(2 * x), states))

    return jax.jit(run)


def scanned(case, flags, options):
    def scan(params, inputs, state):
        return scanning.scan_memory(case.config, params, inputs, state, flags, options)

    return with_gradients(scan)


def assert_close(got, wanted, tolerance):
    """Compares trees by the largest element of each array."""
    chex.assert_trees_all_equal_structs(got, wanted)
    got, wanted = jax.device_get((got, wanted))
    for (path, leaf), other in zip(
        jax.tree.leaves_with_path(wanted), jax.tree.leaves(got), strict=True
    ):
        error = np.max(np.abs(other - leaf)) / (np.max(np.abs(leaf)) + 1e-30)
        assert error <= tolerance, f'{jax.tree_util.keystr(path)}: {error}'


@pytest.mark.parametrize(
    'name',
    [
        'unit_gates',
        'memory_gates_deep_mlp',
        'no_gates_three_blocks',
        'output_gate_memory_two_blocks',
    ],
)
def test_deferred_gradients_are_those_of_a_plain_scan(name):
    """The gradients of all cases are compared in the next test."""
    case = reference.CASES[name]
    with jax.enable_x64(True):
        args = arguments(case)
        plain = functools.partial(step_by_step, case.config, flags=None)
        wanted = with_gradients(plain)(*args)
        got = scanned(case, flags_of('plain'), DEFERRED)(*args)
        assert_close(got, wanted, 1e-12)


@all_cases
def test_deferred_gradients_are_stepwise_gradients_with_resets_and_lengths(case):
    with jax.enable_x64(True):
        args = arguments(case)
        wanted = scanned(case, flags_of('both'), STEPWISE)(*args)
        assert_close(scanned(case, flags_of('both'), DEFERRED)(*args), wanted, 1e-12)


@pytest.mark.parametrize(
    ('name', 'kind', 'scan_unroll'), [('output_gate', 'both', 1), ('two_blocks', 'resets', 2)]
)
def test_deferred_gradients_in_pieces_are_the_same(name, kind, scan_unroll):
    """In pieces of 2, 2 and 1 steps."""
    case, flags = reference.CASES[name], flags_of(kind)
    options = DEFERRED._replace(remat=True, scan_unroll=scan_unroll)
    with jax.enable_x64(True):
        args = arguments(case)
        wanted = scanned(case, flags, STEPWISE)(*args)
        assert_close(scanned(case, flags, options)(*args), wanted, 1e-12)


def test_one_step_and_remat_of_a_square_number_of_steps():
    case = reference.CASES['unit_gates']
    with jax.enable_x64(True):
        params, inputs, state = arguments(case)
        for num_steps in (1, 4):
            args = params, inputs[:num_steps], state
            wanted = scanned(case, unrolling.Flags(), STEPWISE)(*args)
            got = scanned(case, unrolling.Flags(), DEFERRED._replace(remat=True))(*args)
            assert_close(got, wanted, 1e-12)


def test_large_matrices_are_padded_and_give_the_same_numbers(monkeypatch):
    """F = 39 and gates of 78 are padded to 40 and 80; D = 6 and P = 117 to 120."""
    monkeypatch.setattr(operations, 'ALIGNMENT', 8)
    case = reference.Case(memory.MemoryConfig(2, 13, 3), 2)
    with jax.enable_x64(True):
        args = arguments(case)
        padded = operations.pad_matrices(args[0].step)
        assert padded.blocks[0].projection.w.shape == (40, 120)
        assert padded.memory_gates.w.shape == (40, 80)
        wanted = scanned(case, flags_of('both'), STEPWISE)(*args)
        assert_close(scanned(case, flags_of('both'), DEFERRED)(*args), wanted, 1e-12)


def test_small_matrices_are_not_padded():
    params = reference.memory_params(
        reference.CASES['unit_gates'].config, reference.parameters(reference.CASES['unit_gates'])
    )
    chex.assert_trees_all_equal(operations.pad_matrices(params.step), params.step)


def loops(case, options, platform):
    """What the loops of a training step carry and read, lowered for a platform."""
    apply = scanned(case, unrolling.Flags(), options)
    exported = jax.export.export(apply, platforms=[platform])(*arguments(case, np.float32))
    lines = exported.mlir_module().splitlines()
    return [sorted(re.findall('tensor<.*?>', x)) for x in lines if 'stablehlo.while' in x]


@pytest.mark.parametrize(
    ('platform', 'options'), [('cpu', STEPWISE), ('cuda', DEFERRED), ('tpu', DEFERRED)]
)
def test_the_platform_decides_how_a_scan_is_differentiated(platform, options):
    case = reference.CASES['unit_gates']
    by_platform = loops(case, unrolling.Options(), platform)
    assert by_platform == loops(case, options, platform)
    assert len(by_platform) == 2


# --- What is computed, and what is kept


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


@both_ways
def test_a_step_multiplies_the_slots_only_and_each_weight_once(options):
    """The input's rows are projected once, for all steps; they run through no MLP."""
    case = reference.Case(memory.MemoryConfig(4, 3, 2, attention_mlp_layers=3, key_size=5), 2)
    joint, size, gates = 2 * (5 + 5 + 3), 6, 2 * 6
    scan = functools.partial(scanning.scan_memory, case.config, options=options)
    jaxpr = jax.make_jaxpr(scan)(*arguments(case, np.float32)).jaxpr
    (scan,) = equations(jaxpr, 'scan')
    shapes = {(D, size)[::-1], (size, joint), (size, size), (size, gates), (2 * size, gates)}
    shapes = {tuple(sorted(shape)) for shape in shapes}
    in_step = multiplications_by(scan.params['jaxpr'].jaxpr, shapes)
    assert scan.params['length'] == T
    assert in_step == B * 4 * (size * joint + 3 * size * size + size * gates)
    before = multiplications_by(jaxpr, shapes) - in_step
    assert before == T * B * 2 * (D * size + size * joint + size * gates)


@both_ways
@all_cases
def test_a_scan_stacks_nothing_but_the_states(case, options):
    scan = functools.partial(scanning.scan_memory, case.config, options=options)
    jaxpr = jax.make_jaxpr(scan)(*arguments(case, np.float32), flags_of('both')).jaxpr
    (scan,) = equations(jaxpr, 'scan')
    stacked = [variable for variable in scan.outvars if variable.aval.shape[0] == T]
    states = 2 if case.config.output_gate else 1
    elements = T * B * case.config.mem_slots * case.config.slot_size
    assert sum(variable.aval.size for variable in stacked) == states * elements


@both_ways
def test_the_gradient_of_a_long_sequence_does_not_stagnate_in_bfloat16(options):
    """A sum in bfloat16 stops growing at 256 times what is added; these are 600 equal steps.

    It would reach 43 %; one step is rounded by some 7 %.
    """
    config = memory.MemoryConfig(1, 2, forget_bias=-60.0, input_bias=60.0)
    numbers = reference.parameters(reference.Case(config, 1))
    params = jax.tree.map(np.float32, reference.memory_params(config, numbers))
    inputs = np.ones((600, 1, 1, D), np.float32)

    def loss(step_params):
        args = inputs, memory.initial_memory(config, 1), unrolling.Flags(), options
        states = scanning.scan_memory(config, params._replace(step=step_params), *args)
        return jnp.sum(states)

    gradient = jax.jit(jax.grad(loss))
    wide = gradient(params.step)
    narrow = gradient(jax.tree.map(lambda x: x.astype(jnp.bfloat16), params.step))
    assert narrow.mlp[-1].b.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(narrow.mlp[-1].b), wide.mlp[-1].b, rtol=0.1)


def kept(scan, case):
    """Elements that are kept from the forward to the backward pass of a scan's parameters."""
    params, *rest = arguments(case, np.float32)
    _, pull_back = jax.eval_shape(lambda p: jax.vjp(lambda p: scan(p, *rest), p), params)
    return sum(leaf.size for leaf in jax.tree.leaves(pull_back))


def test_training_keeps_much_less_than_a_plain_scan():
    case = reference.CASES['unit_gates']

    def kept_with(**options):
        options = unrolling.Options(**options)
        scan = functools.partial(scanning.scan_memory, case.config, options=options)
        return kept(scan, case)

    plain = kept(functools.partial(step_by_step, case.config, flags=None), case)
    stepwise = kept_with(backward='stepwise')
    assert stepwise < 0.5 * plain
    assert kept_with(backward='stepwise', remat=True) < 0.6 * stepwise
    assert kept_with(backward='deferred') < 0.6 * stepwise


def test_the_loop_back_reads_no_copy_of_a_matrix_for_each_step():
    case = reference.Case(memory.MemoryConfig(4, 3, 2, attention_mlp_layers=3, key_size=5), 2)
    train = scanned(case, flags_of('plain'), DEFERRED)
    jaxpr = jax.make_jaxpr(train)(*arguments(case, np.float32)).jaxpr
    _, back = equations(jaxpr, 'scan')
    assert back.params['reverse']
    shapes = {variable.aval.shape for variable in back.invars}
    assert (T, B, 4, 6) in shapes
    assert (6, 6) in shapes
    assert not shapes & {(T, *layer.w.shape) for layer in arguments(case)[0].step.mlp}
