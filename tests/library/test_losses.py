"""Tests of the masked losses."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from relational_rnn import losses

pytestmark = pytest.mark.usefixtures('compile_quickly')
T, B, V = 4, 3, 5


@pytest.fixture
def batch():
    keys = jax.random.split(jax.random.key(3), 3)
    logits = 2 * jax.random.normal(keys[0], (T, B, V))
    targets = jax.random.randint(keys[1], (T, B), 0, V)
    weights = jax.random.uniform(keys[2], (T, B)).at[1, 2].set(0).at[3, 0].set(0)
    return logits, targets, weights


def reference(logits, targets, weights):
    """Weighted sums of nll and of hits, and the weight, in float64 loops."""
    nll = hits = 0.0
    for t, b in np.ndindex(T, B):
        scores = np.asarray(logits[t, b], np.float64)
        log_z = np.log(np.sum(np.exp(scores)))
        nll += float(weights[t, b]) * (log_z - scores[targets[t, b]])
        hits += float(weights[t, b]) * (np.argmax(scores) == targets[t, b])
    return nll, hits, np.asarray(weights, np.float64).sum()


def test_losses_equal_a_float64_loop(batch):
    nll, hits, weight = reference(*batch)
    np.testing.assert_allclose(losses.cross_entropy(*batch), (nll, weight), rtol=1e-6)
    np.testing.assert_allclose(losses.accuracy(*batch), (hits, weight), rtol=1e-6)
    perplexity = losses.perplexity(losses.cross_entropy(*batch))
    np.testing.assert_allclose(perplexity, np.exp(nll / weight), rtol=1e-6)


def test_values_that_can_be_checked_by_hand():
    logits = jnp.log(jnp.array([[1.0, 3.0], [2.0, 2.0], [9.0, 1.0]]))
    targets, weights = jnp.array([1, 0, 1]), jnp.array([1.0, 2.0, 0.0])
    nll = losses.cross_entropy(logits, targets, weights)
    np.testing.assert_allclose(nll.total, -np.log(0.75) - 2 * np.log(0.5), rtol=1e-6)
    assert nll.weight == 3
    hits = losses.accuracy(logits, targets, jnp.array([1.0, 1.0, 2.0]))
    assert hits == (2, 4)  # of two equal logits the first counts
    assert losses.mean(hits) == 0.5


def test_uniform_logits_have_perplexity_of_the_number_of_classes(batch):
    _, targets, weights = batch
    nll = losses.cross_entropy(jnp.full((T, B, V), 7.0), targets, weights)
    np.testing.assert_allclose(losses.perplexity(nll), V, rtol=1e-6)


@pytest.mark.parametrize('loss', [losses.cross_entropy, losses.accuracy])
@pytest.mark.parametrize('garbage', [3e38, -1e9, np.nan, np.inf])
def test_zero_weight_equals_absent(batch, loss, garbage):
    logits, targets, weights = batch
    absent = weights == 0
    logits_2 = jnp.where(absent[..., None], garbage * (-1.0) ** jnp.arange(V)[None, None], logits)
    targets_2 = jnp.where(absent, 10**6, targets)

    def total(logits, targets):
        return loss(logits, targets, weights).total

    value, grad = jax.value_and_grad(total)(logits_2, targets_2)
    chex.assert_trees_all_equal((value, grad), jax.value_and_grad(total)(logits, targets))
    assert np.all(np.asarray(grad)[np.asarray(absent)] == 0)
    kept = ~np.asarray(absent)
    without = loss(logits[kept], targets[kept], weights[kept])
    np.testing.assert_allclose(loss(logits_2, targets_2, weights), without, rtol=1e-6)


def test_sums_of_windows_add_up_to_the_sum_of_the_whole(batch):
    windows = [losses.cross_entropy(*(x[part] for x in batch)) for part in np.s_[:1, 1:]]
    total = jax.tree.map(jnp.add, *windows)
    np.testing.assert_allclose(total, losses.cross_entropy(*batch), rtol=1e-6)


def test_the_gradient_is_softmax_minus_one_hot(batch):
    logits, targets, weights = batch
    grad = jax.grad(lambda x: losses.cross_entropy(x, targets, weights).total)(logits)
    exps = np.exp(np.asarray(logits, np.float64))
    want = exps / exps.sum(-1, keepdims=True) - np.eye(V)[np.asarray(targets)]
    np.testing.assert_allclose(grad, want * np.asarray(weights)[..., None], atol=1e-6)


def test_bfloat16_logits_are_summed_in_float32(batch):
    logits, targets, weights = batch
    low = logits.astype(jnp.bfloat16)
    nll = losses.cross_entropy(low, targets, weights)
    assert nll.total.dtype == jnp.float32
    want = losses.cross_entropy(low.astype(jnp.float32), targets, weights)
    np.testing.assert_array_equal(nll, want)


def test_nothing_present_has_mean_zero_and_finite_gradients(batch):
    logits, targets, weights = batch

    def loss(x):
        return losses.mean(losses.cross_entropy(x, targets, jnp.zeros_like(weights)))

    value, grad = jax.value_and_grad(loss)(logits)
    assert value == 0
    assert not np.any(grad)


@pytest.mark.parametrize('loss', [losses.cross_entropy, losses.accuracy])
def test_shapes_that_do_not_fit_are_refused(batch, loss):
    logits, targets, weights = batch
    for bad in (
        (logits, targets, weights[:, :2]),
        (logits[:3], targets, weights),
        (logits[..., 0], targets, weights),
        (logits, targets.astype(jnp.float32), weights),
    ):
        with pytest.raises(AssertionError):
            loss(*bad)
