"""Sampling: what temperature and top-p keep, by hand and by frequency."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from relational_rnn.networks import sampling

pytestmark = pytest.mark.usefixtures('compile_quickly')
P = np.array([0.1, 0.4, 0.05, 0.25, 0.2], np.float32)  # in the order of likelihood: 1 3 4 0 2


def _frequencies(temperature, top_p, probabilities=P, count=20_000):
    log_probs = np.broadcast_to(np.log(probabilities), (count, len(probabilities)))
    words = sampling.sample(jax.random.key(7), log_probs, temperature, top_p)
    assert words.shape == (count,)
    return np.bincount(words, minlength=len(probabilities)) / count


@pytest.mark.parametrize('key', [0, 1])
@pytest.mark.parametrize('temperature', [0, 1e-39, 1e-20])
def test_temperature_zero_or_next_to_it_takes_the_likeliest_word(temperature, key):
    log_probs = jnp.log(jnp.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]]))
    for top_p in (1.0, 0.2):
        got = sampling.sample(jax.random.key(key), log_probs, temperature, top_p)
        np.testing.assert_array_equal(got, [1, 0])


def test_temperature_one_samples_the_distribution():
    np.testing.assert_allclose(_frequencies(1.0, 1.0), P, atol=0.012)  # a deviation is 0.0035


def test_temperature_sharpens_and_flattens():
    for temperature in (0.5, 2.0):
        wanted = P ** (1 / temperature)
        wanted /= wanted.sum()
        np.testing.assert_allclose(_frequencies(temperature, 1.0), wanted, atol=0.012)


@pytest.mark.parametrize(
    ('top_p', 'kept'),
    [
        (0.01, [1]),  # the likeliest word always stays
        (0.39, [1]),
        (0.41, [1, 3]),
        (0.64, [1, 3]),
        (0.66, [1, 3, 4]),
        (0.84, [1, 3, 4]),
        (0.86, [0, 1, 3, 4]),
        (0.96, [0, 1, 2, 3, 4]),
        (1.0, [0, 1, 2, 3, 4]),
    ],
)
def test_top_p_keeps_the_fewest_likely_words_that_reach_it(top_p, kept):
    wanted = np.where(np.isin(np.arange(5), kept), P, 0)
    got = _frequencies(1.0, top_p, count=5000)
    np.testing.assert_array_equal(got > 0, wanted > 0)
    np.testing.assert_allclose(got, wanted / wanted.sum(), atol=0.03)  # a deviation is 0.007


def test_top_p_acts_after_the_temperature():
    # Squared and normalised: 0.037, 0.593, 0.009, 0.231, 0.148, so 0.7 keeps two of three.
    assert list(np.flatnonzero(_frequencies(1.0, 0.7, count=3000))) == [1, 3, 4]
    assert list(np.flatnonzero(_frequencies(0.5, 0.7, count=3000))) == [1, 3]


def test_words_of_probability_zero_are_never_sampled():
    log_probs = np.array([0.0, -np.inf, -1.0], np.float32)
    words = sampling.sample(jax.random.key(1), np.broadcast_to(log_probs, (2000, 3)), 5.0, 0.99)
    assert set(np.unique(words)) == {0, 2}


def test_a_key_gives_the_same_words_again_and_another_key_others():
    log_probs = np.broadcast_to(np.log(P), (4, 6, 5))
    first, again, other = (
        sampling.sample(jax.random.key(key), log_probs, 0.8, 0.9) for key in (1, 1, 2)
    )
    assert first.shape == (4, 6)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(('temperature', 'top_p'), [(-0.1, 0.5), (1.0, 0.0), (1.0, 1.1)])
def test_bad_arguments_are_named(temperature, top_p):
    with pytest.raises(ValueError, match=rf'got {temperature} and {top_p}'):
        sampling.sample(jax.random.key(0), jnp.zeros(3), temperature, top_p)
