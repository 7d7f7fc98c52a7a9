"""What the benchmark of the core compares, its lower bound's arithmetic, and its table."""

import functools

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch.benchmarks import unrolls

TINY = unrolls.Shape(3, 4, 2, 5, 6, 1)  # F = 8
NAMES = ['unroll', 'dynamic_unroll', 'lstm', 'matmuls']


@pytest.fixture(scope='module')
def methods(compile_quickly):
    return unrolls.methods(TINY, seed=7, variants=unrolls.VARIANTS)


@pytest.fixture(scope='module')
def arguments(methods):
    return {name: method.arguments() for name, method in methods.items()}


@pytest.fixture(scope='module')
def trained(methods, arguments, compile_quickly):
    """Returns the loss and the gradient of each method that has them."""
    names = [name for name in methods if name != 'matmuls']
    return {name: jax.jit(methods[name].train)(*arguments[name]) for name in names}


def matrices_of(rng):
    """Two of the MLP, the projection, the memory's gates, the inputs' map and gates, with F = 4."""
    return [rng.normal(size=(4, width)) for width in (4, 4, 7, 6, 4, 6)]


def test_both_unrolls_compute_the_same_loss_and_gradient(arguments, trained):
    ours, plain = arguments['unroll'], arguments['dynamic_unroll']
    for a, b in zip(ours[0].values(), plain[0].values(), strict=True):
        jax.tree.map(np.testing.assert_array_equal, a, b)
    losses, grads = zip(trained['unroll'], trained['dynamic_unroll'], strict=True)
    assert losses[0] > 0.01
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), *grads)


@pytest.mark.parametrize('name', ['unroll', 'lstm'])
def test_the_forward_pass_is_the_loss_of_the_training_step(name, methods, arguments, trained):
    loss = jax.jit(methods[name].forward)(*arguments[name])
    np.testing.assert_allclose(loss, trained[name][0], rtol=1e-5)


def test_the_loss_weighs_squared_outputs_from_one_to_two(monkeypatch):
    class Ones(hk.RNNCore):
        def __call__(self, inputs, state):
            return hk.get_parameter('a', (), init=jnp.ones) * jnp.array([[0.0, 1, 2]] * 5), state

        def initial_state(self, batch_size):
            return jnp.zeros((batch_size, 1))

    monkeypatch.setattr(unrolls.cores, 'make', lambda config, shape: Ones())
    inputs = functools.partial(jnp.zeros, (4, 5, 2))
    method = unrolls._recurrent(None, hk.dynamic_unroll, inputs, jax.random.key(0))
    loss, grads = method.train(*method.arguments())
    np.testing.assert_allclose(loss, (0 * 1 + 1 * 1.5 + 4 * 2) / 3, rtol=1e-6)
    np.testing.assert_allclose(jax.tree.leaves(grads), [2 * loss], rtol=1e-6)


def test_variants_have_the_same_parameters_and_what_their_name_says(methods, arguments, trained):
    assert list(methods)[:4] == ['unroll', *[f'unroll, {name}' for name in unrolls.VARIANTS]]
    params, inputs, nothing = arguments['unroll']
    for name in unrolls.VARIANTS:
        own = arguments[f'unroll, {name}']
        jax.tree.map(np.testing.assert_array_equal, own[:2], (params, inputs))
    assert nothing == arguments['unroll, remat'][2] == {}
    resets, lengths = (arguments[f'unroll, {name}'][2][name] for name in unrolls.VARIANTS[:2])
    assert resets.shape == (TINY.num_steps, TINY.batch_size)
    assert 0 < np.sum(resets) < resets.size
    assert lengths.shape == (TINY.batch_size,)
    assert 1 <= np.min(lengths) < np.max(lengths) <= TINY.num_steps
    losses = {name: float(loss) for name, (loss, _) in trained.items()}
    np.testing.assert_allclose(losses['unroll, remat'], losses['unroll'], rtol=1e-6)
    assert losses['unroll, lengths'] < losses['unroll'] != losses['unroll, resets']


def test_the_lstm_has_about_as_many_parameters_as_the_core(arguments):
    unit = 4 * (8 + 2 * 11 + 1)  # one unit more than about 11
    counts = [hk.data_structures.tree_size(arguments[name][0]) for name in NAMES]
    assert counts[0] == counts[1]
    assert 0 <= counts[0] - counts[2] < unit
    norms_and_biases = 2 * (24 + 8 + 8) + 24 + 1 * 8 + 8 + 2 * 16
    assert counts[3] == counts[0] - norms_and_biases


def test_the_lower_bound_multiplies_rows_by_every_matrix_at_each_step():
    rng = np.random.default_rng(1)
    matrices = matrices_of(rng)
    inputs, rows = rng.normal(size=(10, 4)), rng.normal(size=(3, 4))
    first, more, of_memory = unrolls._multiply(3, False, matrices, inputs, rows)
    projected = inputs @ matrices[4]
    before = rows @ matrices[0] @ matrices[0]
    wanted = [projected, projected @ matrices[2], projected @ matrices[5]]
    wanted += [before @ matrix for matrix in matrices[:4]]
    assert len(first) == 1
    for product, want in zip(jax.tree.leaves([first, more, of_memory]), wanted, strict=True):
        np.testing.assert_allclose(product, want, rtol=1e-4, atol=1e-4)


def test_the_lower_bound_of_training_has_two_more_products_for_each():
    rng = np.random.default_rng(2)
    matrices = matrices_of(rng)
    inputs, rows = rng.normal(size=(10, 4)), rng.normal(size=(3, 4))
    first, more, of_memory = unrolls._multiply(2, True, matrices, inputs, rows)
    projected, before = inputs @ matrices[4], rows @ matrices[0]
    pairs = [(projected, matrices[2]), (projected, matrices[5])]
    pairs += [(before, matrix) for matrix in matrices[:4]]
    np.testing.assert_allclose(first[0], projected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(first[1], inputs.T @ projected, rtol=1e-4, atol=1e-4)
    assert len(first) == 2  # nobody needs the gradient of the inputs
    for (y, d_w, d_x), (x, matrix) in zip([*more, *of_memory], pairs, strict=True):
        np.testing.assert_allclose(y, x @ matrix, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(d_w, x.T @ (x @ matrix), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(d_x, x @ matrix @ matrix.T, rtol=1e-4, atol=1e-4)


def test_no_product_of_the_lower_bound_is_simplified_away(methods, arguments):
    """A compiler that saw through the loop would need fewer flops than the products have."""
    size, rows, steps = 8, 5 * 3, 6
    step = 2 * rows * size * (1 * 8 + 24 + 16)
    given = 2 * steps * 5 * size * (8 + 24 + 16)
    for pass_name, factor, unneeded in (('forward', 1, 0), ('train', 3, 2 * steps * 5 * 8 * 8)):
        method = methods['matmuls']
        compiled = jax.jit(getattr(method, pass_name)).lower(*arguments['matmuls']).compile()
        assert ' while(' in compiled.as_text()
        # XLA counts the body of a loop once, or as often as it runs where it knows that.
        assert compiled.cost_analysis()['flops'] >= factor * (step + given) - unneeded


def test_the_table_holds_medians_and_ratios():
    results = {
        name: {
            'num_parameters': 1234,
            'forward': {'median_ms': forward},
            'train': {'median_ms': train, 'memory_bytes': used},
        }
        for name, forward, train, used in [('unroll', 3, 12, 5_600_000), ('matmuls', 2, 8, None)]
    }
    lines = [line.split() for line in unrolls.table(results)]
    assert lines[0] == ['unroll', '1,234', '3.00', '1.00', '1.50', '12.00', '1.00', '1.50', '6']
    assert lines[1] == ['matmuls', '1,234', '2.00', '0.67', '1.00', '8.00', '0.67', '1.00', '?']


def test_methods_take_turns_and_the_first_is_a_warm_up(monkeypatch):
    calls = []

    def method(name):
        def forward(x):
            jax.debug.callback(lambda: calls.append(name), ordered=True)
            return x + 1

        return unrolls.Method(forward, lambda x: x * 2, lambda: (jnp.ones(3),))

    ticks = iter(range(10_000))
    monkeypatch.setattr(unrolls.time, 'perf_counter', lambda: next(ticks) ** 2 / 1000)
    results = unrolls.measure({'a': method('a'), 'b': method('b')}, repeats=5)
    jax.effects_barrier()
    assert calls == ['a', 'b'] * 6
    # Call n begins at tick 2 n and takes 4 n + 1 ms: a goes forward in calls 0, 4, 8, ..., 20.
    assert results['a']['num_parameters'] == 3
    times = results['a']['forward']
    assert (times['min_ms'], times['median_ms']) == pytest.approx((4 * 4 + 1, 4 * 12 + 1))
    assert results['b']['train']['min_ms'] == pytest.approx(4 * 7 + 1)
    assert results['b']['train']['memory_bytes'] > 0
