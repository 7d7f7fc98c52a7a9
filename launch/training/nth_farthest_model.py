"""The network of `nth_farthest`, its loss, and what it is trained on.

`--head=mlp` is the paper's: core, then after the last step an MLP of 4 x 256 units, ReLU on all of
them, and one logit a label: Santoro et al. 2018, appendix A.1, https://arxiv.org/abs/1806.01822.

`--head=distances` reads the memory in three stages. Linear maps read every vector, vector m, and
the question, n and m. Of each vector beside vector m, a layer of units that square, the same for
all, makes a distance: squares of differences are what it can add up. Of every two distances a
layer, the same for all, says what their order means; of the mean for a label and the question an
MLP, the same for all, makes the label's logit: a relation network, Santoro et al. 2017, "A simple
neural network module for relational reasoning", https://arxiv.org/abs/1706.01427.

Every stage learns from a loss of its own, of what can be known by then: the first two after every
step, told the vectors, the question and the squared distances; the last after the last step, of
what was asked and of every other n. No gradient goes from one stage to the one before, so the core
learns to hold and to fetch, and is not disturbed by those that do not know yet what to make of it.
In an evaluation nothing is told.

Glossary of shapes:
  N: vectors of a sequence, its steps; D: dimensions; B: sequences.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from launch.training import cores, nth_farthest_config
from relational_rnn import losses, unrolling
from tasks import nth_farthest

LAYERS = (256, 256, 256, 256)  # of the paper's head
_PAIR_UNITS = 32
_LABEL_LAYERS = (64, 64)
ERRORS = 'vector_error', 'distance_error'  # of readings, shown in training
_HELD_OUT = 2018  # the seed of the sequences of evaluations, whatever the run's
_CHUNK = 400  # sequences of an evaluation at a time
# What is read is brought to mean 0 and variance 1. Of x and of (x - y)^2, both in [-1, 1):
_VECTOR_VARIANCE = 1 / 3
_MEAN, _VARIANCE = 2 / 3, 28 / 45


# Parameters and a number of sequences -> what `make_evaluation` says.
Evaluation = Callable[[chex.ArrayTree, int], dict[str, float]]


class Batch(NamedTuple):
    """Sequences to train on, with B as the second axis of all, as the training loop wants it."""

    inputs: chex.Array  # [N, B, D + 3 N], one-hots scaled
    answers: chex.Array  # [1, B] int32
    ranking: chex.Array  # [N n, B] int32, the answer if n were asked
    n: chex.Array  # [1, B] int32
    m: chex.Array  # [1, B] int32
    vectors: chex.Array  # [N labels, B, D], variance 1
    distances: chex.Array  # [N labels, B], mean 0 and variance 1; that of m itself is unused
    shown: chex.Array  # [N steps, B, N labels] bool, whether this vector has been shown


class Readings(NamedTuple):
    """What the head reads after every step; what has not been shown yet it cannot know."""

    vectors: chex.Array  # [N steps, B, N labels, D]
    reference: chex.Array  # [N steps, B, D], vector m
    question: chex.Array  # [N steps, B, 2 N], n and m as one-hots of mean 0 and variance 1
    distances: chex.Array  # [N steps, B, N labels]


class Model(NamedTuple):
    """The functions of the network; `params` are Haiku's."""

    init: Callable[[chex.PRNGKey], chex.ArrayTree]
    logits: Callable[[chex.ArrayTree, chex.Array], chex.Array]  # inputs -> [B, N]
    # inputs -> logits [1, B, N] of what is asked; of --head=distances [1 + N n, B, N], of every n
    # after it, and what it reads
    apply: Callable[[chex.ArrayTree, chex.Array], tuple[chex.Array, Readings | None]]


def make_model(config: nth_farthest_config.Config) -> Model:
    """Returns the network of a configuration."""
    size = config.num_dims + 3 * config.num_objects

    def forward(inputs: chex.Array) -> tuple[chex.Array, Readings | None]:
        core = cores.make(config, size)
        state = core.initial_state(inputs.shape[1])
        outputs, _ = unrolling.unroll(core, inputs, state)
        if config.head == 'mlp':
            return _answer(outputs[-1:], config.num_objects), None
        readings = _read(outputs, config.num_objects, config.num_dims)
        return _rank(*jax.lax.stop_gradient(_questions(readings))), readings

    network = hk.transform(forward)
    shape = config.num_objects, 1, size
    return Model(
        jax.jit(lambda key: network.init(key, jnp.zeros(shape))),
        lambda params, inputs: network.apply(params, None, inputs)[0][0],
        lambda params, inputs: network.apply(params, None, inputs),
    )


def _answer(hidden: chex.Array, num_objects: int) -> chex.Array:
    """Returns a logit a label, of an MLP with ReLU on all layers."""
    hidden = hk.nets.MLP(LAYERS, activate_final=True, name='answer_mlp')(hidden)
    return hk.Linear(num_objects, name='answer')(hidden)


def _read(outputs: chex.Array, num_objects: int, num_dims: int) -> Readings:
    """Reads vectors and distances from the outputs of the core after every step [N, B, size]."""
    flat = hk.Linear(num_objects * num_dims, name='vectors')(outputs)
    vectors = flat.reshape(*flat.shape[:2], num_objects, num_dims)
    reference = hk.Linear(num_dims, name='reference')(outputs)
    question = hk.Linear(2 * num_objects, name='question')(outputs)
    beside = jnp.broadcast_to(reference[..., None, :], vectors.shape)
    pairs = jax.lax.stop_gradient(jnp.concatenate([vectors, beside], axis=-1))
    # (x - y)^2 takes a unit for each dimension, but the more there are, the sooner they are found.
    squares = jnp.square(hk.Linear(4 * num_dims, name='squares')(pairs))
    distances = hk.Linear(1, name='distances')(squares)[..., 0]
    return Readings(vectors, reference, question, distances)


def _rank(distances: chex.Array, n: chex.Array, m: chex.Array) -> chex.Array:
    """Returns a logit a label, [..., N], of distances, n and m, [..., N] each."""
    labels = jnp.stack([distances, m], axis=-1)  # [..., N, 2]
    shape = (*labels.shape[:-1], *labels.shape[-2:])  # [..., N, N, 2]
    one, other = (jnp.broadcast_to(jnp.expand_dims(labels, axis), shape) for axis in (-2, -3))
    pairs = hk.Linear(_PAIR_UNITS, name='pairs')(jnp.concatenate([one, other], axis=-1))
    compared = jnp.mean(jax.nn.relu(pairs), axis=-2)  # [..., N, units]
    asked = jnp.broadcast_to(jnp.expand_dims(n, -2), (*compared.shape[:-1], n.shape[-1]))
    hidden = jnp.concatenate([compared, asked, m[..., None]], axis=-1)
    hidden = hk.nets.MLP(_LABEL_LAYERS, activate_final=True, name='label_mlp')(hidden)
    return hk.Linear(1, name='rank')(hidden)[..., 0]


def _questions(readings: Readings) -> tuple[chex.Array, chex.Array, chex.Array]:
    """Returns what is asked after the last step, as it is read and then for every n.

    Args:
      readings: of all steps.

    Returns:
      Distances, and n and m as in `Readings.question`, [1 + N, B, N] each.
    """
    distances, question = readings.distances[-1], readings.question[-1]
    num_objects = distances.shape[-1]
    n, m = jnp.split(question, 2, axis=-1)
    every = jnp.broadcast_to(_standardize(jnp.eye(num_objects))[:, None], (num_objects, *n.shape))
    n = jnp.concatenate([n[None], every])
    return jnp.broadcast_to(distances, n.shape), n, jnp.broadcast_to(m, n.shape)


def _standardize(one_hots: chex.Array) -> chex.Array:
    """Brings one-hots [..., N] to mean 0 and variance 1."""
    num_objects = one_hots.shape[-1]
    return (one_hots * num_objects - 1) * (num_objects - 1) ** -0.5


def sample(config: nth_farthest_config.Config, keys: chex.PRNGKey) -> Batch:
    """Draws sequences on the device, one for each of the keys [B]."""
    questions = nth_farthest.sample(keys, config.num_objects, config.num_dims)
    distances = nth_farthest.squared_distances(questions.vectors, questions.labels, questions.m)
    dims = config.num_dims
    return Batch(
        scale(config, questions.inputs),
        questions.answers[None],
        questions.ranking,
        questions.n[None],
        questions.m[None],
        nth_farthest.by_label(questions.vectors, questions.labels) * _VECTOR_VARIANCE**-0.5,
        (distances.T - dims * _MEAN) * (dims * _VARIANCE) ** -0.5,
        jnp.cumsum(jax.nn.one_hot(questions.labels, config.num_objects), axis=0) > 0,
    )


def scale(config: nth_farthest_config.Config, inputs: chex.Array) -> chex.Array:
    """Multiplies the one-hots of inputs [N, B, D + 3 N] as the network wants them.

    What a slot attends to is told by labels; beside 16 dimensions a 1 is hardly seen.
    """
    vectors, one_hots = jnp.split(inputs, [config.num_dims], axis=-1)
    return jnp.concatenate([vectors, config.one_hot_scale * one_hots], axis=-1)


def loss(
    model: Model, params: chex.ArrayTree, batch: Batch
) -> tuple[losses.WeightedSum, Mapping[str, chex.Array]]:
    """Returns the loss, summed over sequences, and sums of what is shown beside it.

    Args:
      model: the network.
      params: its parameters.
      batch: what to learn.

    Returns:
      The cross entropy in nats, with its mean over every n and the mean squared errors of what the
      head reads, in units of the variance, if it reads; and sums over the sequences:
      'training_accuracy' counts right answers, `ERRORS` add those errors, if there are any.
    """
    logits, readings = model.apply(params, batch.inputs)
    weights = jnp.ones(batch.answers.shape)
    total, weight = losses.cross_entropy(logits[:1], batch.answers, weights)
    sums = {'training_accuracy': losses.accuracy(logits[:1], batch.answers, weights).total}
    if readings is not None:
        others = losses.cross_entropy(logits[1:], batch.ranking, jnp.ones(batch.ranking.shape))
        errors = _errors(readings, batch)
        total += others.total / len(batch.ranking)
        total += sum(jnp.sum(error) for error in errors.values())
        sums |= {name: jnp.sum(errors[name]) for name in ERRORS}
    return losses.WeightedSum(total, weight), sums


def _errors(readings: Readings, batch: Batch) -> dict[str, chex.Array]:
    """Returns the mean squared error [B] of each reading, of what can be known after a step."""
    num_objects = batch.shown.shape[-1]
    n, m = (jax.nn.one_hot(x[0], num_objects) for x in (batch.n, batch.m))  # [B, N]
    m_shown = jnp.any(batch.shown & (m > 0), axis=-1, keepdims=True)  # [N steps, B, 1]
    m_vector = jnp.einsum('nbd,bn->bd', batch.vectors, m)
    question = jnp.concatenate([_standardize(n), _standardize(m)], axis=-1)
    vectors = jnp.mean(jnp.square(readings.vectors - batch.vectors.swapaxes(0, 1)), axis=-1)
    reference = jnp.mean(jnp.square(readings.reference - m_vector), axis=-1, keepdims=True)
    distances = jnp.square(readings.distances - batch.distances.T)
    return {
        'vector_error': _mean_where(vectors, batch.shown),
        'reference_error': _mean_where(reference, m_shown),
        'question_error': jnp.mean(jnp.square(readings.question - question), axis=(0, 2)),
        'distance_error': _mean_where(distances, batch.shown & m_shown & (m == 0)),
    }


def _mean_where(errors: chex.Array, known: chex.Array) -> chex.Array:
    """Returns the means [B] of errors [N steps, B, ?], where known; all are after the last step."""
    return jnp.sum(errors * known, axis=(0, 2)) / jnp.sum(known, axis=(0, 2))


def make_evaluation(config: nth_farthest_config.Config, model: Model) -> Evaluation:
    """Returns what measures a network on the full task.

    Returns:
      Parameters and a number of sequences to 'accuracy' and 'eval_loss', the cross entropy in nats.
      The sequences are always the same ones, and no run trains on their keys.
    """

    def score(params: chex.ArrayTree, first: chex.Array) -> tuple[chex.Array, chex.Array]:
        numbers = first + jnp.arange(_CHUNK)
        key = jax.random.key(_HELD_OUT)
        batch = sample(config, jax.vmap(jax.random.fold_in, (None, 0))(key, numbers))
        logits, answers = model.logits(params, batch.inputs), batch.answers[0]
        nats = -jnp.take_along_axis(jax.nn.log_softmax(logits), answers[:, None], axis=1)[:, 0]
        return jnp.argmax(logits, axis=1) == answers, nats

    run = jax.jit(score)

    def evaluate(params: chex.ArrayTree, size: int) -> dict[str, float]:
        parts = [run(params, first) for first in range(0, size, _CHUNK)]
        right, nats = (jnp.concatenate(values)[:size] for values in zip(*parts, strict=True))
        return {'accuracy': float(jnp.mean(right)), 'eval_loss': float(jnp.mean(nats))}

    return evaluate
