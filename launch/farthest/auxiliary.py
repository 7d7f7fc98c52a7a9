"""Auxiliary targets of Nth Farthest, for `--head=distances`, and the errors of its readings.

Glossary of shapes:
  N: vectors of a sequence, its steps; D: dimensions; B: sequences of a batch.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from relational_rnn.networks import distance_classifier
from tasks import nth_farthest

# Targets have mean 0 and variance 1. Of x and of (x - y)^2, both uniform in [-1, 1):
_VECTOR_VARIANCE = 1 / 3
_MEAN, _VARIANCE = 2 / 3, 28 / 45


class Auxiliary(NamedTuple):
    """Targets of the auxiliary losses."""

    ranking: chex.Array  # [N n, B] int32, the answer if n were asked
    n: chex.Array  # [1, B] int32
    m: chex.Array  # [1, B] int32
    vectors: chex.Array  # [N labels, B, D], variance 1
    distances: chex.Array  # [N labels, B], mean 0 and variance 1; that of m itself is unused
    shown: chex.Array  # [N steps, B, N labels] bool, whether this vector has been shown


def targets(questions: nth_farthest.Questions) -> Auxiliary:
    """Returns the targets of sequences."""
    num_objects, _, num_dims = questions.vectors.shape
    distances = nth_farthest.squared_distances(questions.vectors, questions.labels, questions.m)
    return Auxiliary(
        questions.ranking,
        questions.n[None],
        questions.m[None],
        nth_farthest.by_label(questions.vectors, questions.labels) * _VECTOR_VARIANCE**-0.5,
        (distances.T - num_dims * _MEAN) * (num_dims * _VARIANCE) ** -0.5,
        jnp.cumsum(jax.nn.one_hot(questions.labels, num_objects), axis=0) > 0,
    )


def errors(readings: distance_classifier.Readings, targets: Auxiliary) -> dict[str, chex.Array]:
    """Returns the mean squared error [B] of each reading, of what can be known after a step."""
    num_objects = targets.shown.shape[-1]
    n, m = (jax.nn.one_hot(x[0], num_objects) for x in (targets.n, targets.m))  # [B, N]
    m_shown = jnp.any(targets.shown & (m > 0), axis=-1, keepdims=True)  # [N steps, B, 1]
    m_vector = jnp.einsum('nbd,bn->bd', targets.vectors, m)
    question = jnp.concatenate([distance_classifier.standardize(x) for x in (n, m)], axis=-1)
    vectors = jnp.mean(jnp.square(readings.vectors - targets.vectors.swapaxes(0, 1)), axis=-1)
    reference = jnp.mean(jnp.square(readings.reference - m_vector), axis=-1, keepdims=True)
    distances = jnp.square(readings.distances - targets.distances.T)
    return {
        'vector_error': _mean_where(vectors, targets.shown),
        'reference_error': _mean_where(reference, m_shown),
        'question_error': jnp.mean(jnp.square(readings.question - question), axis=(0, 2)),
        'distance_error': _mean_where(distances, targets.shown & m_shown & (m == 0)),
    }


def _mean_where(errors: chex.Array, known: chex.Array) -> chex.Array:
    """Returns the means [B] of errors [N steps, B, ?], where known; all are after the last step."""
    return jnp.sum(errors * known, axis=(0, 2)) / jnp.sum(known, axis=(0, 2))
