"""What the benchmark compares, its floor's arithmetic, its table, its file and its bad flags."""

import json

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch import benchmark
from launch.benchmarks import environments
from launch.runs import errors
from launch.runs import flags as flags_lib
from tests.support import tiny_worlds

TINY = benchmark.Shape(3, 4, 2, 5, 6, 2)  # F = 8
NAMES = ['unroll', 'dynamic_unroll', 'lstm', 'products']


@pytest.fixture(scope='module')
def entries():
    return benchmark.contenders(TINY, seed=7)


@pytest.fixture(name='tiny')
def _tiny(monkeypatch):
    monkeypatch.setitem(benchmark.SHAPES, 'tiny', TINY)


def _weights(rng, size, gates_size, projection_size):
    widths = (projection_size, gates_size, size, gates_size)
    mlp = tuple(rng.normal(size=(size, size)) for _ in range(2))
    return benchmark.ProductWeights(mlp, *(rng.normal(size=(size, width)) for width in widths))


def test_both_unrolls_compute_the_same_loss_and_gradient(entries):
    ours, plain = entries['unroll'], entries['dynamic_unroll']
    for a, b in zip(ours.arguments[0].values(), plain.arguments[0].values(), strict=True):
        jax.tree.map(np.testing.assert_array_equal, a, b)
    losses, grads = zip(*(jax.jit(e.train)(*e.arguments) for e in (ours, plain)), strict=True)
    assert losses[0] > 0.01
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), *grads)


def test_the_forward_pass_is_the_loss_of_the_training_step(entries):
    for name in NAMES[:3]:
        forward, train, arguments, _ = entries[name]
        loss, _ = jax.jit(train)(*arguments)
        np.testing.assert_allclose(jax.jit(forward)(*arguments), loss, rtol=1e-5)


def test_the_loss_weighs_squared_outputs_from_one_to_two():
    class Ones(hk.RNNCore):
        def __call__(self, inputs, state):
            return hk.get_parameter('a', (), init=jnp.ones) * jnp.array([[0.0, 1, 2]] * 5), state

        def initial_state(self, batch_size):
            return jnp.zeros((batch_size, 1))

    inputs = jnp.zeros((4, 5, 2))
    entry = benchmark._recurrent(Ones, hk.dynamic_unroll, inputs, jax.random.key(0))
    loss, grads = entry.train(*entry.arguments)
    np.testing.assert_allclose(loss, (0 * 1 + 1 * 1.5 + 4 * 2) / 3, rtol=1e-6)
    np.testing.assert_allclose(jax.tree.leaves(grads), [2 * loss], rtol=1e-6)


def test_the_lstm_has_about_as_many_parameters_as_the_core(entries):
    unit = 4 * (8 + 2 * 11 + 1)  # one unit more or less of about 11
    counts = [entries[name].num_parameters for name in NAMES]
    assert counts[0] == counts[1]
    assert 0 < abs(counts[2] - counts[0]) <= unit
    norms_and_biases = 2 * (24 + 8 + 8) + 24 + 2 * 8 + 8 + 2 * 16
    assert counts[3] == counts[0] - norms_and_biases


def test_the_floor_multiplies_rows_by_every_matrix_at_each_step():
    rng = np.random.default_rng(1)
    weights = _weights(rng, 4, 6, 7)
    inputs, rows = rng.normal(size=(10, 4)), rng.normal(size=(3, 4))
    given, products = jax.jit(benchmark._forward_products, static_argnums=0)(
        3, weights, inputs, rows
    )
    projected = inputs @ weights.input
    before = rows @ weights.mlp[0] @ weights.mlp[0]
    memory = (*weights.mlp, weights.projection, weights.memory_gates)
    wanted = [projected @ weights.projection, projected @ weights.input_gates]
    wanted += [before @ matrix for matrix in memory]
    for product, want in zip([*given, *products], wanted, strict=True):
        np.testing.assert_allclose(product, want, rtol=1e-4, atol=1e-4)


def test_the_floor_of_training_has_two_more_products_for_each():
    rng = np.random.default_rng(2)
    weights = _weights(rng, 4, 6, 7)
    inputs, rows = rng.normal(size=(10, 4)), rng.normal(size=(3, 4))
    given, first, (last, products) = jax.jit(benchmark._train_products, static_argnums=0)(
        2, weights, inputs, rows
    )
    projected, before = inputs @ weights.input, rows @ weights.mlp[0]
    memory = (*weights.mlp, weights.projection, weights.memory_gates)
    pairs = [(projected, weights.projection), (projected, weights.input_gates)]
    pairs += [(before, matrix) for matrix in memory]
    np.testing.assert_allclose(first, inputs.T @ projected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(last, before @ weights.mlp[0], rtol=1e-4, atol=1e-4)
    for (d_x, d_w), (x, matrix) in zip([*given, *products], pairs, strict=True):
        np.testing.assert_allclose(d_x, x @ matrix @ matrix.T, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(d_w, x.T @ (x @ matrix), rtol=1e-4, atol=1e-4)


def test_no_product_of_the_floor_is_simplified_away(entries):
    """A compiler that saw through the loop would need fewer flops than the products have."""
    size, rows, steps = 8, 5 * 3, 6
    step = 2 * rows * size * (2 * 8 + 24 + 16)
    given = 2 * steps * 5 * size * (8 + 24 + 16)
    for passing, factor, unasked in (('forward', 1, 0), ('train', 3, 2 * steps * 5 * 8 * 8)):
        entry = entries['products']
        lowered = jax.jit(getattr(entry, passing)).lower(*entry.arguments)
        compiled = lowered.compile()
        assert ' while(' in compiled.as_text()
        # XLA counts the body of a loop once, or as often as it runs where it knows that.
        assert compiled.cost_analysis()['flops'] >= factor * (step + given) - unasked


def test_a_run_prints_a_table_and_writes_what_it_returns(tiny, tmp_path, capsys):
    path = tmp_path / 'numbers.json'
    config = benchmark.Config('tiny', 'none', repeats=5, output=str(path))
    results = benchmark.run(config)
    assert json.loads(path.read_text()) == results
    assert list(results) == ['machine', 'repeats', 'shapes', 'environments']
    assert list(results['shapes']) == ['tiny']
    assert results['environments'] == {}
    sizes = results['shapes']['tiny'].pop('sizes')
    assert tuple(sizes.values()) == TINY
    assert list(results['shapes']['tiny']) == NAMES
    for result in results['shapes']['tiny'].values():
        for passing in benchmark.PASSES:
            assert 0 < result[passing]['min_ms'] <= result[passing]['median_ms'] < 1e4
            assert result[passing]['memory_bytes'] > 0
    printed = capsys.readouterr().out
    assert results['machine']['cpu'] in printed
    assert f'jax {jax.__version__}' in printed
    assert [line.split()[0] for line in printed.splitlines()[3:7]] == NAMES


def test_worlds_alone_can_be_timed(tmp_path, monkeypatch, capsys):
    world = environments.World(tiny_worlds.Corridor())
    size = environments.Size(3, 5)
    monkeypatch.setattr(environments, 'Size', lambda: size)
    monkeypatch.setitem(benchmark.WORLDS, 'corridor', world)
    path = tmp_path / 'numbers.json'
    results = benchmark.run(benchmark.Config('none', 'corridor', 5, str(path)))
    assert json.loads(path.read_text()) == results
    assert results['shapes'] == {}
    assert list(results['environments']) == ['corridor']
    timed = results['environments']['corridor']
    assert (timed['environments'], timed['steps']) == (3, 5)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == environments.HEADER
    assert lines[2].startswith('corridor ')


def test_the_table_holds_medians_and_ratios():
    results = {
        name: {
            'num_parameters': 1234,
            'forward': {'median_ms': forward},
            'train': {'median_ms': train, 'memory_bytes': used},
        }
        for name, forward, train, used in [('unroll', 3, 12, 5_600_000), ('products', 2, 8, None)]
    }
    lines = [line.split() for line in benchmark._table(results)]
    assert lines[0] == ['unroll', '1,234', '3.00', '1.00', '1.50', '12.00', '1.00', '1.50', '6']
    assert lines[1] == ['products', '1,234', '2.00', '0.67', '1.00', '8.00', '0.67', '1.00', '?']


def test_contenders_take_turns():
    calls = []

    def contender(name):
        def forward(x):
            jax.debug.callback(lambda: calls.append(name), ordered=True)
            return x + 1

        return benchmark.Contender(forward, lambda x: x * 2, (jnp.ones(3),), 0)

    results = benchmark.compare({'a': contender('a'), 'b': contender('b')}, repeats=5)
    jax.effects_barrier()
    assert calls == ['a', 'b'] * 6
    assert set(results) == {'a', 'b'}


@pytest.mark.parametrize(
    ('flags', 'reason'),
    [
        (['--shapes=narow'], 'narow'),
        (['--shapes='], '--shapes'),
        (['--shapes=wide,none'], "wanted one of narrow, wide, one_slot, four_slots, got 'none'"),
        (['--environments=boxwold'], 'did you mean boxworld?'),
        (['--environments='], '--environments: wanted one of mini_pacman, '),
        (['--repeats=4'], '--repeats: wanted at least 5, got 4'),
        (['--seed=-1'], '--seed: wanted at least 0, got -1'),
        (['--output=no/such/folder/a.json'], '--output: wanted a file in an existing folder'),
        (['--output=.'], '--output: wanted a file in an existing folder'),
        (['--repeat=7'], 'no flag --repeat'),
    ],
)
def test_a_bad_flag_gets_one_line(flags, reason, capsys):
    def refuse(_):
        raise AssertionError(flags)

    assert flags_lib.main(benchmark.Config, refuse, 'benchmark', args=flags) == errors.USAGE
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert reason in error


def test_some_shapes_can_be_chosen():
    assert benchmark.Config().shape_names == ['narrow', 'wide', 'one_slot', 'four_slots']
    assert benchmark.Config(shapes='one_slot,wide').shape_names == ['one_slot', 'wide']
    assert benchmark.Config(shapes='none').shape_names == []


def test_some_worlds_can_be_chosen():
    assert benchmark.Config().environment_names == list(environments.WORLDS)
    assert benchmark.Config(environments='none').environment_names == []
    some = ['boxworld_full', 'mini_pacman']
    assert benchmark.Config(environments=','.join(some)).environment_names == some


def test_a_file_that_cannot_be_written_is_a_run_error(tmp_path):
    with pytest.raises(errors.RunError, match='cannot be written') as caught:
        benchmark._write(tmp_path / 'gone' / 'a.json', {})
    assert caught.value.code == errors.CANNOT_SAVE
