"""The Nth Farthest task: which vector is the nth farthest from vector m.

A sequence has N vectors, sampled uniformly from [-1, 1)^D, one a step, each with its label; labels
are a random permutation of 1 ... N, independent of the order of the vectors. Every step also
repeats the question, n and m. The target after the last step is the label of the vector with the
nth largest Euclidean distance from the vector labelled m, where n = 0 is the farthest and n = N - 1
is vector m itself.

An input is [vector D; label one-hot N; n one-hot N; m one-hot N]: 40 numbers for 8 vectors of 16.
In code labels are 0 ... N - 1.

A worked example, N = 3 vectors of D = 1 dimension: the vectors 0.5, -1.0, 0.4 come with the labels
2, 0, 1, and the question is n = 0, m = 1. Vector 1 is 0.4; the distances from it are 0.1 to vector
2 and 1.4 to vector 0; the farthest is vector 0. For n = 1 it is vector 2 and for n = 2 vector 1.

Santoro et al. 2018, "Relational recurrent neural networks", section 4.1 and appendix A.1,
https://arxiv.org/abs/1806.01822. The authors' public generator puts m before n and counts from the
nearest; the paper's words, followed here, are its mirror image. One n of N makes m the answer.

Glossary of shapes:
  N: vectors of a sequence, its steps; D: dimensions of a vector; B: sequences.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Questions(NamedTuple):
    """Sequences and their answers."""

    inputs: jax.Array  # [N, B, D + 3 N] float32
    answers: jax.Array  # [B] int32, labels
    ranking: jax.Array  # [N, B] int32, the answer for every n
    vectors: jax.Array  # [N, B, D] float32, in order of presentation
    labels: jax.Array  # [N, B] int32, of the vectors
    n: jax.Array  # [B] int32, 0 for the farthest
    m: jax.Array  # [B] int32, a label


class Parts(NamedTuple):
    """What an input consists of, in its order."""

    vectors: jax.Array  # [..., D]
    labels: jax.Array  # [..., N], one-hot
    n: jax.Array  # [..., N], one-hot
    m: jax.Array  # [..., N], one-hot


def sample(keys: jax.Array, num_objects: int = 8, num_dims: int = 16) -> Questions:
    """Samples sequences, one for each key, on the device.

    Args:
      keys: [B] keys, so that a sequence depends on its own key alone.
      num_objects: N, at least 2.
      num_dims: D, at least 1.

    Returns:
      The sequences.

    Raises:
      ValueError: a size is too small.
    """
    if num_objects < 2 or num_dims < 1:
        raise ValueError(
            f'wanted at least 2 objects of at least 1 dimension, got {num_objects} of {num_dims}'
        )
    sample_one = functools.partial(_sample_one, num_objects=num_objects, num_dims=num_dims)
    vectors, labels, n, m = jax.vmap(sample_one, out_axes=(1, 1, 0, 0))(keys)
    return make_questions(vectors, labels, n, m)


def make_questions(vectors: jax.Array, labels: jax.Array, n: jax.Array, m: jax.Array) -> Questions:
    """Returns the inputs and answers of given sequences; the arguments are as in `Questions`."""
    num_objects = vectors.shape[0]
    repeated = [jnp.broadcast_to(x, labels.shape) for x in (n, m)]
    parts = Parts(vectors, *(jax.nn.one_hot(x, num_objects) for x in (labels, *repeated)))
    inputs = jnp.concatenate(parts, axis=-1)
    ranking = jnp.argsort(-squared_distances(vectors, labels, m), axis=1).T.astype(jnp.int32)
    answers = jnp.take_along_axis(ranking, n[None], axis=0)[0]
    return Questions(inputs, answers, ranking, vectors, labels, n, m)


def split(inputs: jax.Array, num_dims: int) -> Parts:
    """Returns the parts of inputs [..., D + 3 N]; `num_dims` is D.

    Raises:
      ValueError: inputs of that size have no such parts.
    """
    num_objects, rest = divmod(inputs.shape[-1] - num_dims, 3)
    if num_objects < 1 or rest:
        size = inputs.shape[-1]
        raise ValueError(f'wanted inputs of size {num_dims} + 3 N, got {size}')
    places = [num_dims + i * num_objects for i in range(3)]
    return Parts(*jnp.split(inputs, places, axis=-1))


def squared_distances(vectors: jax.Array, labels: jax.Array, m: jax.Array) -> jax.Array:
    """Returns the squared distance of every vector from vector m, by label: [B, N]."""
    ordered = by_label(vectors, labels)
    reference = jnp.take_along_axis(ordered, m[None, :, None], axis=0)
    return jnp.sum(jnp.square(ordered - reference), axis=-1).T


def by_label(vectors: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns vectors in the order of their labels instead of that of their presentation."""
    return jnp.take_along_axis(vectors, jnp.argsort(labels, axis=0)[..., None], axis=0)


def _sample_one(key: jax.Array, num_objects: int, num_dims: int) -> tuple[jax.Array, ...]:
    """Samples one sequence: vectors [N, D], labels [N], n and m []."""
    for_vectors, for_labels, for_n, for_m = jax.random.split(key, 4)
    shape = num_objects, num_dims
    return (
        jax.random.uniform(for_vectors, shape, minval=-1, maxval=1),
        jax.random.permutation(for_labels, num_objects).astype(jnp.int32),
        jax.random.randint(for_n, (), 0, num_objects),
        jax.random.randint(for_m, (), 0, num_objects),
    )
