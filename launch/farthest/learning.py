"""What Nth Farthest learns: the network as pure functions, batches, and the loss.

Glossary of shapes:
  N: vectors of a sequence, its steps; D: dimensions; B: sequences of a batch.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from launch.farthest import auxiliary as auxiliary_lib
from launch.farthest import configuration, smaller
from launch.training import cores, task
from relational_rnn import losses
from relational_rnn.networks import distance_classifier, sequence_classifier
from tasks import nth_farthest


class Batch(NamedTuple):
    """Sequences to train on, with B as the second axis of all, as the training loop wants it."""

    inputs: chex.Array  # [N, B, D + 3 N], one-hots scaled
    answers: chex.Array  # [1, B] int32
    auxiliary: auxiliary_lib.Auxiliary | None = None  # targets of `--head=distances`
    # of `--answers=every_n`: the answer if n were asked, [N n, B] int32, and its weight, [N n, B]
    every_n: tuple[chex.Array, chex.Array] | None = None
    level: chex.Array | None = None  # [1, B] int32, of a curriculum, the same for all


class Network(NamedTuple):
    """The functions of the network; `params` are Haiku's."""

    init: Any  # key -> params
    apply: Any  # params, inputs [N, B, D + 3 N] -> logits [1, B, N] and None; with auxiliary
    # losses logits [1 + N, B, N] of what is asked and of every n, and readings


def make_network(config: configuration.Config) -> Network:
    """Returns the network of a configuration."""

    def forward(inputs: chex.Array) -> tuple[chex.Array, Any]:
        core = cores.make(config, (config.input_size,))
        if config.head == 'mlp' and config.answers == 'asked':
            network = sequence_classifier.SequenceClassifier(core, config.num_objects)
            return network(inputs)[None], None
        if config.head == 'mlp':
            return _every_n(config, core, inputs), None
        sizes = config.num_objects, config.num_dims
        return distance_classifier.DistanceClassifier(core, *sizes)(inputs)

    network = hk.transform(forward)
    shape = config.num_objects, 1, config.input_size
    return Network(
        jax.jit(lambda key: network.init(key, jnp.zeros(shape))),
        lambda params, inputs: network.apply(params, None, inputs),
    )


def _every_n(config: configuration.Config, core: hk.RNNCore, inputs: chex.Array) -> chex.Array:
    """Returns the logits [1 + N, B, N] of what is asked and of every n, of the paper's MLP."""
    num_objects = config.num_objects
    network = sequence_classifier.SequenceClassifier(core, num_objects**2)
    logits = network(inputs).reshape(-1, num_objects, num_objects).swapaxes(0, 1)
    n = jnp.argmax(nth_farthest.split(inputs[-1], config.num_dims).n, axis=-1)
    asked = jnp.take_along_axis(logits, n[None, :, None], axis=0)
    return jnp.concatenate([asked, logits])


def sample(
    config: configuration.Config, keys: chex.PRNGKey, level: chex.Array | None = None
) -> Batch:
    """Samples sequences on the device, one for each of the keys [B], of a level of a curriculum."""
    if config.head == 'mlp':
        if level is None:
            sampled = smaller.sample(keys, config.whole, config.whole)
        else:
            sampled = smaller.sample_level(keys, config.levels, level)
            level = jnp.broadcast_to(level, (1, len(keys)))
        batch = Batch(scale(config, sampled.inputs), sampled.answers[None], level=level)
        if config.answers == 'asked':
            return batch
        return batch._replace(every_n=(sampled.ranking, sampled.ranking_weights))
    questions = nth_farthest.sample(keys, *config.whole)
    inputs, answers = scale(config, questions.inputs), questions.answers[None]
    return Batch(inputs, answers, auxiliary_lib.targets(questions))


def scale(config: configuration.Config, inputs: chex.Array) -> chex.Array:
    """Multiplies the one-hots of inputs [N, B, D + 3 N] by `--one_hot_scale`.

    Which slot attends to what depends on labels; next to 16 dimensions a 1 has little weight.
    """
    vectors, *one_hots = nth_farthest.split(inputs, config.num_dims)
    return jnp.concatenate([vectors, *(config.one_hot_scale * x for x in one_hots)], axis=-1)


def loss(
    network: Network,
    params: chex.ArrayTree,
    batch: Batch,
    levels: Sequence[smaller.Sizes] = (),
) -> task.Metrics:
    """Returns the loss in nats and metrics, over sequences.

    Args:
      network: the network.
      params: its parameters.
      batch: what to learn.
      levels: those of a curriculum, if the batch is of one of them.

    Returns:
      'loss', the cross entropy, with `--answers=every_n` its mean over n, and
      'training_accuracy', of what is asked. With auxiliary losses the loss has the
      cross entropy over every n and the mean squared errors of the readings added, of which
      'vector_error' and 'distance_error' are shown, in units of the variance.
    """
    if batch.level is None:
        logits, readings = network.apply(params, batch.inputs)
    else:
        answer = lambda inputs: network.apply(params, inputs)  # noqa: E731
        level = batch.level[0, 0]
        logits, readings = smaller.of_length(answer, batch.inputs, levels, level)
    weights = jnp.ones(batch.answers.shape)
    total, weight = losses.cross_entropy(logits[:1], batch.answers, weights)
    metrics = {'training_accuracy': losses.accuracy(logits[:1], batch.answers, weights)}
    if batch.every_n is not None:
        total = losses.cross_entropy(logits[1:], *batch.every_n).total
    if readings is not None and batch.auxiliary is not None:
        ranking = batch.auxiliary.ranking
        others = losses.cross_entropy(logits[1:], ranking, jnp.ones(ranking.shape))
        errors = auxiliary_lib.errors(readings, batch.auxiliary)
        total += others.total / len(ranking)
        total += sum(jnp.sum(error) for error in errors.values())
        for name in ('vector_error', 'distance_error'):
            metrics[name] = losses.WeightedSum(jnp.sum(errors[name]), weight)
    return {'loss': losses.WeightedSum(total, weight), **metrics}
