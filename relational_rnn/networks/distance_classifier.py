"""A head for Nth Farthest that is trained with auxiliary losses; it is not the paper's network.

The task: of N labelled vectors of D numbers, one a step, which is the nth farthest from the
vector labelled m? This network reads the core's outputs in three stages. Linear maps read every
vector, vector m, and the question, n and m. From each vector and vector m a layer of squared units,
the same for all, computes a distance: squares of differences are what it can add up. From every two
distances a layer, the same for all, computes features of their order; from their mean for a label
and the question an MLP, the same for all, computes the label's logit: a relation network, Santoro
et al. 2017, "A simple neural network module for relational reasoning",
https://arxiv.org/abs/1706.01427.

The readings of the first two stages, after every step, are for auxiliary losses, whose targets are
the vectors, the question and the squared distances; the last stage also answers every n. No
gradient passes from a stage to the one before, so the core learns to store and to retrieve, and the
losses of the later stages do not disturb it.

Glossary of shapes:
  N: vectors of a sequence, its steps, and their labels; B: batch; D: dimensions of a vector.
  Y: output size of the core; U: units.
"""

from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from relational_rnn import unrolling

_PAIR_UNITS = 32
_LABEL_LAYERS = (64, 64)


class Readings(NamedTuple):
    """The readings after every step; vectors that come later cannot be right."""

    vectors: jax.Array  # [N steps, B, N labels, D]
    reference: jax.Array  # [N steps, B, D], vector m
    question: jax.Array  # [N steps, B, 2 N], n and m as standardized one-hots
    distances: jax.Array  # [N steps, B, N labels], squared, from vector m


class DistanceClassifier(hk.Module):
    """Reads vectors, question and distances from a core, and gives the logits of labels."""

    def __init__(self, core: hk.RNNCore, num_objects: int, num_dims: int, name: str | None = None):
        """Makes a network around a core.

        Args:
          core: the recurrent core.
          num_objects: N.
          num_dims: D.
          name: the module's name.
        """
        super().__init__(name=name)
        self._core, self._shape = core, (num_objects, num_dims)

    def __call__(self, inputs: jax.Array) -> tuple[jax.Array, Readings]:
        """Returns logits and readings.

        Args:
          inputs: [N, B, any].

        Returns:
          Logits [1 + N, B, N], by the n that was read and then by every n, and the readings.
        """
        outputs, _ = unrolling.unroll(self._core, inputs, self._core.initial_state(inputs.shape[1]))
        readings = self.read(outputs)
        return self.rank(*jax.lax.stop_gradient(questions(readings))), readings

    @hk.transparent
    def read(self, outputs: jax.Array) -> Readings:
        """Returns the readings from the core's outputs [N, B, Y] of all steps."""
        num_objects, num_dims = self._shape
        flat = hk.Linear(num_objects * num_dims, name='vectors')(outputs)
        vectors = flat.reshape(*flat.shape[:2], num_objects, num_dims)
        reference = hk.Linear(num_dims, name='reference')(outputs)
        question = hk.Linear(2 * num_objects, name='question')(outputs)
        references = jnp.broadcast_to(reference[..., None, :], vectors.shape)
        pairs = jax.lax.stop_gradient(jnp.concatenate([vectors, references], axis=-1))
        # (x - y)^2 takes one unit for each dimension, but with more they are found sooner.
        squares = jnp.square(hk.Linear(4 * num_dims, name='squares')(pairs))
        distances = hk.Linear(1, name='distances')(squares)[..., 0]
        return Readings(vectors, reference, question, distances)

    @hk.transparent
    def rank(self, distances: jax.Array, n: jax.Array, m: jax.Array) -> jax.Array:
        """Returns the logits of labels, [..., N], for distances, n and m, [..., N] each."""
        labels = jnp.stack([distances, m], axis=-1)  # [..., N, 2]
        shape = (*labels.shape[:-1], *labels.shape[-2:])  # [..., N, N, 2]
        one, other = (jnp.broadcast_to(jnp.expand_dims(labels, axis), shape) for axis in (-2, -3))
        pairs = hk.Linear(_PAIR_UNITS, name='pairs')(jnp.concatenate([one, other], axis=-1))
        compared = jnp.mean(jax.nn.relu(pairs), axis=-2)  # [..., N, U]
        asked = jnp.broadcast_to(jnp.expand_dims(n, -2), (*compared.shape[:-1], n.shape[-1]))
        hidden = jnp.concatenate([compared, asked, m[..., None]], axis=-1)
        hidden = hk.nets.MLP(_LABEL_LAYERS, activate_final=True, name='label_mlp')(hidden)
        return hk.Linear(1, name='rank')(hidden)[..., 0]


def questions(readings: Readings) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the questions after the last step: the one that was read, then one for every n.

    Args:
      readings: of all steps.

    Returns:
      Distances, and n and m as in `Readings.question`, [1 + N, B, N] each.
    """
    distances, question = readings.distances[-1], readings.question[-1]
    num_objects = distances.shape[-1]
    n, m = jnp.split(question, 2, axis=-1)
    every = jnp.broadcast_to(standardize(jnp.eye(num_objects))[:, None], (num_objects, *n.shape))
    n = jnp.concatenate([n[None], every])
    return jnp.broadcast_to(distances, n.shape), n, jnp.broadcast_to(m, n.shape)


def standardize(one_hots: jax.Array) -> jax.Array:
    """Brings one-hots [..., N] to mean 0 and variance 1."""
    num_objects = one_hots.shape[-1]
    return (one_hots * num_objects - 1) * (num_objects - 1) ** -0.5
