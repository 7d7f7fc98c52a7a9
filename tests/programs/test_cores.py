"""The factory of cores: sizes that match, flags that fit."""

import dataclasses

import haiku as hk
import jax
import jax.numpy as jnp
import pytest

from launch.training import cores as cores_lib

SMALL = cores_lib.Config(mem_slots=2, total_units=24, num_heads=3, attention_mlp_layers=2)
DNC = dataclasses.replace(
    SMALL, core='dnc', dnc_memory_size=6, dnc_word_size=5, dnc_reads=3, dnc_writes=2
)
LSTM = dataclasses.replace(SMALL, core='lstm', lstm_size=9)


def _network(config, input_size):
    def run(inputs):
        core = cores_lib.make(config, input_size)
        return core(inputs, core.initial_state(len(inputs)))[0]

    return jnp.zeros((3, input_size)), hk.transform(run)


def _params(config, input_size):
    inputs, network = _network(config, input_size)
    return jax.eval_shape(network.init, jax.random.key(0), inputs)


def _sizes(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _assert_sized(config, input_size, size_of, count):
    """Checks that a core has as many units as fit, by its formula and by its parameters."""
    limit = cores_lib.num_parameters(config, input_size)
    size = size_of(limit, input_size, count)
    fits, too_many = (
        cores_lib.count(
            _params(dataclasses.replace(config, **{f'{config.core}_size': s}), input_size)
        )
        for s in (size, size + 1)
    )
    assert fits <= limit < too_many
    assert size_of(fits, input_size, count) == size
    assert size_of(fits - 1, input_size, count) == max(1, size - 1)
    assert (
        cores_lib.count(_params(config, input_size)) == _sizes(_params(config, input_size)) == fits
    )


def test_the_rmc_has_the_parameters_that_its_flags_say():
    # 3 heads of 4 make slots of 12 units: a layer of the MLP has 12 * 12 + 12 parameters, and one
    # more number of the input is one more row of the input's projection.
    params = _params(SMALL, 7)
    assert cores_lib.count(params) == _sizes(params) == cores_lib.num_parameters(SMALL, 7)
    more = dataclasses.replace(SMALL, attention_mlp_layers=3)
    assert cores_lib.num_parameters(more, 7) - cores_lib.num_parameters(SMALL, 7) == 12 * 12 + 12
    assert cores_lib.num_parameters(SMALL, 8) - cores_lib.num_parameters(SMALL, 7) == 12


@pytest.mark.parametrize('slots', [1, 2])
def test_the_output_of_a_core_has_the_total_units(slots):
    inputs, network = _network(dataclasses.replace(SMALL, mem_slots=slots), 7)
    params = jax.eval_shape(network.init, jax.random.key(0), inputs)
    assert jax.eval_shape(network.apply, params, None, inputs).shape == (3, 24)


@pytest.mark.parametrize('input_size', [5, 64, 512])
@pytest.mark.parametrize('units', [12, 48, 240])
def test_the_lstm_has_at_most_as_many_parameters_and_one_unit_more_would_be_too_many(
    input_size, units
):
    config = dataclasses.replace(SMALL, core='lstm', total_units=units)
    limit = cores_lib.num_parameters(config, input_size)
    size = cores_lib.lstm_size(limit, input_size)
    shapes = [
        jax.eval_shape(
            hk.transform(lambda x, h=h: hk.LSTM(h)(x, hk.LSTM(h).initial_state(1))[0]).init,
            jax.random.key(0),
            jax.ShapeDtypeStruct((1, input_size), jnp.float32),
        )
        for h in (size, size + 1)
    ]
    fits, too_many = (cores_lib.count(shape) for shape in shapes)
    assert fits <= limit < too_many


def test_the_size_of_an_lstm_is_exact_where_the_parameters_fit_exactly():
    for size, inputs in ((1, 3), (7, 5), (100, 64), (2048, 512)):
        exact = 4 * size * (inputs + size + 1)
        assert cores_lib.lstm_size(exact, inputs) == size
        assert cores_lib.lstm_size(exact - 1, inputs) == max(1, size - 1)


def test_the_lstm_of_the_factory_is_the_one_that_was_sized():
    config = dataclasses.replace(SMALL, core='lstm')
    limit = cores_lib.num_parameters(config, 7)
    size = cores_lib.lstm_size(limit, 7)
    assert cores_lib.count(_params(config, 7)) == 4 * size * (7 + size + 1) <= limit
    given = dataclasses.replace(config, lstm_size=9)
    assert cores_lib.count(_params(given, 7)) == 4 * 9 * (7 + 9 + 1)


@pytest.mark.parametrize('layers', [2, 3])
@pytest.mark.parametrize(('input_size', 'units'), [(5, 24), (64, 240), (512, 48)])
def test_a_layered_lstm_has_at_most_as_many_parameters_and_one_unit_more_would_be_too_many(
    layers, input_size, units
):
    config = dataclasses.replace(SMALL, core='lstm', total_units=units, lstm_layers=layers)
    _assert_sized(config, input_size, cores_lib.lstm_size, layers)


def test_the_layers_of_an_lstm_see_the_input_and_are_all_seen():
    config = dataclasses.replace(SMALL, core='lstm', lstm_size=9, lstm_layers=3)
    inputs, network = _network(config, 7)
    params = jax.eval_shape(network.init, jax.random.key(0), inputs)
    # Input and the layer's own last output, and in all layers but the first the layer below too.
    shapes = {name: layer['w'].shape for name, layer in params.items()}
    assert shapes == {
        'lstm/linear': (7 + 9, 4 * 9),
        'lstm_1/linear': (7 + 9 + 9, 4 * 9),
        'lstm_2/linear': (7 + 9 + 9, 4 * 9),
    }
    assert jax.eval_shape(network.apply, params, None, inputs).shape == (3, 3 * 9)


def test_one_layer_is_the_lstm_without_anything_around_it():
    core = hk.transform(
        lambda: [cores_lib.make(LSTM, 7), *cores_lib.make(LSTM, 7).initial_state(2)]
    )
    made, *state = core.apply({}, None)
    assert type(made) is hk.LSTM
    assert [leaf.shape for leaf in state] == [(2, 9), (2, 9)]
    assert list(_params(LSTM, 7)) == ['lstm/linear']


@pytest.mark.parametrize('cells', [1, 4])
@pytest.mark.parametrize(('input_size', 'units'), [(5, 24), (64, 240), (512, 48)])
def test_the_entnet_has_at_most_as_many_parameters_and_one_unit_more_would_be_too_many(
    cells, input_size, units
):
    config = dataclasses.replace(SMALL, core='entnet', total_units=units, entnet_cells=cells)
    _assert_sized(config, input_size, cores_lib.entnet_size, cells)


def test_the_entnet_of_the_factory_has_the_cells_of_its_flags():
    config = dataclasses.replace(SMALL, core='entnet', entnet_cells=5, entnet_size=6)
    state = hk.transform(lambda: cores_lib.make(config, 7).initial_state(4)).apply({}, None)
    assert [leaf.shape for leaf in state] == [(4, 5, 6)] * 2
    inputs, network = _network(config, 7)
    params = jax.eval_shape(network.init, jax.random.key(0), inputs)
    assert jax.eval_shape(network.apply, params, None, inputs).shape == (3, 6)


def test_cores_without_room_have_one_unit():
    assert cores_lib.lstm_size(10, 5) == cores_lib.lstm_size(10, 5, 2) == 1
    assert cores_lib.entnet_size(10, 5, 2) == 1


@pytest.mark.parametrize('layers', [1, 3])
@pytest.mark.parametrize('input_size', [5, 64])
@pytest.mark.parametrize('units', [24, 240])
def test_the_transformer_has_at_most_as_many_parameters_and_the_next_size_would_be_too_many(
    layers, input_size, units
):
    config = dataclasses.replace(
        SMALL, core='transformer', total_units=units, transformer_layers=layers, transformer_heads=2
    )
    limit = cores_lib.num_parameters(config, input_size)
    size = cores_lib.transformer_size(limit, input_size, layers, num_heads=2)
    assert size % 4 == 0
    fits, too_many = (
        cores_lib.count(_params(dataclasses.replace(config, transformer_size=s), input_size))
        for s in (size, size + 4)
    )
    assert fits <= limit < too_many or size == 4
    assert cores_lib.count(_params(config, input_size)) == fits


def test_the_size_of_a_transformer_is_exact_where_the_parameters_fit_exactly():
    # With F = 12, D = 5 and 3 layers: 36 * 144 + (5 + 39 + 3) * 12 parameters.
    assert cores_lib.transformer_size(5748, 5, num_layers=3, num_heads=2) == 12
    assert cores_lib.transformer_size(5747, 5, num_layers=3, num_heads=2) == 8
    assert cores_lib.transformer_size(10, 5, num_layers=3, num_heads=2) == 4
    config = cores_lib.Config(
        core='transformer', transformer_size=12, transformer_layers=3, transformer_heads=2
    )
    assert cores_lib.count(_params(config, 5)) == _sizes(_params(config, 5)) == 5748


def test_the_transformer_of_the_factory_has_the_layers_and_memory_of_its_flags():
    sizes = {'transformer_size': 12, 'transformer_layers': 3, 'transformer_heads': 2}
    config = dataclasses.replace(SMALL, core='transformer', transformer_memory=5, **sizes)
    state = hk.transform(lambda: cores_lib.make(config, 7).initial_state(4)).apply({}, None)
    assert state.memory.shape == (4, 5, 3, 12)
    inputs, network = _network(config, 7)
    params = jax.eval_shape(network.init, jax.random.key(0), inputs)
    assert jax.eval_shape(network.apply, params, None, inputs).shape == (3, 12)


@pytest.mark.parametrize('layers', [1, 3])
@pytest.mark.parametrize('controller', ['lstm', 'feed_forward'])
@pytest.mark.parametrize(('input_size', 'units'), [(5, 96), (64, 240)])
def test_the_dnc_has_at_most_as_many_parameters_and_one_unit_more_would_be_too_many(
    layers, controller, input_size, units
):
    config = dataclasses.replace(
        DNC, total_units=units, dnc_controller=controller, dnc_controller_layers=layers
    )
    limit = cores_lib.num_parameters(config, input_size)
    size = cores_lib.dnc_controller_size(config, limit, input_size)
    fits, too_many = (
        cores_lib.count(_params(dataclasses.replace(config, dnc_controller_size=s), input_size))
        for s in (size, size + 1)
    )
    assert fits <= limit < too_many
    assert cores_lib.dnc_controller_size(config, fits, input_size) == size
    assert cores_lib.dnc_controller_size(config, fits - 1, input_size) == size - 1
    assert (
        cores_lib.count(_params(config, input_size)) == _sizes(_params(config, input_size)) == fits
    )


def test_a_dnc_without_room_has_one_unit():
    assert cores_lib.dnc_controller_size(DNC, 10, 5) == 1


def test_the_dnc_of_the_factory_has_the_memory_and_heads_of_its_flags():
    config = dataclasses.replace(DNC, dnc_controller_size=9)
    state = hk.transform(lambda: cores_lib.make(config, 7).initial_state(4)).apply({}, None)
    assert state.memory.shape == (4, 6, 5)
    assert state.read_weights.shape == (4, 3, 6)
    assert state.write_weights.shape == (4, 2, 6)
    assert [leaf.shape for leaf in jax.tree.leaves(state.controller)] == [(4, 9)] * 4
    inputs, network = _network(config, 7)
    params = jax.eval_shape(network.init, jax.random.key(0), inputs)
    assert jax.eval_shape(network.apply, params, None, inputs).shape == (3, 9)


def test_counting_leaves_out_what_is_not_of_the_core():
    def network(inputs):
        core = cores_lib.make(SMALL, 7)
        output, _ = core(inputs, core.initial_state(len(inputs)))
        return hk.Linear(5)(output)

    params = jax.eval_shape(hk.transform(network).init, jax.random.key(0), jnp.zeros((2, 7)))
    assert (
        cores_lib.count(params) == cores_lib.num_parameters(SMALL, 7) == _sizes(params) - 24 * 5 - 5
    )


@pytest.mark.parametrize('core', cores_lib.NAMES)
def test_counting_finds_every_core_beside_others_of_its_kind(core):
    config = dataclasses.replace(SMALL, core=core, lstm_layers=2)

    def network(inputs):
        cores = [cores_lib.make(config, 7) for _ in range(2)]
        outputs = [core(inputs, core.initial_state(len(inputs)))[0] for core in cores]
        return hk.Linear(5, name='lstmlike')(sum(outputs))

    params = jax.eval_shape(hk.transform(network).init, jax.random.key(0), jnp.zeros((2, 7)))
    assert cores_lib.count(params) == 2 * cores_lib.count(_params(config, 7))
    assert cores_lib.count(params) < _sizes(params)


@pytest.mark.parametrize('gate_style', ['unit', 'memory', 'none'])
@pytest.mark.parametrize('output_gate', [False, True])
def test_every_gate_style_but_none_with_an_output_gate_makes_a_core(gate_style, output_gate):
    if gate_style == 'none' and output_gate:
        with pytest.raises(ValueError, match=r'--output_gate=True: wanted --gate_style=unit or'):
            dataclasses.replace(SMALL, gate_style=gate_style, output_gate=output_gate)
    else:
        config = dataclasses.replace(SMALL, gate_style=gate_style, output_gate=output_gate)
        assert _sizes(_params(config, 7)) == cores_lib.num_parameters(config, 7)


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
