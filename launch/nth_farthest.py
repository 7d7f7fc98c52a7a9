"""Nth Farthest: trains a memory to answer which vector is the nth farthest from vector m.

  python -m launch.nth_farthest                              three vectors, from the answers alone
  python -m launch.nth_farthest --preset=paper               as the paper trained, for a GPU
  python -m launch.nth_farthest --preset=auxiliary           8 x 16, with auxiliary losses
  python -m launch.nth_farthest --core=lstm                  a baseline of as many parameters
  python -m launch.nth_farthest --mode=evaluate --run_dir=RUN

Evaluations are on held-out sequences, always the same. The same command resumes a run that was
stopped. Santoro et al. 2018, "Relational recurrent neural networks", sections 4.1 and 5.1 and
appendix A.1, https://arxiv.org/abs/1806.01822.

`--head=mlp`, the paper's, learns from the answers alone. `--head=distances` has auxiliary losses:
vectors, question and squared distances are targets too, after every step of what is known by then,
and the answer for every n. No gradient goes from one of its stages to the one before, so what the
core learns comes from the vectors and the question, not from the answers. Its results are not
comparable with the paper's.

Glossary of shapes:
  N: vectors of a sequence, its steps; D: dimensions; B: sequences of a batch.
"""

from collections.abc import Sequence
import dataclasses
import os
from typing import Any, ClassVar, Literal, NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from launch.reports import comparable, settings
from launch.runs import flags, metrics, plots
from launch.training import cores, experiment, task
from relational_rnn import losses
from relational_rnn.networks import distance_classifier, sequence_classifier
from tasks import nth_farthest

_HELD_OUT = 2018  # the seed of the sequences of evaluations, for runs of any seed
_CHUNK = 400  # sequences of an evaluation at a time
# Auxiliary targets have mean 0 and variance 1. Of x and of (x - y)^2, both uniform in [-1, 1):
_VECTOR_VARIANCE = 1 / 3
_MEAN, _VARIANCE = 2 / 3, 28 / 45


@dataclasses.dataclass(frozen=True)
class Config(cores.Config, experiment.Config):
    """Nth Farthest; see --preset=paper for Santoro et al. 2018, appendix A.1."""

    GROUPS: ClassVar = {
        'data': '*',
        'model': 'head one_hot_scale',
        'evaluation': 'evaluation_size final_evaluation_size',
    }

    num_objects: int = flags.flag(8, 'vectors of a sequence', 'fixed', 2, 1000)
    num_dims: int = flags.flag(16, 'dimensions of a vector', 'fixed', 1, 10_000)
    head: Literal['mlp', 'distances'] = flags.flag(
        'mlp',
        "mlp, the paper's, or distances, with auxiliary losses",
        'fixed',
    )
    one_hot_scale: float = flags.flag(
        1.0, 'what labels, n and m are multiplied by for the network', 'fixed', 0.001, 1000
    )
    evaluation_size: int = flags.flag(
        3200, 'held-out sequences of an evaluation in training', 'free', 1, 10_000_000
    )
    final_evaluation_size: int = flags.flag(
        100_000, 'those of the evaluation at the end and of --mode=evaluate', 'free', 1, 10_000_000
    )

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        cores.Config.__post_init__(self)
        experiment.Config.__post_init__(self)

    @property
    def input_size(self) -> int:
        """The size of a step's input: a vector, its label, n and m."""
        return self.num_dims + 3 * self.num_objects


PRESETS = {
    # The smallest task of its kind that is no special case, from the answers alone.
    'cpu': Config(
        preset='cpu',
        num_objects=3,
        num_dims=1,
        mem_slots=8,
        total_units=512,
        num_heads=1,
        attention_mlp_layers=2,
        batch_size=64,
        learning_rate=3e-4,
        schedule='cosine',
        warmup_steps=300,
        clip_norm=0.0,
        num_steps=4000,
    ),
    # The best group in the paper's Figure 4 has 8 or 16 slots and 1 head; the depth of the MLP is
    # not stated, 2 is the default of the authors' module.
    'paper': Config(
        preset='paper',
        mem_slots=8,
        total_units=2048,
        num_heads=1,
        attention_mlp_layers=2,
        batch_size=1600,
        learning_rate=1e-4,
        clip_norm=0.0,
        num_steps=300_000,
        evaluate_every=1000,
        save_every=1000,
    ),
    'auxiliary': Config(
        preset='auxiliary',
        mem_slots=16,
        total_units=1024,
        num_heads=1,
        attention_mlp_layers=2,
        gate_style='memory',
        batch_size=64,
        learning_rate=4e-3,
        schedule='cosine',
        warmup_steps=300,
        clip_norm=1.0,
        head='distances',
        one_hot_scale=4.0,
        num_steps=60_000,
        evaluate_every=1000,
        save_every=1000,
    ),
}


class Batch(NamedTuple):
    """Sequences to train on, with B as the second axis of all, as the training loop wants it."""

    inputs: chex.Array  # [N, B, D + 3 N], one-hots scaled
    answers: chex.Array  # [1, B] int32
    auxiliary: 'Auxiliary | None'  # targets of `--head=distances`


class Auxiliary(NamedTuple):
    """Targets of the auxiliary losses."""

    ranking: chex.Array  # [N n, B] int32, the answer if n were asked
    n: chex.Array  # [1, B] int32
    m: chex.Array  # [1, B] int32
    vectors: chex.Array  # [N labels, B, D], variance 1
    distances: chex.Array  # [N labels, B], mean 0 and variance 1; that of m itself is unused
    shown: chex.Array  # [N steps, B, N labels] bool, whether this vector has been shown


class Network(NamedTuple):
    """The functions of the network; `params` are Haiku's."""

    init: Any  # key -> params
    apply: Any  # params, inputs [N, B, D + 3 N] -> logits [1, B, N] and None; with auxiliary
    # losses logits [1 + N, B, N] of what is asked and of every n, and readings


def make_network(config: Config) -> Network:
    """Returns the network of a configuration."""

    def forward(inputs: chex.Array) -> tuple[chex.Array, Any]:
        core = cores.make(config, (config.input_size,))
        if config.head == 'mlp':
            network = sequence_classifier.SequenceClassifier(core, config.num_objects)
            return network(inputs)[None], None
        sizes = config.num_objects, config.num_dims
        return distance_classifier.DistanceClassifier(core, *sizes)(inputs)

    network = hk.transform(forward)
    shape = config.num_objects, 1, config.input_size
    return Network(
        jax.jit(lambda key: network.init(key, jnp.zeros(shape))),
        lambda params, inputs: network.apply(params, None, inputs),
    )


def sample(config: Config, keys: chex.PRNGKey) -> Batch:
    """Samples sequences on the device, one for each of the keys [B]."""
    questions = nth_farthest.sample(keys, config.num_objects, config.num_dims)
    inputs, answers = scale(config, questions.inputs), questions.answers[None]
    if config.head == 'mlp':
        return Batch(inputs, answers, None)
    distances = nth_farthest.squared_distances(questions.vectors, questions.labels, questions.m)
    dims = config.num_dims
    auxiliary = Auxiliary(
        questions.ranking,
        questions.n[None],
        questions.m[None],
        nth_farthest.by_label(questions.vectors, questions.labels) * _VECTOR_VARIANCE**-0.5,
        (distances.T - dims * _MEAN) * (dims * _VARIANCE) ** -0.5,
        jnp.cumsum(jax.nn.one_hot(questions.labels, config.num_objects), axis=0) > 0,
    )
    return Batch(inputs, answers, auxiliary)


def scale(config: Config, inputs: chex.Array) -> chex.Array:
    """Multiplies the one-hots of inputs [N, B, D + 3 N] by `--one_hot_scale`.

    Which slot attends to what depends on labels; next to 16 dimensions a 1 has little weight.
    """
    vectors, one_hots = jnp.split(inputs, [config.num_dims], axis=-1)
    return jnp.concatenate([vectors, config.one_hot_scale * one_hots], axis=-1)


def loss(network: Network, params: chex.ArrayTree, batch: Batch) -> task.Metrics:
    """Returns the loss in nats and metrics, over sequences.

    Args:
      network: the network.
      params: its parameters.
      batch: what to learn.

    Returns:
      'loss', the cross entropy, and 'training_accuracy'. With auxiliary losses the loss has the
      cross entropy over every n and the mean squared errors of the readings added, of which
      'vector_error' and 'distance_error' are shown, in units of the variance.
    """
    logits, readings = network.apply(params, batch.inputs)
    weights = jnp.ones(batch.answers.shape)
    total, weight = losses.cross_entropy(logits[:1], batch.answers, weights)
    metrics = {'training_accuracy': losses.accuracy(logits[:1], batch.answers, weights)}
    if readings is not None and batch.auxiliary is not None:
        ranking = batch.auxiliary.ranking
        others = losses.cross_entropy(logits[1:], ranking, jnp.ones(ranking.shape))
        errors = auxiliary_errors(readings, batch.auxiliary)
        total += others.total / len(ranking)
        total += sum(jnp.sum(error) for error in errors.values())
        for name in ('vector_error', 'distance_error'):
            metrics[name] = losses.WeightedSum(jnp.sum(errors[name]), weight)
    return {'loss': losses.WeightedSum(total, weight), **metrics}


def auxiliary_errors(
    readings: distance_classifier.Readings, targets: Auxiliary
) -> dict[str, chex.Array]:
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


def build(config: Config) -> task.Task:
    """Returns the task of a configuration."""
    network = make_network(config)

    @jax.jit
    def score(params: chex.ArrayTree, first: chex.Array) -> tuple[chex.Array, chex.Array]:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(
            jax.random.key(_HELD_OUT), first + jnp.arange(_CHUNK)
        )
        batch = sample(config, keys)
        logits, answers = network.apply(params, batch.inputs)[0][0], batch.answers[0]
        nll = -jnp.take_along_axis(jax.nn.log_softmax(logits), answers[:, None], axis=1)[:, 0]
        return jnp.argmax(logits, axis=1) == answers, nll

    def evaluate(params: chex.ArrayTree, size: int) -> dict[str, float]:
        parts = [score(params, first) for first in range(0, size, _CHUNK)]
        right, nll = (jnp.concatenate(values)[:size] for values in zip(*parts, strict=True))
        return {'accuracy': float(jnp.mean(right)), 'eval_loss': float(jnp.mean(nll))}

    def test(params: chex.ArrayTree, thorough: bool) -> dict[str, Any]:
        del thorough  # nothing more can be measured
        size = config.final_evaluation_size
        results = evaluate(params, size)
        return {'head': config.head, 'sequences': size, 'test': results['accuracy'], **results}

    return task.Task(
        network.init,
        lambda params, batch, carry, keys: (loss(network, params, batch), carry),
        lambda params: evaluate(params, config.evaluation_size),
        test,
        'sequences',
        ('sequences', config.batch_size),
        cores.num_parameters(config, (config.input_size,)),
        sample=lambda params, carry, keys: (sample(config, keys), carry),
    )


def title(config: Config) -> str:
    """Returns the sizes of the task, and the help that the network gets."""
    task_title = settings.task(EXPERIMENT.name, dataclasses.asdict(config))
    return f'{task_title}{", with auxiliary losses" if config.head != "mlp" else ""}'


def describe(config: Config, evaluation: experiment.Evaluation) -> str:
    """Returns what an evaluation found, as a line."""
    share = f'{evaluation["accuracy"]:.2%} of {evaluation["sequences"]:,} held-out sequences'
    return f'{share} answered right, {evaluation["eval_loss"]:.4f} nats'


def levels(config: Config) -> dict[str, float]:
    """Returns accuracies by which a curve is read.

    A network that knows m but compares no distances is right where the answer is m itself, and by
    chance elsewhere: 1 / N + (1 - 1 / N) / (N - 1) = 2 / N.
    """
    plateau = {'plateau, comparing no distances': 2 / config.num_objects}
    return {**plateau, **comparable.levels(EXPERIMENT.name, dataclasses.asdict(config))}


def draw(
    config: Config, run_dir: str, rows: experiment.Rows, evaluation: experiment.Evaluation
) -> Sequence[str]:
    """Draws the accuracy over the updates."""
    picture = os.path.join(run_dir, 'accuracy.png')
    columns = {'training': 'training_accuracy', 'held out': 'accuracy'}
    plots.plot_curves(
        {name: metrics.points(rows, column) for name, column in columns.items()},
        picture,
        title=f'{plots.core_name(config.core)}: {title(config)}',
        y_label='accuracy',
        baselines=levels(config),
        log_scale=False,
        background=['training'],
        styles=plots.core_styles({'held out': config.core}),
    )
    return [picture]


EXPERIMENT = experiment.Experiment(
    name='nth_farthest',
    config=Config,
    presets=PRESETS,
    measure='accuracy',
    build=build,
    title=title,
    describe=describe,
    draw=draw,
)


def run(config: Config) -> experiment.Evaluation:
    """Trains or evaluates.

    Args:
      config: the flags.

    Returns:
      'accuracy' and 'eval_loss', in nats, on held-out sequences of the full task.
    """
    return experiment.run(EXPERIMENT, config)


if __name__ == '__main__':
    experiment.main(EXPERIMENT)
