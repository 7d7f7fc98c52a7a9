"""Tests of carrying parameters over from Sonnet and back."""

import ast
import pathlib

import chex
import numpy as np
import pytest

import relational_rnn
from relational_rnn import memory
from tests.support import memory_reference as reference

GOLDEN = sorted((pathlib.Path(__file__).parents[1] / 'golden').glob('*.npz'))
WITHOUT_OUTPUT_GATE = {k: v for k, v in reference.CASES.items() if not v.config.output_gate}


def golden_variables(path):
    golden = np.load(path, allow_pickle=False)
    return {name[2:]: golden[name] for name in golden.files if name.startswith('v:')}


def variables_of(name):
    """Sonnet's variables of a case, by name."""
    params = {'relational_memory': reference.parameters(reference.CASES[name])}
    return relational_rnn.params_to_sonnet(params)


@pytest.mark.parametrize('path', GOLDEN, ids=lambda path: path.stem)
def test_sonnets_variables_come_back_as_they_were(path):
    variables = golden_variables(path)
    params = relational_rnn.params_from_sonnet(variables)
    back = relational_rnn.params_to_sonnet(params)
    chex.assert_trees_all_equal(back, variables)
    assert {leaf.dtype for leaf in params['relational_memory'].values()} == {np.dtype('float32')}


@pytest.mark.parametrize('case', WITHOUT_OUTPUT_GATE.values(), ids=WITHOUT_OUTPUT_GATE)
def test_parameters_come_back_as_they_were(case):
    numbers = {name: np.float32(value) for name, value in reference.parameters(case).items()}
    params = {'net/core': numbers, 'net/linear': {'w': np.ones((2, 3))}}
    variables = relational_rnn.params_to_sonnet(params, 'net/core')
    back = relational_rnn.params_from_sonnet(variables, module_name='net/core')
    chex.assert_trees_all_equal(back, {'net/core': numbers})


def test_names_and_values_of_one_block_by_hand():
    case = reference.CASES['unit_gates']
    numbers, variables = reference.parameters(case), variables_of('unit_gates')
    assert variables['linear/w'].shape == (7, 10)
    assert variables['linear_1/w'].shape == (10, 2 * 15)
    for theirs, ours in {
        'linear/b': 'input_b',
        'linear_1/w': 'projection_0_w',
        'layer_norm/gamma': 'projection_norm_0_scale',
        'layer_norm_1/beta': 'attention_norm_0_offset',
        'layer_norm_2/gamma': 'mlp_norm_0_scale',
        'mlp/linear_1/w': 'mlp_1_w',
        'linear_2/w': 'input_gates_w',
        'linear_3/b': 'memory_gates_b',
    }.items():
        np.testing.assert_array_equal(variables[theirs], numbers[ours], err_msg=theirs)


def test_numbers_go_on_through_two_blocks_and_the_mlp_is_one_for_all():
    case = reference.CASES['output_gate_memory_two_blocks']
    config = memory.MemoryConfig(2, 5, num_heads=2, num_blocks=2, key_size=3)
    numbers = reference.parameters(reference.Case(config, case.num_rows))
    variables = relational_rnn.params_to_sonnet({'relational_memory': numbers})
    for theirs, ours in {
        'linear_1/w': 'projection_0_w',
        'linear_2/w': 'projection_1_w',
        'layer_norm_2/beta': 'mlp_norm_0_offset',
        'layer_norm_3/gamma': 'projection_norm_1_scale',
        'layer_norm_4/gamma': 'attention_norm_1_scale',
        'layer_norm_5/beta': 'mlp_norm_1_offset',
        'linear_3/w': 'input_gates_w',
        'linear_4/w': 'memory_gates_w',
    }.items():
        np.testing.assert_array_equal(variables[theirs], numbers[ours], err_msg=theirs)
    assert [name for name in variables if name.startswith('mlp')] == [
        f'mlp/linear_{i}/{leaf}' for i in (0, 1) for leaf in 'wb'
    ]


def test_without_gates_the_last_two_linears_are_absent():
    assert [name for name in variables_of('no_gates') if name.startswith('linear')] == [
        *('linear/w', 'linear/b', 'linear_1/w', 'linear_1/b')
    ]


def test_the_gates_of_an_input_of_several_rows_see_all_of_them():
    assert variables_of('two_blocks')['linear_3/w'].shape == (2 * 8, 2 * 8)
    assert variables_of('two_blocks')['linear_4/w'].shape == (8, 2 * 8)


@pytest.mark.parametrize(
    'form',
    [
        '{}',
        '{}:0',
        'scope/relational_memory/{}',
        'a/b/{}:0',
        'mlp/relational_memory/{}',
        'linear/{}:0',
    ],
)
def test_scopes_and_the_zero_at_the_end_are_taken_off(form):
    variables = golden_variables(GOLDEN[0])
    scoped = {form.format(name): value for name, value in variables.items()}
    chex.assert_trees_all_equal(
        relational_rnn.params_from_sonnet(scoped), relational_rnn.params_from_sonnet(variables)
    )


def test_every_unknown_and_missing_variable_is_named():
    variables = golden_variables(GOLDEN[0])
    del variables['layer_norm_1/beta'], variables['mlp/linear_0/w']
    variables |= {'linear_7x/w': np.ones(2), 'dense/kernel:0': np.ones(3)}
    wanted = 'unknown: dense/kernel:0, linear_7x/w; missing: layer_norm_1/beta, mlp/linear_0/w'
    with pytest.raises(ValueError, match=wanted):
        relational_rnn.params_from_sonnet(variables)


def test_no_variables_at_all():
    with pytest.raises(ValueError, match=r'missing: layer_norm/beta, .*, mlp/linear_0/w'):
        relational_rnn.params_from_sonnet({})


@pytest.mark.parametrize('name', sorted(golden_variables(GOLDEN[0])))
def test_a_misshaped_variable_is_named(name):
    variables = golden_variables(GOLDEN[0])
    variables[name] = np.pad(variables[name], 1)
    with pytest.raises(ValueError, match='misshaped: ') as error:
        relational_rnn.params_from_sonnet(variables)
    assert name in str(error.value)


def test_a_variable_of_another_rank_is_named():
    variables = golden_variables(GOLDEN[0])
    for name in ('linear/w', 'linear_1/w', 'linear_2/w', 'linear_3/w', 'layer_norm/gamma'):
        for value in (np.float32(1.0), variables[name][None]):
            with pytest.raises(ValueError, match=f'misshaped: .*{name}'):
                relational_rnn.params_from_sonnet(variables | {name: value})


@pytest.mark.parametrize('width', [1, 3])
def test_gates_that_are_neither_one_a_unit_nor_one_a_slot(width):
    variables = golden_variables(GOLDEN[0])
    for name in ('linear_2/w', 'linear_2/b', 'linear_3/w', 'linear_3/b'):
        variables[name] = np.ones((*variables[name].shape[:-1], width), np.float32)
    with pytest.raises(ValueError, match=f'gates are 2 or 16 wide, got {width}'):
        relational_rnn.params_from_sonnet(variables)


def test_the_variables_of_two_modules_at_once():
    variables = golden_variables(GOLDEN[0])
    both = {f'{scope}/{name}': value for scope in ('a', 'b') for name, value in variables.items()}
    with pytest.raises(ValueError, match="'a/linear/w' and 'b/linear/w' are both 'linear/w'"):
        relational_rnn.params_from_sonnet(both)


def test_a_module_that_is_not_there():
    params = {'net/core': reference.parameters(reference.CASES['unit_gates']), 'other': {}}
    with pytest.raises(ValueError, match=r"no module 'core' .*, only \['net/core', 'other'\]"):
        relational_rnn.params_to_sonnet(params, 'core')


def test_a_module_of_another_kind():
    with pytest.raises(ValueError, match="'lstm/linear' is no RelationalMemory"):
        relational_rnn.params_to_sonnet({'lstm/linear': {'w': np.ones((2, 3))}}, 'lstm/linear')


@pytest.mark.parametrize('name', ['output_gate', 'output_gate_memory_two_blocks'])
def test_an_output_gate_has_no_counterpart_in_sonnet(name):
    with pytest.raises(ValueError, match="'relational_memory' has no counterpart in Sonnet"):
        variables_of(name)


@pytest.mark.parametrize('path', GOLDEN, ids=lambda path: path.stem)
def test_parameters_of_the_golden_files_have_the_references_shapes(path):
    config = ast.literal_eval(str(np.load(path, allow_pickle=False)['config']))
    wanted = reference.parameters(reference.Case(memory.MemoryConfig(**config), 1))
    got = relational_rnn.params_from_sonnet(golden_variables(path))['relational_memory']
    chex.assert_trees_all_equal_shapes(dict(got), wanted)
