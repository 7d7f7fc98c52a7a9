"""Tests of a core's parameters in their four forms: all give the authors' numbers."""

import ast
import pathlib

import chex
import equinox as eqx
from flax import nnx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational_rnn
from relational_rnn import conversion, functional, memory
from relational_rnn import equinox as for_equinox
from relational_rnn import flax as for_flax
from tests.support import memory_reference as reference

pytestmark = pytest.mark.usefixtures('compile_quickly')
GOLDEN = sorted((pathlib.Path(__file__).parents[1] / 'golden').glob('*.npz'))
CASE = reference.CASES['two_blocks']
cases = pytest.mark.parametrize('case', reference.CASES.values(), ids=reference.CASES)


def haiku_params(case):
    numbers = reference.parameters(case)
    return {'relational_memory': {name: np.float32(value) for name, value in numbers.items()}}


def flax_cell(config, params, input_size, num_rows=None):
    cell = for_flax.RelationalMemoryCell(
        input_size, config, num_rows=num_rows, rngs=nnx.Rngs(params=3)
    )
    cell.set_params(params)
    return cell


def equinox_core(config, params, input_size, num_rows=1):
    core = for_equinox.RelationalMemory(input_size, config, num_rows, key=jax.random.key(3))
    return core.with_params(params)


def by_hand(config, params, inputs, state):
    def body(state, inputs):
        return functional.step(params, config, inputs, state)[::-1]

    state, outputs = jax.lax.scan(body, state, inputs)
    return outputs, state


def by_flax(config, params, inputs, state):
    cell = flax_cell(config, params, inputs.shape[-1])
    state, outputs = nnx.RNN(cell, time_major=True)(inputs, initial_carry=state, return_carry=True)
    return outputs, state


def by_flaxs_unroll(config, params, inputs, state):
    return flax_cell(config, params, inputs.shape[-1]).unroll(inputs, state)


def by_equinox(config, params, inputs, state):
    core = equinox_core(config, params, inputs.shape[-1])
    step = jax.vmap(core)
    state, outputs = jax.lax.scan(lambda state, x: step(x, state)[::-1], state, inputs)
    return outputs, state


def by_equinoxs_unroll(config, params, inputs, state):
    core = equinox_core(config, params, inputs.shape[-1])
    run = jax.vmap(core.unroll, in_axes=(1, 0), out_axes=(1, 0))  # of one sequence each
    return run(inputs, state)


def relative_error(got, wanted):
    return np.max(np.abs(np.asarray(got) - wanted)) / np.max(np.abs(wanted))


@pytest.mark.parametrize('path', GOLDEN, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    'run', [functional.unroll, by_hand, by_flax, by_flaxs_unroll, by_equinox, by_equinoxs_unroll]
)
def test_outputs_and_gradients_are_those_of_the_authors_implementation(path, run):
    if run is functional.unroll:
        run = lambda config, params, *rest: functional.unroll(params, config, *rest)  # noqa: E731
    golden = np.load(path, allow_pickle=False)
    variables, gradients = (
        {name[2:]: golden[name] for name in golden.files if name.startswith(kind)}
        for kind in ('v:', 'g:')
    )
    config = memory.MemoryConfig(**ast.literal_eval(str(golden['config'])))
    named = relational_rnn.params_from_sonnet(variables)
    params = relational_rnn.params_from_haiku(named, config)

    def loss_and_outputs(params, inputs):
        state = memory.initial_memory(config, len(inputs))
        outputs, state = run(config, params, inputs.swapaxes(0, 1), state)
        weights = jnp.broadcast_to(jnp.linspace(1, 2, outputs.shape[-1]), outputs.shape)
        return jnp.mean(jnp.square(outputs) * weights), (outputs.swapaxes(0, 1), state)

    differentiate = jax.jit(jax.value_and_grad(loss_and_outputs, argnums=(0, 1), has_aux=True))
    (loss, (outputs, state)), (d_params, d_inputs) = differentiate(params, golden['x'])
    assert relative_error(outputs, golden['out']) <= 2e-6
    assert relative_error(state, golden['state']) <= 2e-6
    assert relative_error(loss, golden['loss']) <= 2e-6
    assert relative_error(d_inputs, golden['dx']) <= 2e-5
    ours = relational_rnn.params_to_sonnet(relational_rnn.params_to_haiku(d_params, config))
    assert ours.keys() == gradients.keys()
    errors = {name: relative_error(ours[name], gradients[name]) for name in gradients}
    assert max(errors.values()) <= 2e-5, errors


@cases
def test_parameters_go_through_all_four_forms_without_loss(case):
    first = haiku_params(case)
    params = relational_rnn.params_from_haiku(first, case.config)
    cell = flax_cell(case.config, params, reference.D, case.num_rows)
    core = equinox_core(case.config, cell.get_params(), reference.D, case.num_rows)
    last = relational_rnn.params_to_haiku(core.params, case.config)
    chex.assert_trees_all_equal(last, first)


def test_a_flax_cell_has_haikus_names():
    params = relational_rnn.params_from_haiku(haiku_params(CASE), CASE.config)
    state = nnx.state(flax_cell(CASE.config, params, reference.D, CASE.num_rows), nnx.Param)
    named = haiku_params(CASE)['relational_memory']
    assert set(state) == set(named)
    np.testing.assert_array_equal(
        state['projection_norm_1_scale'][...], named['projection_norm_1_scale']
    )


@cases
def test_initial_values_have_haikus_names_shapes_and_distributions(case):
    def run(inputs):
        core = relational_rnn.RelationalMemory(
            **{name: getattr(case.config, name) for name in case.config.__dataclass_fields__}
        )
        return core(inputs, core.initial_state(2))

    inputs = jnp.ones((2, case.num_rows, reference.D))
    wanted = jax.jit(hk.transform(run).init)(jax.random.key(1), inputs)
    params = memory.init(jax.random.key(2), case.config, reference.D, case.num_rows)
    got = relational_rnn.params_to_haiku(params, case.config)
    chex.assert_trees_all_equal_shapes_and_dtypes(got, wanted)
    for name, value in got['relational_memory'].items():
        if not name.endswith('_w'):
            np.testing.assert_array_equal(value, wanted['relational_memory'][name])


def test_initial_matrices_are_a_normal_cut_at_two_and_different():
    config = memory.MemoryConfig(2, 64, num_heads=2)
    first = memory.init(jax.random.key(0), config, 100, dtype=jnp.float16)
    second = memory.init(jax.random.key(1), config, 100, dtype=jnp.float16)
    assert {leaf.dtype for leaf in jax.tree.leaves(first)} == {jnp.dtype('float16')}
    matrices = {name: x for name, x in conversion.flatten(first, config).items() if x.ndim == 2}
    for name, w in matrices.items():
        scaled = np.float64(w) * len(w) ** 0.5
        assert 1.95 < np.abs(scaled).max() <= 2.01, name
        assert abs(scaled.std() - 0.8796) < 0.02, name  # of a standard normal cut at -2 and 2
        assert abs(scaled.mean()) < 0.03, name
    assert jnp.any(first.step.mlp[0].w != first.step.mlp[1].w)
    assert jnp.any(first.input.w != second.input.w)


@pytest.mark.parametrize('sizes', [(0, 1), (3, 0)])
def test_sizes_below_one(sizes):
    with pytest.raises(ValueError, match='whole number of at least 1, got 0'):
        memory.init(jax.random.key(0), CASE.config, *sizes)


def test_parameters_of_another_core():
    params = memory.init(jax.random.key(0), CASE.config, 7)
    named = conversion.flatten(params, CASE.config)
    with pytest.raises(ValueError, match=r'input_w is of shape .*8, .*got .*7'):
        conversion.check(params, CASE.config, 8, 1)
    with pytest.raises(ValueError, match='the parameters are a tree'):
        conversion.flatten(params._replace(input_gates=None), CASE.config)
    with pytest.raises(ValueError, match=r"unknown or missing: \['else', 'mlp_0_b'\]"):
        conversion.unflatten(
            {'else' if k == 'mlp_0_b' else k: v for k, v in named.items()}, CASE.config
        )
    with pytest.raises(ValueError, match='mlp_0_b is of shape'):
        conversion.unflatten(named | {'mlp_0_b': named['mlp_0_b'][:-1]}, CASE.config)
    with pytest.raises(ValueError, match=r"no module 'core' in the parameters, only \['net'\]"):
        relational_rnn.params_from_haiku({'net': named}, CASE.config, 'core')


@pytest.mark.parametrize('run', [functional.step, functional.unroll])
def test_inputs_of_another_size(run):
    params = memory.init(jax.random.key(0), CASE.config, 7)
    inputs = jnp.ones((5, 8)) if run is functional.step else jnp.ones((3, 5, 8))
    with pytest.raises(ValueError, match='inputs of 1 x 8 the parameter'):
        run(params, CASE.config, inputs, memory.initial_memory(CASE.config, 5))


@pytest.mark.parametrize('name', ['two_blocks', 'output_gate_memory_two_blocks'])
def test_unrolls_of_flax_and_equinox_reset_and_end_as_that_of_haiku(name):
    case = reference.CASES[name]  # the first takes inputs of several rows, the other has two states
    inputs = np.float32(reference.inputs(case))
    t, b = inputs.shape[:2]
    resets = np.zeros((t, b), bool)
    resets[1, 0] = True
    lengths = np.arange(b) % t + 1
    config, named = case.config, haiku_params(case)

    def run(inputs):
        core = relational_rnn.RelationalMemory(
            **{name: getattr(config, name) for name in config.__dataclass_fields__}
        )
        return relational_rnn.unroll(core, inputs, core.initial_state(b), resets, lengths)

    wanted = jax.jit(hk.without_apply_rng(hk.transform(run)).apply)(named, inputs)
    params = relational_rnn.params_from_haiku(named, config)
    num_rows = None if inputs.ndim == 3 else case.num_rows
    cell = flax_cell(config, params, reference.D, num_rows)
    core = equinox_core(config, params, reference.D, case.num_rows)
    carry = cell.initialize_carry(inputs.shape[1:])
    got = nnx.jit(lambda cell: cell.unroll(inputs, carry, resets, lengths))(cell)
    chex.assert_trees_all_equal(got, wanted)
    got = eqx.filter_jit(core.unroll)(inputs, core.initial_state(b), resets, lengths)
    chex.assert_trees_all_equal(got, wanted)


def test_flaxs_rnn_starts_from_the_identity_batch_major():
    config = memory.MemoryConfig(3, 4)
    cell = for_flax.RelationalMemoryCell(5, config, rngs=nnx.Rngs(0))
    inputs = jax.random.normal(jax.random.key(0), (2, 6, 5))
    outputs = nnx.RNN(cell)(inputs)
    wanted, _ = cell.unroll(inputs.swapaxes(0, 1), memory.initial_memory(config, 2))
    np.testing.assert_allclose(outputs.swapaxes(0, 1), wanted, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match='one batch dimension or none'):
        cell.initialize_carry((2, 3, 5))
    assert cell.initialize_carry((5,)).shape == (3, 4)


def test_a_flax_cell_of_matrices_has_two_feature_axes():
    config = memory.MemoryConfig(3, 4)
    cell = for_flax.RelationalMemoryCell(5, config, num_rows=2, rngs=nnx.Rngs(0))
    assert cell.num_feature_axes == 2
    assert nnx.RNN(cell)(jnp.ones((7, 6, 2, 5))).shape == (7, 6, 12)


def test_parameters_of_another_size_or_of_integers_do_not_enter_a_flax_cell():
    cell = for_flax.RelationalMemoryCell(5, CASE.config, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match='input_w is of shape'):
        cell.set_params(memory.init(jax.random.key(0), CASE.config, 6))
    params = memory.init(jax.random.key(0), CASE.config, 5)
    with pytest.raises(ValueError, match='parameters are of a floating dtype, got int32'):
        cell.set_params(jax.tree.map(lambda leaf: leaf.astype(int), params))
