"""The network of `learning_to_execute`, its loss, and how well it does on held-out programs.

Characters are one-hots, answers are read off the decoder by an MLP of 4 x 256 units, ReLU on all of
them: Santoro et al. 2018, appendix A.2, https://arxiv.org/abs/1806.01822. Loss and accuracy are per
character of the true answer; what the network says behind its end counts for nothing.

Glossary of shapes:
  T: characters of a program; A: characters of an answer; B: programs; D: characters that there are;
  V: those of answers; N: operations of a program.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from launch.training import cores, learning_to_execute_config
from relational_rnn import hinted, losses
from relational_rnn.networks import sequence_networks
from tasks.learning_to_execute import batches as batches_lib
from tasks.learning_to_execute import programs

NUM_CHARACTERS = len(programs.CHARACTERS)  # D
NUM_CLASSES = programs.NUM_ANSWER_CHARACTERS  # V
CHUNK = 256  # programs of an evaluation at a time
_SEED = 2018  # of the programs of evaluations, whatever the run's

Batch = batches_lib.Batch


class Model(NamedTuple):
    """The functions of the network; `params` are Haiku's."""

    init: Callable[[chex.PRNGKey], chex.ArrayTree]
    # params, batch, whether the network may be told the true answer -> [A, B, V], and what was said
    # where operations end, [N, B], by a network that is taught with hints
    apply: Callable[[chex.ArrayTree, Batch, bool], tuple[chex.Array, hinted.Said | None]]
    hint_weight: float  # of the loss of what was said

    def logits(self, params: chex.ArrayTree, batch: Batch, teacher: bool) -> chex.Array:
        """Returns the logits of answers [A, B, V]."""
        return self.apply(params, batch, teacher)[0]


# Parameters, programs, and what is called between parts of them and may raise -> measures by name:
# 'character_accuracy', 'sequence_accuracy' and 'eval_loss', the nats of a character.
Evaluation = Callable[[chex.ArrayTree, Iterable[Batch]], dict[str, float]]


def make_model(config: learning_to_execute_config.Config) -> Model:
    """Returns the network of a configuration."""

    def forward(batch: Batch, teacher: bool) -> tuple[chex.Array, hinted.Said | None]:
        inputs = jax.nn.one_hot(batch.inputs, NUM_CHARACTERS)
        if config.uses_hints():
            return _answer_with_hints(config, batch, inputs, teacher)
        encoder, decoder = _make_cores(config, NUM_CHARACTERS)
        network = sequence_networks.SequenceToSequence(encoder, decoder, NUM_CLASSES)
        sequence = inputs, batch.lengths[0], batch.targets
        return network(*sequence, config.decoding, teacher), None

    network = hk.transform(forward)
    smallest = _make_smallest(config)
    return Model(
        jax.jit(lambda key: network.init(key, smallest, True)),
        lambda params, batch, teacher: network.apply(params, None, batch, teacher),
        config.hint_weight,
    )


def _make_smallest(config: learning_to_execute_config.Config) -> Batch:
    """Returns a batch of one character, by which parameters are made."""
    ids, one = np.zeros((1, 1), np.int32), np.ones((1, 1), np.float32)
    batch = Batch(ids, ids + 1, ids, one)
    if not config.uses_hints():
        return batch
    setting = config.setting()
    num_operands = len(batches_lib.operands_of(setting))
    angles = np.zeros((1, 1, num_operands, setting.output_steps, 2), np.float32)
    facts = np.zeros((1, 1, sum(batches_lib.fact_sizes(setting))), np.float32)
    taken = np.ones((1, 1, num_operands), np.float32)
    writes = np.ones((1, 1, batches_lib.NUM_REGISTERS), np.float32)
    hints = batches_lib.Hints(ids, writes, angles, taken, facts, angles[:, :, 0])
    return batch._replace(hints=hints)


def _make_cores(
    config: learning_to_execute_config.Config, size: int
) -> tuple[hk.RNNCore, hk.RNNCore]:
    """Returns what reads and what answers, for inputs of this size."""
    encoder = cores.make(config, size)
    return encoder, encoder if config.shared_core else cores.make(config, size)


def _answer_with_hints(
    config: learning_to_execute_config.Config, batch: Batch, inputs: chex.Array, teacher: bool
) -> tuple[chex.Array, hinted.Said]:
    """Returns logits, and what is said where operations end, [N, B]; see `hinted`."""
    setting, hints = config.setting(), batch.hints
    assert hints is not None
    fact_sizes = batches_lib.fact_sizes(setting)
    num_operands = len(batches_lib.operands_of(setting))
    reader = hinted.Reader(setting.output_steps, num_operands, fact_sizes)
    heard_size = batches_lib.NUM_REGISTERS * 2 * setting.output_steps
    encoder, decoder = _make_cores(config, NUM_CHARACTERS + heard_size)
    told = _told(hints) if teacher else None
    where = batch.lengths[0], hints.steps, hints.writes
    said, state = hinted.listen(encoder, reader, inputs, *where, told)
    answering = hinted.HearingCore(decoder, heard_size)
    network = sequence_networks.SequenceToSequence(answering, answering, NUM_CLASSES)
    return network.answer(inputs, batch.targets, state, config.decoding, teacher), said


def _told(hints: batches_lib.Hints) -> hinted.Said:
    return hinted.Said(hints.operands, hints.facts, hints.results)


def loss(
    model: Model, params: chex.ArrayTree, batch: Batch
) -> tuple[losses.WeightedSum, Mapping[str, chex.Array]]:
    """Returns the cross entropy in nats, summed over characters, and sums shown beside it.

    Args:
      model: the network.
      params: its parameters.
      batch: what to learn.

    Returns:
      The sum with the number of characters, with hints that of the errors in what was said added
      to it; and 'training_accuracy', how many of the characters are right.
    """
    logits, said = model.apply(params, batch, True)
    value = losses.cross_entropy(logits, batch.targets, batch.weights)
    right = losses.accuracy(logits, batch.targets, batch.weights).total
    sums = {'training_accuracy': right}
    if said is not None and batch.hints is not None:
        hints = batch.hints
        error = hinted.loss(said, _told(hints), hints.taken, hints.writes)
        value = value._replace(total=value.total + model.hint_weight * error)
        sums['hint_loss'] = error
    return value, sums


def drawn(
    config: learning_to_execute_config.Config, split: str, size: int, level: int | None = None
) -> Iterator[Batch]:
    """Yields the programs that networks are measured on, `CHUNK` at a time, always the same ones.

    Args:
      config: the flags.
      split: of the programs.
      size: how many; the weights of those beyond are 0.
      level: of the curriculum 'naive'; None for the full difficulty.

    Raises:
      ValueError: there are no such programs.
    """
    curriculum = 'baseline' if level is None else 'naive'
    what = config.setting(), curriculum, level or 0, split
    for part, first in enumerate(range(0, size, CHUNK)):
        batch = batches_lib.batch(*what, _SEED, part, CHUNK, config.uses_hints())
        kept = np.arange(first, first + CHUNK) < size
        yield batch._replace(weights=batch.weights * kept)


def make_evaluation(model: Model) -> Evaluation:
    """Returns what measures a network; it answers by itself, whatever it is told in training."""

    def score(params: chex.ArrayTree, batch: Batch) -> chex.Array:
        logits = model.logits(params, batch, False)
        nats, weight = losses.cross_entropy(logits, batch.targets, batch.weights)
        right = losses.accuracy(logits, batch.targets, batch.weights).total
        wrong = (jnp.argmax(logits, axis=-1) != batch.targets) & (batch.weights > 0)
        present = jnp.any(batch.weights > 0, axis=0)
        whole = present & ~jnp.any(wrong, axis=0)
        return jnp.stack([nats, right, weight, jnp.sum(whole), jnp.sum(present)])

    run = jax.jit(score)

    def evaluate(params: chex.ArrayTree, batches: Iterable[Batch]) -> dict[str, float]:
        sums = np.zeros(5)
        for batch in batches:
            sums += np.asarray(run(params, batch), np.float64)
        nats, right, characters, whole, count = sums.tolist()
        return {
            'character_accuracy': right / characters,
            'sequence_accuracy': whole / count,
            'eval_loss': nats / characters,
        }

    return evaluate


def answer(model: Model, params: chex.ArrayTree, batch: Batch) -> np.ndarray:
    """Returns what the network says by itself, logits [A, B, V]."""
    run = jax.jit(lambda params, batch: model.logits(params, batch, False))
    return np.asarray(run(params, batch))
