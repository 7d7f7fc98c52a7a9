"""What Learning to Execute learns: the network as pure functions, the loss, and what is measured.

Glossary of shapes:
  A: characters of an answer; B: programs of a batch; V: characters of answers.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from launch.executing import configuration
from launch.training import cores, task
from relational_rnn import losses
from relational_rnn.networks import sequence_to_sequence
from tasks.learning_to_execute import batches, setting

Score = Callable[..., tuple[chex.Array, chex.Array]]  # what `make_score` returns


class Network(NamedTuple):
    """The functions of the network; `params` are Haiku's."""

    init: Callable[[chex.PRNGKey], chex.ArrayTree]
    # params, batch, whether the true answer may be fed to the decoder -> logits [A, B, V]
    logits: Callable[[chex.ArrayTree, batches.Batch, bool], chex.Array]


def make_network(config: configuration.Config) -> Network:
    """Returns the network of a configuration."""
    size = len(setting.CHARACTERS)

    def forward(batch: batches.Batch, teacher: bool) -> chex.Array:
        encoder = cores.make(config, (size,))
        decoder = encoder if config.shared_core else cores.make(config, (size,))
        network = sequence_to_sequence.SequenceToSequence(
            encoder, decoder, setting.NUM_ANSWER_CHARACTERS
        )
        inputs = jax.nn.one_hot(batch.inputs, size)
        return network(inputs, batch.lengths[0], batch.targets, config.decoding, teacher)

    network = hk.transform(forward)
    ids, weights = np.zeros((1, 1), np.int32), np.ones((1, 1), np.float32)
    smallest = batches.Batch(ids, ids + 1, ids, weights)
    return Network(
        jax.jit(lambda key: network.init(key, smallest, True)),
        lambda params, *inputs: network.apply(params, None, *inputs),
    )


def loss(network: Network, params: chex.ArrayTree, batch: batches.Batch) -> task.Metrics:
    """Returns the cross entropy in nats and the training accuracy, over characters."""
    logits = network.logits(params, batch, True)
    scores = logits, batch.targets, batch.weights
    return {
        'loss': losses.cross_entropy(*scores),
        'training_accuracy': losses.accuracy(*scores),
    }


def make_score(network: Network) -> Score:
    """Returns what measures parameters on a batch, never fed with a true answer.

    Returns:
      Parameters and a batch to sums [5], of nats, right characters, characters, right answers and
      answers; and the predicted characters [A, B].
    """

    @jax.jit
    def score(params: chex.ArrayTree, batch: batches.Batch) -> tuple[chex.Array, chex.Array]:
        logits, targets, weights = network.logits(params, batch, False), *batch[2:]
        nll, characters = losses.cross_entropy(logits, targets, weights)
        right = losses.accuracy(logits, targets, weights).total
        predicted = jnp.argmax(logits, axis=-1)
        present = jnp.any(weights > 0, axis=0)
        whole = present & ~jnp.any((predicted != targets) & (weights > 0), axis=0)
        sums = nll, right, characters, jnp.sum(whole), jnp.sum(present)
        return jnp.stack(sums), predicted

    return score


def evaluate(
    score: Score, params: chex.ArrayTree, parts: Iterable[batches.Batch]
) -> dict[str, float]:
    """Returns 'character_accuracy', 'sequence_accuracy' and 'eval_loss', the nats of a character.

    Args:
      score: of `make_score`.
      params: the parameters to measure.
      parts: the batches to measure them on.
    """
    parts_sums = [score(params, batch)[0] for batch in parts]
    sums: Any = np.sum(parts_sums, axis=0, dtype=np.float64)
    nll, right_characters, characters, right_answers, answers = sums.tolist()
    return {
        'character_accuracy': right_characters / characters,
        'sequence_accuracy': right_answers / answers,
        'eval_loss': nll / characters,
    }
