"""Tests of the Haiku module: the authors' numbers, Haiku's wrappers, policies, errors."""

import ast
import itertools
import pathlib
import subprocess
import sys

import chex
import haiku as hk
import jax
from jax import test_util
import jax.numpy as jnp
import jmp
import numpy as np
import pytest

import relational_rnn
from relational_rnn import core as core_lib
from relational_rnn import memory
from tests.support import memory_reference as reference

pytestmark = pytest.mark.usefixtures('compile_quickly')
T, B, D = reference.T, reference.B, reference.D
GOLDEN = sorted((pathlib.Path(__file__).parents[1] / 'golden').glob('*.npz'))
unrolls = pytest.mark.parametrize('unroll', [hk.dynamic_unroll, relational_rnn.unroll])


@pytest.fixture(autouse=True)
def _strict_ranks():
    with jax.numpy_rank_promotion('raise'):
        yield


@pytest.fixture
def policy():
    """Sets a jmp policy on a module class and clears it afterwards."""
    classes = []

    def set_policy(cls, text):
        hk.mixed_precision.set_policy(cls, jmp.get_policy(text))
        classes.append(cls)

    yield set_policy
    for cls in classes:
        hk.mixed_precision.clear_policy(cls)


def make_core(config, name=None):
    options = {field: getattr(config, field) for field in memory.MemoryConfig.__dataclass_fields__}
    return relational_rnn.RelationalMemory(**options, name=name)


def haiku_params(case):
    numbers = reference.parameters(case)
    return {'relational_memory': {name: np.float32(value) for name, value in numbers.items()}}


def transformed(function):
    return hk.without_apply_rng(hk.transform(function))


def plain(config, unroll=hk.dynamic_unroll):
    """An unroll from the initial state, as a pure function of parameters and inputs."""

    def run(inputs):
        core = make_core(config)
        return unroll(core, inputs, core.initial_state(inputs.shape[1]))

    return transformed(run)


def wanted(case):
    """What the float64 reference gives for `haiku_params` and `reference.inputs`."""
    return reference.unroll(reference.parameters(case), case.config, reference.inputs(case))


def assert_is_run(outputs, state, run, atol=5e-6):
    np.testing.assert_allclose(np.float32(outputs), run.outputs, rtol=0, atol=atol)
    for leaf, wanted_leaf in zip(jax.tree.leaves(state), run.state, strict=True):
        np.testing.assert_allclose(leaf, wanted_leaf, rtol=0, atol=atol)


def relative_error(got, want):
    return float(np.max(np.abs(np.float64(got) - want)) / np.max(np.abs(want)))


def equations(jaxpr):
    """Yields the equations of a jaxpr and of all jaxprs that it calls."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for part in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(part, 'jaxpr', part)
                if hasattr(inner, 'eqns'):
                    yield from equations(inner)


def operand_dtypes(function, primitive, *args):
    """The dtypes of all arrays that go into a primitive in a function's jaxpr."""
    jaxpr = jax.make_jaxpr(function)(*args).jaxpr
    found = [eqn for eqn in equations(jaxpr) if eqn.primitive.name == primitive]
    return {variable.aval.dtype.name for eqn in found for variable in eqn.invars}


# --- The authors' implementation


def golden_run(config, unroll):
    """Outputs, state, loss and its gradients by parameters and inputs, for a golden file."""
    apply = plain(config, unroll).apply

    def loss_fn(params, inputs):
        outputs, state = apply(params, inputs.swapaxes(0, 1))
        weights = jnp.broadcast_to(jnp.linspace(1, 2, outputs.shape[-1]), outputs.shape)
        return jnp.mean(jnp.square(outputs) * weights), (outputs.swapaxes(0, 1), state)

    return jax.jit(jax.value_and_grad(loss_fn, argnums=(0, 1), has_aux=True))


def deferred_unroll(core, inputs, state):
    return relational_rnn.unroll(core, inputs, state, backward='deferred')


def rematerialized_unroll(core, inputs, state):
    return hk.dynamic_unroll(hk.remat(core), inputs, state)


@pytest.mark.parametrize(
    ('path', 'unroll'),
    [
        *itertools.product(GOLDEN, [hk.dynamic_unroll, relational_rnn.unroll, deferred_unroll]),
        (GOLDEN[1], rematerialized_unroll),
    ],
    ids=lambda value: getattr(value, 'stem', None),
)
def test_outputs_and_gradients_are_those_of_the_authors_implementation(path, unroll):
    golden = np.load(path, allow_pickle=False)
    variables, gradients = (
        {name[2:]: golden[name] for name in golden.files if name.startswith(kind)}
        for kind in ('v:', 'g:')
    )
    config = memory.MemoryConfig(**ast.literal_eval(str(golden['config'])))
    np.testing.assert_array_equal(memory.initial_memory(config, 4), golden['init'])
    params = relational_rnn.params_from_sonnet(variables)
    (loss, (outputs, state)), (d_params, d_inputs) = golden_run(config, unroll)(
        params, jnp.asarray(golden['x'])
    )
    assert relative_error(outputs, golden['out']) <= 2e-6
    assert relative_error(state, golden['state']) <= 2e-6
    assert relative_error(loss, golden['loss']) <= 2e-6
    assert relative_error(d_inputs, golden['dx']) <= 2e-5
    ours = relational_rnn.params_to_sonnet(d_params)
    assert ours.keys() == gradients.keys()
    errors = {name: relative_error(ours[name], gradients[name]) for name in gradients}
    assert max(errors.values()) <= 2e-5, errors


def test_there_are_three_golden_files():
    assert [path.stem for path in GOLDEN] == ['memory_b1', 'one_slot', 'unit_b1']


# --- Haiku's and JAX's wrappers


def test_a_step_that_is_not_compiled_is_that_of_the_reference():
    case = reference.CASES['unit_gates']
    step = transformed(lambda x, state: make_core(case.config)(x, state)).apply
    x = np.float32(reference.inputs(case)[0])
    output, state = step(haiku_params(case), x, memory.initial_memory(case.config, B))
    run = reference.unroll(reference.parameters(case), case.config, reference.inputs(case)[:1])
    assert_is_run(np.asarray(output)[None], state, run)


def test_haiku_vmap_over_unbatched_cores_is_the_batch():
    case = reference.CASES['two_blocks']

    def run(inputs):
        core = make_core(case.config)
        step = hk.vmap(core, split_rng=not hk.running_init())
        return hk.dynamic_unroll(step, inputs, core.initial_state(B))

    key, inputs = jax.random.key(0), np.float32(reference.inputs(case))
    function = hk.transform(run)
    made = jax.eval_shape(function.init, key, inputs)
    chex.assert_trees_all_equal_shapes(made, haiku_params(case))
    assert_is_run(*jax.jit(function.apply)(haiku_params(case), key, inputs), wanted(case))


# --- Precision

HALF = 'params=float32,compute=bfloat16,output=bfloat16'


class Network(hk.Module):
    """A user's module with a core inside; keeps the state apart from what a policy casts."""

    def __init__(self, config, unroll):
        super().__init__()
        self.config, self.unroll, self.state = config, unroll, None

    def __call__(self, inputs, initial):
        outputs, self.state = self.unroll(make_core(self.config), inputs, initial())
        return outputs


def network(config, unroll, initial=None):
    """The network as a pure function: parameters and inputs to outputs and state."""

    def run(inputs):
        module = Network(config, unroll)
        start = memory.initial_memory(config, inputs.shape[1]) if initial is None else initial
        return module(inputs, lambda: start), module.state

    return transformed(run)


def network_params(case):
    return {'network/relational_memory': haiku_params(case)['relational_memory']}


owners = pytest.mark.parametrize('owner', [relational_rnn.RelationalMemory, Network])


@pytest.mark.parametrize(
    ('owner', 'unroll', 'name'),
    [
        (relational_rnn.RelationalMemory, hk.dynamic_unroll, 'output_gate'),
        (relational_rnn.RelationalMemory, relational_rnn.unroll, 'two_blocks'),
        (Network, hk.dynamic_unroll, 'two_blocks'),
        (Network, relational_rnn.unroll, 'output_gate'),
    ],
)
def test_half_precision_is_near_float32_in_a_float32_state(policy, owner, unroll, name):
    policy(owner, HALF)
    case = reference.CASES[name]
    function, inputs = network(case.config, unroll), np.float32(reference.inputs(case))
    made = jax.eval_shape(function.init, jax.random.key(0), inputs)
    chex.assert_trees_all_equal_shapes_and_dtypes(made, network_params(case))  # stored in float32
    outputs, state = jax.jit(function.apply)(network_params(case), inputs)
    assert outputs.dtype == jnp.bfloat16
    assert_is_run(outputs, state, wanted(case), atol=0.1)
    for leaf in jax.tree.leaves(state):
        assert leaf.dtype == jnp.float32
        leaf = np.asarray(leaf)
        assert np.mean(leaf.astype(jnp.bfloat16).astype(np.float32) != leaf) > 0.9


@owners
@unrolls
def test_half_precision_multiplies_in_bfloat16_and_normalises_in_float32(policy, owner, unroll):
    policy(owner, HALF)
    case = reference.CASES['two_blocks']
    args = network_params(case), np.float32(reference.inputs(case))
    apply = network(case.config, unroll).apply
    assert operand_dtypes(apply, 'dot_general', *args) == {'bfloat16'}
    assert operand_dtypes(apply, 'rsqrt', *args) == {'float32'}
    gradient = jax.grad(lambda *args: jnp.sum(apply(*args)[0].astype(jnp.float32)))
    chex.assert_trees_all_equal_dtypes(jax.eval_shape(gradient, *args), args[0])


@owners
@unrolls
def test_half_precision_never_rounds_a_memory_that_is_kept(policy, owner, unroll):
    policy(owner, HALF)
    config = memory.MemoryConfig(4, 5, num_heads=2, forget_bias=60.0, input_bias=-60.0)
    case = reference.Case(config, 1)
    initial = jax.random.normal(jax.random.key(8), (B, 4, 10))
    apply = jax.jit(network(config, unroll, initial).apply)
    _, state = apply(network_params(case), np.float32(reference.inputs(case)))
    np.testing.assert_array_equal(state, initial)


def test_the_output_has_the_policys_output_dtype_and_all_its_bits(policy):
    policy(relational_rnn.RelationalMemory, 'params=float32,compute=bfloat16,output=float32')
    case = reference.CASES['unit_gates']
    outputs, state = jax.jit(network(case.config, hk.dynamic_unroll).apply)(
        network_params(case), np.float32(reference.inputs(case))
    )
    assert outputs.dtype == jnp.float32
    np.testing.assert_array_equal(outputs[-1], state.reshape(B, -1))


@unrolls
def test_without_a_policy_bfloat16_inputs_are_computed_in_float32(unroll):
    case = reference.CASES['unit_gates']
    inputs = reference.inputs(case).astype(jnp.bfloat16)
    apply = plain(case.config, unroll).apply
    assert operand_dtypes(apply, 'dot_general', haiku_params(case), inputs) == {'float32'}
    exact = reference.unroll(reference.parameters(case), case.config, inputs.astype(np.float64))
    assert_is_run(*jax.jit(apply)(haiku_params(case), inputs), exact)


# --- Parameters


@pytest.mark.parametrize(
    ('slots', 'size', 'heads', 'gate_style', 'millions'),
    [  # counted by hand from the shapes of the layers, for the sizes of the paper's section A.1
        (1, 2048, 8, 'unit', 37.872),
        (1, 2048, 1, 'memory', 21.094),
        (8, 256, 8, 'unit', 0.605),
        (8, 256, 1, 'memory', 0.343),
        (16, 128, 16, 'unit', 0.155),
        (16, 128, 8, 'memory', 0.090),
    ],
)
def test_the_number_of_parameters_is_that_of_the_layers(slots, size, heads, gate_style, millions):
    config = memory.MemoryConfig(slots, size // heads, heads, gate_style=gate_style)
    params = jax.eval_shape(plain(config).init, jax.random.key(0), jnp.zeros((1, 2, 40)))
    assert round(sum(leaf.size for leaf in jax.tree.leaves(params)) / 1e6, 3) == millions


@pytest.mark.parametrize('case', reference.CASES.values(), ids=reference.CASES)
def test_parameters_have_the_names_and_shapes_of_the_reference(case):
    inputs = np.float32(reference.inputs(case))
    params = jax.eval_shape(plain(case.config).init, jax.random.key(0), inputs)
    chex.assert_trees_all_equal_shapes_and_dtypes(params, haiku_params(case))


def test_weights_start_as_truncated_normals_by_fan_in_and_biases_as_zero():
    config = memory.MemoryConfig(2, 32, num_heads=3, num_blocks=2)
    params = jax.jit(plain(config).init)(jax.random.key(0), jnp.zeros((1, 2, 50)))
    first = set()
    for name, value in params['relational_memory'].items():
        if name.endswith('_w'):
            scaled = np.asarray(value) * value.shape[0] ** 0.5
            assert np.std(scaled) == pytest.approx(0.88, rel=0.04)  # a normal that is cut at 2
            assert 1.9 < np.abs(scaled).max() < 2.0001
            first.add(float(scaled[0, 0]))
        else:
            assert set(np.unique(value)) == {1.0 if name.endswith('_scale') else 0.0}, name
    assert len(first) == 7  # every weight has a key of its own


# --- Errors, all when the function is traced


def trace_step(inputs, state, output_gate=False):
    config = memory.MemoryConfig(4, 5, num_heads=2, output_gate=output_gate)
    step = hk.transform(lambda x, state: make_core(config)(x, state))
    return jax.eval_shape(step.init, jax.random.key(0), inputs, state)


def array(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


@pytest.mark.parametrize(
    ('shape', 'state', 'words'),
    [
        ((2, 7), array(3, 4, 10), r'\[B, D\] or \[B, K, D\] with B = 3 .*got shape \(2, 7\)'),
        ((7,), array(3, 4, 10), r'with B = 3 .*got shape \(7,\)'),
        ((3, 2, 2, 7), array(3, 4, 10), r'with B = 3 .*got shape \(3, 2, 2, 7\)'),
        ((3, 0), array(3, 4, 10), r'none of them 0, got shape \(3, 0\)'),
        ((3, 0, 7), array(3, 4, 10), r'none of them 0, got shape \(3, 0, 7\)'),
        ((), array(4, 10), r'inputs are \[D\] or \[K, D\] for a state without B, .*\(\)'),
        ((3, 2, 7), array(4, 10), r'for a state without B, .*got shape \(3, 2, 7\)'),
    ],
)
def test_inputs_that_do_not_fit_the_state(shape, state, words):
    with pytest.raises(ValueError, match=words):
        trace_step(array(*shape), state)


@pytest.mark.parametrize('dtype', ['int32', 'bool', 'complex64'])
def test_inputs_and_state_are_of_a_floating_dtype(dtype):
    with pytest.raises(ValueError, match=f'^inputs are of a floating dtype, got {dtype}'):
        trace_step(array(3, 7, dtype=dtype), array(3, 4, 10))
    with pytest.raises(ValueError, match=f'^the state is of a floating dtype, got {dtype}'):
        trace_step(array(3, 7), array(3, 4, 10, dtype=dtype))


@pytest.mark.parametrize('shape', [(3, 4, 9), (3, 5, 10), (4,), (2, 3, 4, 10), (40,), (3, 40), ()])
def test_a_state_of_another_shape(shape):
    with pytest.raises(
        ValueError, match=r'of type Array and shapes \[4, 10\], with or without B in front, got'
    ):
        trace_step(array(3, 7), array(*shape))


@pytest.mark.parametrize(
    ('state', 'output_gate'),
    [
        (memory.GatedState(array(3, 4, 10), array(3, 4, 10)), False),
        (array(3, 4, 10), True),
        ((array(3, 4, 10), array(3, 4, 10)), True),
        (memory.GatedState(array(3, 4, 10), array(2, 4, 10)), True),
        (None, False),
        (hk.LSTMState(array(3, 4, 10), array(3, 4, 10)), False),
    ],
)
def test_a_state_of_another_type(state, output_gate):
    kind = 'GatedState' if output_gate else 'Array'
    with pytest.raises(ValueError, match=f'the state is of type {kind} and shapes'):
        trace_step(array(3, 7), state, output_gate)


@unrolls
def test_an_input_size_other_than_that_of_the_parameters(unroll):
    case = reference.CASES['unit_gates']
    with pytest.raises(ValueError, match='relational_memory/input_w'):
        jax.eval_shape(plain(case.config, unroll).apply, haiku_params(case), array(T, B, D + 1))


def test_the_module_checks_its_arguments_when_it_is_made():
    make = hk.transform(lambda: core_lib.RelationalMemory(3, 4, gate_style='units'))
    with pytest.raises(ValueError, match="got 'units'"):
        make.init(jax.random.key(0))


def test_only_the_output_gate_is_new_to_those_who_know_sonnets_constructor():
    make = hk.transform(lambda: core_lib.RelationalMemory(3, 4, 2, 5, 0.5, 0.25, None, 6, 7).config)
    config = make.apply({}, None)
    assert config == memory.MemoryConfig(3, 4, 2, 5, 0.5, 0.25, None, 6, 7, output_gate=False)


def test_haikus_table_of_a_network_shows_shapes():
    case = reference.CASES['unit_gates']

    def run(inputs):
        core = make_core(case.config)
        return core(inputs[0], core.initial_state(B))[0]

    table = hk.experimental.tabulate(transformed(run))(np.float32(reference.inputs(case)))
    assert 'function' not in table
    assert 'projection_0_w: f32[10,30]' in table


def test_the_library_changes_no_setting_of_jax():
    script = """
import importlib, pkgutil
import jax
before = dict(jax.config.values)
import relational_rnn
for module in pkgutil.walk_packages(relational_rnn.__path__, 'relational_rnn.'):
    importlib.import_module(module.name)
after = dict(jax.config.values)
assert before == after, {k: v for k, v in after.items() if before[k] != v}
print(len(before))
"""
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50
    assert 'jax_default_matmul_precision' in jax.config.values


def test_haikus_unroll_is_differentiated_in_forward_mode_too():
    case = reference.CASES['two_blocks']
    apply = plain(case.config).apply
    with jax.enable_x64(True):
        params = {'relational_memory': reference.parameters(case)}
        inputs = reference.inputs(case)
        outputs = jax.jit(lambda inputs: apply(params, inputs)[0])
        test_util.check_grads(outputs, (inputs,), order=1, modes=['fwd', 'rev'], eps=1e-7)
