"""Nth Farthest against a loop, its worked example, and rules of known accuracy."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tasks import nth_farthest

NUM_RULED = 40_000  # sequences that rules are scored on: one standard deviation is 0.0025 at most


pytestmark = pytest.mark.usefixtures('compile_quickly')


@functools.cache
def sampler(*sizes):
    return jax.jit(lambda keys: nth_farthest.sample(keys, *sizes))


@functools.cache
def sample(*sizes, count=50):
    keys = jax.random.split(jax.random.key(0), count)
    return jax.tree.map(np.asarray, sampler(*sizes)(keys))


def by_label(questions):
    """The vectors [B, N, D] in the order of their labels."""
    found = np.zeros(questions.vectors.swapaxes(0, 1).shape)
    for step, labels in enumerate(questions.labels):
        found[np.arange(len(labels)), labels] = questions.vectors[step]
    return found


def score(scores, questions):
    """The accuracy of taking the nth largest score [B, N] of a label."""
    picked = np.argsort(-scores, axis=1)[np.arange(len(questions.n)), questions.n]
    return float(np.mean(picked == questions.answers))


def test_the_worked_example():
    vectors = jnp.array([0.5, -1.0, 0.4]).reshape(3, 1, 1)
    for n, answer in ((0, 0), (1, 2), (2, 1)):
        questions = nth_farthest.make_questions(
            vectors, jnp.array([[2], [0], [1]]), jnp.array([n]), jnp.array([1])
        )
        assert questions.answers.tolist() == [answer]
    expected = [0.5, 0, 0, 1, 0, 0, 1, 0, 1, 0]  # vector; label 2; n = 2; m = 1
    np.testing.assert_array_equal(questions.inputs[0, 0], np.array(expected, np.float32))


@pytest.mark.parametrize('sizes', [(), (5, 3), (2, 1)])
def test_answers_are_those_of_a_loop(sizes):
    questions = sample(*sizes, count=50 if sizes else NUM_RULED)
    num_objects = len(questions.vectors)
    for row in range(50):
        vectors = questions.vectors[:, row].astype(np.float64)
        labels = questions.labels[:, row].tolist()
        reference = vectors[labels.index(questions.m[row])]
        distances = [float(np.linalg.norm(vector - reference)) for vector in vectors]
        farthest_first = sorted(range(num_objects), key=lambda step: -distances[step])
        assert questions.answers[row] == labels[farthest_first[questions.n[row]]]


def test_inputs_hold_vector_label_n_and_m_in_this_order_at_every_step():
    questions = sample(5, 3)
    chex.assert_shape(questions.inputs, (5, 50, 3 + 3 * 5))
    vectors, labels, n, m = np.split(questions.inputs, [3, 8, 13], axis=-1)
    np.testing.assert_array_equal(vectors, questions.vectors)
    for one_hot, numbers in ((labels, questions.labels), (n, questions.n), (m, questions.m)):
        expected = np.broadcast_to(numbers, (5, 50))
        np.testing.assert_array_equal(one_hot, np.eye(5)[expected])
    parts = nth_farthest.split(jnp.asarray(questions.inputs), 3)
    chex.assert_trees_all_equal(parts, nth_farthest.Parts(vectors, labels, n, m))


def test_what_is_sampled_is_uniform():
    questions = sample(count=NUM_RULED)
    assert questions.inputs.shape == (8, NUM_RULED, 16 + 3 * 8)
    assert np.abs(questions.vectors).max() < 1
    np.testing.assert_allclose(questions.vectors.mean(axis=(1, 2)), 0, atol=0.005)
    np.testing.assert_allclose(questions.vectors.var(axis=(1, 2)), 1 / 3, rtol=0.01)
    assert np.all(np.sort(questions.labels, axis=0) == np.arange(8)[:, None])
    for numbers in (questions.n, questions.m, questions.labels[0], questions.answers):
        shares = np.bincount(numbers, minlength=8) / NUM_RULED
        np.testing.assert_allclose(shares, 1 / 8, atol=0.007)
    assert abs(np.corrcoef(questions.n, questions.m)[0, 1]) < 0.02


def test_rules_score_what_they_should():
    """The levels that a network passes: the paper's baselines stay at the first."""
    questions = sample(count=NUM_RULED)
    rows, vectors = np.arange(NUM_RULED), by_label(questions)
    reference = vectors[rows, questions.m]
    itself = np.eye(8)[questions.m]  # the last by every rule

    def rule(scores):
        return score(np.where(itself, -np.inf, scores), questions)

    noise = np.random.default_rng(0).random((NUM_RULED, 8))
    assert rule(noise) == pytest.approx(0.250, abs=0.01)
    assert rule(np.sum(vectors**2, axis=-1)) == pytest.approx(0.307, abs=0.01)
    dots = np.einsum('bnd,bd->bn', vectors, reference)
    assert rule(-dots) == pytest.approx(0.554, abs=0.01)
    distances = np.sum((vectors - reference[:, None]) ** 2, axis=-1)
    assert rule(distances) == 1
    assert score(distances, questions) == 1


def test_squared_distances_are_by_label():
    questions = sample(5, 3)
    vectors = by_label(questions)
    expected = np.sum((vectors - vectors[np.arange(50), questions.m][:, None]) ** 2, axis=-1)
    squared_distances = jax.jit(nth_farthest.squared_distances)
    found = squared_distances(questions.vectors, questions.labels, questions.m)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_sequence_depends_on_its_own_key_alone():
    keys = [jax.random.split(jax.random.key(seed), 50) for seed in (0, 1)]
    is_same = np.arange(50) % 7 == 3
    other = sampler(5, 3)(jnp.where(is_same, *keys))
    whole = sample(5, 3)
    np.testing.assert_array_equal(other.inputs[:, is_same], whole.inputs[:, is_same])
    np.testing.assert_array_equal(other.answers[is_same], whole.answers[is_same])
    assert np.all(np.any(other.vectors != whole.vectors, axis=(0, 2)) == ~is_same)


@pytest.mark.parametrize('sizes', [(1, 16), (8, 0)])
def test_sizes_that_are_too_small_are_refused(sizes):
    with pytest.raises(ValueError, match='wanted at least 2 objects of at least 1 dimension'):
        nth_farthest.sample(jax.random.split(jax.random.key(0), 2), *sizes)


@pytest.mark.parametrize('size', [15, 3])
def test_inputs_of_another_size_have_no_parts(size):
    with pytest.raises(ValueError, match=f'wanted inputs of size 4 . 3 N, got {size}'):
        nth_farthest.split(jnp.zeros((2, size)), 4)
