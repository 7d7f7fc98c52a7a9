"""Tests of the operations of a step and of their derivatives."""

import chex
import jax
from jax import test_util
import jax.numpy as jnp
import numpy as np
import pytest

from relational_rnn import operations

pytestmark = pytest.mark.usefixtures('compile_quickly')


@pytest.fixture(autouse=True)
def _float64_and_strict_ranks():
    with jax.numpy_rank_promotion('raise'), jax.enable_x64(True):
        yield


def sample(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


ARGUMENTS = {
    'linear': (operations.Linear(sample(0, 4, 3), sample(1, 3)), sample(2, 2, 5, 4)),
    'normalize': (operations.Norm(sample(3, 4), sample(4, 4)), sample(5, 2, 5, 4)),
    # Groups of 4 and 2 rows, 3 heads, C = 5, V = 7.
    'attend': ([sample(6, 2, 4, 3, 17), sample(7, 2, 2, 3, 17)],),
}
all_operations = pytest.mark.parametrize('name', ARGUMENTS)
with_rules = pytest.mark.parametrize('ops', [operations.STEPWISE, operations.DEFERRED])


def apply(ops, name):
    """An operation as a function of arrays; attention has 5 queries, 1 of the second group."""
    if name == 'attend':
        return lambda joints: ops.attend(joints, 5, 5)
    return getattr(ops, name)


@with_rules
@all_operations
def test_all_kinds_give_the_same_numbers(name, ops):
    plain, ruled = (apply(x, name)(*ARGUMENTS[name]) for x in (operations.PLAIN, ops))
    chex.assert_trees_all_close(plain, ruled, rtol=1e-13)


@with_rules
@all_operations
def test_gradients_are_those_of_finite_differences(name, ops):
    test_util.check_grads(apply(ops, name), ARGUMENTS[name], order=2, modes=['rev'])


@all_operations
def test_plain_operations_are_differentiated_in_both_modes(name):
    plain = apply(operations.PLAIN, name)
    test_util.check_grads(plain, ARGUMENTS[name], order=1, modes=['fwd', 'rev'])


@with_rules
@all_operations
def test_gradients_have_the_dtypes_of_the_arguments(name, ops):
    narrow = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), ARGUMENTS[name])
    results, pull_back = jax.vjp(apply(ops, name), *narrow)
    gradients = pull_back(jax.tree.map(jnp.ones_like, results))
    chex.assert_trees_all_equal_shapes_and_dtypes(gradients, narrow)


@pytest.mark.parametrize('ops', [operations.PLAIN, operations.DEFERRED])
def test_attention_that_can_be_checked_by_hand(ops):
    """With C = 2 and V = 3 logits of 0 and log 3 give weights of 1/4 and 3/4."""
    query = [2**0.5, 0.0]
    first = jnp.array([[[*query, 0, 5, 8, 0, 4]]])
    second = jnp.array([[[9, 9, np.log(3), 7, 0, 4, 8]]])
    attended, weights = ops.attend([first, second], 2, 1)
    np.testing.assert_allclose(weights, [[[0.25, 0.75]]], rtol=1e-12)
    np.testing.assert_allclose(attended, [[[2, 3, 7]]], rtol=1e-12)


def test_a_padded_matrix_gives_the_same_numbers():
    layer, x = ARGUMENTS['linear']
    padded = operations.Linear(np.pad(layer.w, [(0, 2), (0, 4)]), layer.b)
    np.testing.assert_allclose(
        operations.linear(padded, x), operations.linear(layer, x), rtol=1e-12
    )


def test_layer_norm_of_numbers_that_can_be_checked_by_hand():
    # mean 3, variance 4: (1, 3, 3, 5) becomes (-1, 0, 0, 1) sqrt(2) with variance 2.
    norm = operations.Norm(
        scale=jnp.array([1.0, 2.0, 3.0, 10.0]), offset=jnp.array([0.0, 7.0, 8.0, 9.0])
    )
    x = jnp.array([[1.0, 3.0, 3.0, 5.0], [5.0, 5.0, 5.0, 5.0]])
    root = 2**0.5
    wanted = [[-root, 7, 8, 9 + 10 * root], [0, 7, 8, 9]]
    np.testing.assert_allclose(operations.normalize(norm, x), wanted, rtol=1e-5)


def test_layer_norm_adds_its_epsilon_to_the_variance():
    norm = operations.Norm(scale=jnp.ones(2), offset=jnp.zeros(2))
    tiny = 3e-3
    wanted = tiny / (tiny**2 + 1e-5) ** 0.5
    np.testing.assert_allclose(
        operations.normalize(norm, jnp.array([-tiny, tiny])), [-wanted, wanted]
    )


def test_layer_norm_of_bfloat16_is_computed_in_float32():
    x = (100 + jax.random.normal(jax.random.key(0), (3, 64))).astype(jnp.bfloat16)
    norm = operations.Norm(jnp.ones(64, jnp.bfloat16), jnp.zeros(64, jnp.bfloat16))
    normalized = operations.normalize(norm, x)
    assert normalized.dtype == jnp.float32
    exact = np.asarray(x, np.float64)
    exact -= exact.mean(-1, keepdims=True)
    exact /= np.sqrt((exact**2).mean(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(normalized, exact, atol=1e-4)
