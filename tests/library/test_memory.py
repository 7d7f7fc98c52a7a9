"""Tests of the pure functions of the core."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from relational_rnn import memory
from tests.support import memory_reference as reference

pytestmark = pytest.mark.usefixtures('compile_quickly')
T, B, D = reference.T, reference.B, reference.D
CASES = list(reference.CASES.values())
all_cases = pytest.mark.parametrize('case', CASES, ids=list(reference.CASES))


@pytest.fixture(autouse=True)
def _float64_and_strict_ranks():
    with jax.numpy_rank_promotion('raise'), jax.enable_x64(True):
        yield


def rows_of(case, seed=1):
    return jnp.asarray(reference.inputs(case, seed).reshape(T, B, case.num_rows, D))


@functools.partial(jax.jit, static_argnums=0)
def run(config, params, rows, state):
    """Projects all steps at once, then steps: outputs [T, B, N F], state, attention [T, ...]."""

    def body(state, now):
        state, attention = memory.step(params.step, config, now, state)
        return state, (memory.output(state), attention)

    state, (outputs, attention) = jax.lax.scan(body, state, memory.project(params, config, rows))
    return outputs, state, attention


def initial_memory(config, batch_size=B):
    return jax.tree.map(jnp.float64, memory.initial_memory(config, batch_size))


@all_cases
def test_outputs_state_and_attention_equal_a_float64_loop(case):
    numbers = reference.parameters(case)
    wanted = reference.unroll(numbers, case.config, reference.inputs(case))
    state = initial_memory(case.config)
    outputs, state, attention = run(
        case.config, reference.memory_params(case.config, numbers), rows_of(case), state
    )
    assert outputs.dtype == jnp.float64
    np.testing.assert_allclose(outputs, wanted.outputs, rtol=0, atol=1e-12)
    for leaf, wanted_leaf in zip(jax.tree.leaves(state), wanted.state, strict=True):
        np.testing.assert_allclose(leaf, wanted_leaf, rtol=0, atol=1e-12)
    for block, weights in enumerate(attention):
        asking = case.config.mem_slots
        asking += case.num_rows if block < case.config.num_blocks - 1 else 0
        chex.assert_shape(weights, (T, B, case.config.num_heads, asking, None))
        wanted_weights = wanted.attention[block][:, :, :, :asking]
        np.testing.assert_allclose(weights, wanted_weights, rtol=0, atol=1e-13)


@all_cases
def test_permuting_slots_permutes_the_output(case):
    params = reference.memory_params(case.config, reference.parameters(case))
    order = np.random.default_rng(5).permutation(case.config.mem_slots)
    state = initial_memory(case.config)
    permuted = jax.tree.map(lambda x: x[:, order], state)
    outputs, state, _ = run(case.config, params, rows_of(case), state)
    outputs_permuted, permuted, _ = run(case.config, params, rows_of(case), permuted)
    by_slot = outputs.reshape(T, B, case.config.mem_slots, -1)[:, :, order]
    np.testing.assert_allclose(outputs_permuted, by_slot.reshape(T, B, -1), rtol=0, atol=1e-12)
    chex.assert_trees_all_close(permuted, jax.tree.map(lambda x: x[:, order], state), atol=1e-12)


@pytest.mark.parametrize('name', ['two_blocks', 'output_gate'])
def test_permuting_the_rows_of_an_input_changes_gates_only(name):
    case = reference.CASES[name]
    numbers = reference.parameters(case)
    for_all_rows = np.tile(numbers['input_gates_w'][: case.config.slot_size], (case.num_rows, 1))
    params = reference.memory_params(case.config, numbers)
    symmetric = reference.memory_params(case.config, numbers | {'input_gates_w': for_all_rows})
    rows, state = rows_of(case)[:1], initial_memory(case.config)
    turned = rows[:, :, ::-1]
    outputs, *_ = run(case.config, symmetric, rows, state)
    np.testing.assert_allclose(run(case.config, symmetric, turned, state)[0], outputs, rtol=1e-10)
    different = (
        run(case.config, params, turned, state)[0] - run(case.config, params, rows, state)[0]
    )
    assert float(jnp.max(jnp.abs(different))) > 1e-3


def test_one_block_keeps_no_rows_of_the_input():
    case = reference.CASES['unit_gates']
    params = reference.memory_params(case.config, reference.parameters(case))
    projected = memory.project(params, case.config, rows_of(case))
    assert projected.rows is None
    chex.assert_shape(projected.joint, (T, B, 1, 2, 15))
    assert [gate.shape for gate in projected.gates] == [(T, B, 10)] * 2


def test_initial_memory_is_the_identity_cut_or_padded():
    wide = memory.initial_memory(memory.MemoryConfig(2, 3), None)
    np.testing.assert_array_equal(wide, [[1, 0, 0], [0, 1, 0]])
    tall = memory.initial_memory(memory.MemoryConfig(3, 1, num_heads=2), 2)
    np.testing.assert_array_equal(tall, [[[1, 0], [0, 1], [0, 0]]] * 2)
    assert wide.dtype == tall.dtype == jnp.float64
    with jax.enable_x64(False):
        assert memory.initial_memory(memory.MemoryConfig(2, 3), None).dtype == jnp.float32
    gated = memory.initial_memory(memory.MemoryConfig(2, 3, output_gate=True), None)
    assert isinstance(gated, memory.GatedState)
    np.testing.assert_array_equal(gated.hidden, np.zeros((2, 3)))
    np.testing.assert_array_equal(gated.memory, wide)


def test_output_flattens_slot_after_slot():
    state = jnp.arange(12.0).reshape(2, 2, 3)
    np.testing.assert_array_equal(memory.output(state), [range(6), range(6, 12)])
    gated = memory.GatedState(hidden=state, memory=-state)
    np.testing.assert_array_equal(memory.output(gated), [range(6), range(6, 12)])


def test_one_slot_step_that_can_be_checked_by_hand():
    """One slot of two features; queries, keys, values and the MLP are zero but for one bias.

    Attention adds nothing; the memory (1, 0) is normalised to (1, -1), twice, the MLP having added
    its bias (3, 1), of (4, 0), so the candidate is (1, -1). With biases of log 3 the gates are 3/4.
    """
    config = memory.MemoryConfig(1, 2, attention_mlp_layers=1, forget_bias=np.log(3))
    numbers = reference.parameters(reference.Case(config, 1))
    numbers = {k: np.zeros_like(v) for k, v in numbers.items()}
    numbers |= {k: np.ones_like(v) for k, v in numbers.items() if k.endswith('scale')}
    numbers |= {'mlp_0_b': np.array([3.0, 1.0])}
    numbers |= {'input_gates_b': np.log([3.0, 3.0, 1.0, 1.0])}
    state = initial_memory(config, None)
    rows = jnp.full((1, 1, D), 5.0)
    _, state, attention = run(config, reference.memory_params(config, numbers), rows, state)
    np.testing.assert_allclose(
        state, [0.75 * np.tanh([1, -1]) + 0.75 * np.array([1, 0])], atol=1e-5
    )
    np.testing.assert_array_equal(attention[0], [[[[0.5, 0.5]]]])


def test_gates_shut_keep_the_memory_and_gates_open_replace_it():
    shut = memory.MemoryConfig(3, 2, 2, forget_bias=60.0, input_bias=-60.0)
    opened = memory.MemoryConfig(3, 2, 2, forget_bias=-60.0, input_bias=60.0)
    none = memory.MemoryConfig(3, 2, 2, gate_style=None)
    state = jax.random.normal(jax.random.key(2), (B, 3, 4))
    case = reference.Case(shut, 1)
    numbers = reference.parameters(case)

    def step_of(config):
        return run(config, reference.memory_params(config, numbers), rows_of(case)[:1], state)[1]

    np.testing.assert_allclose(step_of(shut), state, rtol=1e-12)
    np.testing.assert_allclose(step_of(opened), np.tanh(step_of(none)), rtol=1e-12)


def test_memory_gates_are_unit_gates_that_are_equal_within_a_slot():
    config = memory.MemoryConfig(3, 2, num_heads=2, gate_style='memory')
    case = reference.Case(config, 1)
    unit = reference.Case(dataclasses.replace(config, gate_style='unit'), 1)
    numbers = reference.parameters(case)
    repeated = {k: np.repeat(v, 4, axis=-1) for k, v in numbers.items() if 'gates' in k}
    state = initial_memory(config)
    outputs, *_ = run(case.config, reference.memory_params(config, numbers), rows_of(case), state)
    as_unit = reference.memory_params(unit.config, numbers | repeated)
    np.testing.assert_allclose(
        run(unit.config, as_unit, rows_of(case), state)[0], outputs, atol=1e-13
    )


@pytest.mark.parametrize(
    'name',
    ['mem_slots', 'head_size', 'num_heads', 'num_blocks', 'attention_mlp_layers', 'key_size'],
)
@pytest.mark.parametrize('value', [0, -1, 2.0, True])
def test_a_count_is_a_whole_number_of_at_least_one(name, value):
    options = {'mem_slots': 2, 'head_size': 3} | {name: value}
    with pytest.raises(ValueError, match=f'{name} is a whole number of at least 1, got {value}'):
        memory.MemoryConfig(**options)
    memory.MemoryConfig(**{**options, name: np.int64(2)})


def test_an_unknown_gate_style_is_named_beside_the_known_ones():
    with pytest.raises(ValueError, match=r"one of \('unit', 'memory', None\), got 'slot'"):
        memory.MemoryConfig(2, 3, gate_style='slot')


def test_an_output_gate_needs_gates():
    with pytest.raises(ValueError, match=r'output_gate=True needs gate_style .* got None'):
        memory.MemoryConfig(2, 3, gate_style=None, output_gate=True)
