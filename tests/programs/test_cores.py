"""The registry of cores: sizes that match the RMC's, flags that fit."""

import dataclasses

import haiku as hk
import jax
import jax.numpy as jnp
import pytest

from launch.agents import configuration
from launch.training import cores as cores_lib

SMALL = cores_lib.Config(mem_slots=2, total_units=24, num_heads=3, attention_mlp_layers=2)
DNC = dataclasses.replace(
    SMALL, core='dnc', dnc_memory_size=6, dnc_word_size=5, dnc_reads=3, dnc_writes=2
)
LSTM = dataclasses.replace(SMALL, core='lstm', lstm_size=9)
AGENT = configuration.Config(mem_slots=2, total_units=24, num_heads=3, attention_mlp_layers=2)


def _made(config, *shape):
    """Returns shapes of parameters, of the state for a batch of 3, and of an output."""

    def run(inputs):
        core = cores_lib.make(config, shape)
        output, state = core(inputs, core.initial_state(3))
        return state, output

    inputs = jax.ShapeDtypeStruct((3, *shape), jnp.float32)
    network = hk.transform(run)
    params = jax.eval_shape(network.init, jax.random.key(0), inputs)
    return params, *jax.eval_shape(network.apply, params, None, inputs)


def _num_parameters(config, *shape):
    return sum(leaf.size for leaf in jax.tree.leaves(_made(config, *shape)[0]))


def test_the_rmc_has_the_parameters_that_its_flags_say():
    # 3 heads of 4 make slots of 12 units: a layer of the MLP has 12 * 12 + 12 parameters, and one
    # more number of the input is one more row of the input's projection.
    count = cores_lib.num_parameters(SMALL, (7,))
    assert count == _num_parameters(SMALL, 7)
    more = dataclasses.replace(SMALL, attention_mlp_layers=3)
    assert cores_lib.num_parameters(more, (7,)) - count == 12 * 12 + 12
    assert cores_lib.num_parameters(SMALL, (8,)) - count == 12


@pytest.mark.parametrize('slots', [1, 2])
def test_the_output_of_a_core_has_the_total_units(slots):
    config = dataclasses.replace(SMALL, mem_slots=slots)
    assert _made(config, 7)[2].shape == (3, 24)


@pytest.mark.parametrize('total_units', [24, 240])
@pytest.mark.parametrize(
    ('core', 'changes'),
    [
        ('lstm', {}),
        ('lstm', {'lstm_layers': 3}),
        ('transformer', {'transformer_layers': 1, 'transformer_heads': 2}),
        ('transformer', {'transformer_layers': 3, 'transformer_heads': 3}),
        ('dnc', {}),
        ('dnc', {'dnc_controller': 'feed_forward', 'dnc_controller_layers': 3}),
        ('entnet', {'entnet_cells': 5}),
    ],
)
def test_every_core_has_at_most_as_many_parameters_and_the_next_size_too_many(
    core, changes, total_units
):
    entry = cores_lib.CORES[core]
    small = {'dnc_memory_size': 4, 'dnc_word_size': 3, 'dnc_reads': 2, 'dnc_writes': 1}
    config = dataclasses.replace(SMALL, total_units=total_units, **small, **changes)
    shape = (7,)
    limit = cores_lib.num_parameters(config, shape)
    config = dataclasses.replace(config, core=core)
    size, step = cores_lib.size(config, shape), entry.multiple(config)
    assert size % step == 0
    fits, too_many = (
        _num_parameters(dataclasses.replace(config, **{entry.size: s}), *shape)
        for s in (size, size + step)
    )
    assert fits <= limit < too_many or size == step
    assert cores_lib.num_parameters(config, shape) == fits


@pytest.mark.parametrize(('squares', 'units'), [(4, 24), (12, 7), (0, 3), (9, 1000)])
def test_the_search_is_exact_where_the_parameters_fit_exactly(squares, units):
    count = lambda n: squares * n * n + units * n + 5  # noqa: E731
    for n in (1, 2, 17, 1000):
        assert cores_lib._largest(count, count(n)) == n
        assert cores_lib._largest(count, count(n) - 1) == max(1, n - 1)
        assert cores_lib._largest(count, count(n + 1) - 1) == n
    assert cores_lib._largest(count, 0) == 1


def test_the_search_finds_the_largest_also_where_parameters_are_no_square():
    count = lambda n: n**3 + 10 * (n // 3)  # noqa: E731
    for n in (1, 5, 40):
        assert cores_lib._largest(count, count(n)) == n


def test_the_layers_of_an_lstm_all_see_the_input_and_are_all_seen():
    params, state, output = _made(dataclasses.replace(LSTM, lstm_layers=3), 7)
    # Input and the layer's own last output, and in all layers but the first the layer below too.
    shapes = {name: layer['w'].shape for name, layer in params.items()}
    assert shapes == {
        'lstm/linear': (7 + 9, 4 * 9),
        'lstm_1/linear': (7 + 9 + 9, 4 * 9),
        'lstm_2/linear': (7 + 9 + 9, 4 * 9),
    }
    assert output.shape == (3, 3 * 9)
    assert [leaf.shape for leaf in jax.tree.leaves(state)] == [(3, 9)] * 6


def test_one_layer_is_the_lstm_without_anything_around_it():
    params, state, _ = _made(LSTM, 7)
    assert list(params) == ['lstm/linear']
    assert isinstance(state, hk.LSTMState)


def test_the_entnet_has_the_cells_of_its_flags():
    config = dataclasses.replace(SMALL, core='entnet', entnet_cells=5, entnet_size=6)
    _, state, output = _made(config, 7)
    assert [leaf.shape for leaf in state] == [(3, 5, 6)] * 2
    assert output.shape == (3, 6)


def test_the_transformer_has_the_layers_and_memory_of_its_flags():
    sizes = {'transformer_size': 12, 'transformer_layers': 3, 'transformer_heads': 2}
    config = dataclasses.replace(SMALL, core='transformer', transformer_memory=5, **sizes)
    _, state, output = _made(config, 7)
    assert state.memory.shape == (3, 5, 3, 12)
    assert output.shape == (3, 12)


def test_the_dnc_has_the_memory_and_heads_of_its_flags():
    _, state, output = _made(dataclasses.replace(DNC, dnc_controller_size=9), 7)
    assert state.memory.shape == (3, 6, 5)
    assert state.read_weights.shape == (3, 3, 6)
    assert state.write_weights.shape == (3, 2, 6)
    assert [leaf.shape for leaf in jax.tree.leaves(state.controller)] == [(3, 9)] * 4
    assert output.shape == (3, 9)


def test_cores_of_agents_take_their_sizes_from_their_flags():
    lstm = dataclasses.replace(AGENT, core='conv_lstm', conv_lstm_channels=6)
    _, state, output = _made(lstm, 4, 5, 2)
    assert [leaf.shape for leaf in state] == [(3, 4, 5, 6)] * 2
    assert output.shape == (3, 4, 5, 6)
    plain = dataclasses.replace(AGENT, core='feed_forward', feed_forward_size=11)
    _, state, output = _made(plain, 7)
    assert jax.tree.leaves(state) == []
    assert output.shape == (3, 11)


@pytest.mark.parametrize('gate_style', ['unit', 'memory', 'none'])
@pytest.mark.parametrize('output_gate', [False, True])
def test_every_gate_style_but_none_with_an_output_gate_makes_a_core(gate_style, output_gate):
    if gate_style == 'none' and output_gate:
        with pytest.raises(ValueError, match=r'--output_gate=True: wanted --gate_style=unit or'):
            dataclasses.replace(SMALL, gate_style=gate_style, output_gate=output_gate)
    else:
        config = dataclasses.replace(SMALL, gate_style=gate_style, output_gate=output_gate)
        assert _num_parameters(config, 7) == cores_lib.num_parameters(config, (7,))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'core': 'gru'}, r"--core: wanted one of rmc, lstm, transformer, dnc, entnet, got 'gru'"),
        ({'gate_style': 'units'}, r'--gate_style: wanted one of unit, memory, none.*mean unit'),
        ({'num_heads': 5}, r'--total_units: wanted a multiple of .* 2 x 5, got 24'),
        ({'mem_slots': 7}, r'--total_units: wanted a multiple of .* 7 x 3, got 24'),
        ({'total_units': 25}, r'--total_units: wanted a multiple of .* 2 x 3, got 25'),
        ({'num_heads': 0}, r'--num_heads: wanted at least 1, got 0'),
        ({'num_blocks': 0}, r'--num_blocks: wanted at least 1, got 0'),
        ({'attention_mlp_layers': 0}, r'--attention_mlp_layers: wanted at least 1'),
        ({'lstm_size': -1}, r'--lstm_size: wanted at least 0, got -1'),
        ({'lstm_layers': 0}, r'--lstm_layers: wanted at least 1, got 0'),
        ({'entnet_cells': 0}, r'--entnet_cells: wanted at least 1, got 0'),
        ({'entnet_size': -1}, r'--entnet_size: wanted at least 0, got -1'),
        ({'transformer_layers': 0}, r'--transformer_layers: wanted at least 1, got 0'),
        ({'transformer_heads': 0}, r'--transformer_heads: wanted at least 1, got 0'),
        ({'transformer_memory': 0}, r'--transformer_memory: wanted at least 1, got 0'),
        ({'dnc_controller': 'gru'}, r'--dnc_controller: wanted one of lstm, feed_forward, got'),
        ({'dnc_memory_size': 0}, r'--dnc_memory_size: wanted at least 1, got 0'),
        ({'dnc_word_size': 0}, r'--dnc_word_size: wanted at least 1, got 0'),
        ({'dnc_reads': 0}, r'--dnc_reads: wanted at least 1, got 0'),
        ({'dnc_writes': 0}, r'--dnc_writes: wanted at least 1, got 0'),
        ({'dnc_controller_size': -1}, r'--dnc_controller_size: wanted at least 0, got -1'),
        ({'dnc_controller_layers': 0}, r'--dnc_controller_layers: wanted at least 1, got 0'),
        ({'transformer_size': 12}, r'--transformer_size: wanted 0 or a multiple of .* = 8, got 12'),
    ],
)
def test_bad_flags_are_refused_before_anything_is_made(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **change)
