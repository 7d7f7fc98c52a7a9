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
import functools
import os
from typing import Any, ClassVar, Literal, NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from launch.farthest import auxiliary as auxiliary_lib
from launch.farthest import smaller
from launch.reports import published
from launch.runs import flags, metrics, plots
from launch.training import cores, experiment, task
from launch.training import curriculum as curriculum_lib
from relational_rnn import losses
from relational_rnn.networks import distance_classifier, sequence_classifier
from tasks import nth_farthest

_HELD_OUT = 2018  # the seed of the sequences of evaluations, for runs of any seed
_CHUNK = 400  # sequences of an evaluation at a time
_LEVEL_SIZE = 3200  # sequences by which a level of a curriculum is judged


@dataclasses.dataclass(frozen=True)
class Config(cores.Config, curriculum_lib.Config, experiment.Config):
    """Nth Farthest; see --preset=paper for Santoro et al. 2018, appendix A.1."""

    GROUPS: ClassVar = {
        'data': '*',
        'model': 'head one_hot_scale',
        'training': 'answers curriculum curriculum_share',
        'evaluation': 'evaluation_size final_evaluation_size',
    }

    num_objects: int = flags.flag(8, 'vectors of a sequence', 'fixed', 2, 1000)
    num_dims: int = flags.flag(16, 'dimensions of a vector', 'fixed', 1, 10_000)
    head: Literal['mlp', 'distances'] = flags.flag(
        'mlp',
        "mlp, the paper's, or distances, with auxiliary losses",
        'fixed',
    )
    answers: Literal['asked', 'every_n'] = flags.flag(
        'asked',
        "mlp: what is learned of a sequence, the paper's answer, or the answers for every n",
        'fixed',
    )
    one_hot_scale: float = flags.flag(
        1.0, 'what labels, n and m are multiplied by for the network', 'fixed', 0.001, 1000
    )
    curriculum: str = flags.flag(
        '',
        'smaller tasks to begin with, VECTORSxDIMENSIONS,..., such as 3x1,4x1; none by default',
        'fixed',
    )
    curriculum_share: float = flags.flag(
        0.4, 'with a curriculum: share of updates on any level up to the present', 'fixed', 0, 1
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
        for name, plain in (('curriculum', ''), ('answers', 'asked')):
            if getattr(self, name) != plain and self.head != 'mlp':
                raise ValueError(f'--{name}: wanted --head=mlp with it, got {self.head}')
        try:
            smaller.parse(self.curriculum, self.whole)
        except ValueError as error:
            raise ValueError(f'--curriculum: {error}') from error

    @property
    def levels(self) -> tuple[smaller.Sizes, ...]:
        """The tasks of the curriculum, of which the last is the whole one; () without it."""
        return smaller.parse(self.curriculum, self.whole)

    @property
    def whole(self) -> smaller.Sizes:
        """The sizes of the task."""
        return smaller.Sizes(self.num_objects, self.num_dims)

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
    # A memory as in `cpu`, for the full task.
    'curriculum': Config(
        preset='curriculum',
        mem_slots=8,
        total_units=512,
        num_heads=1,
        attention_mlp_layers=2,
        batch_size=64,
        learning_rate=3e-4,
        schedule='cosine',
        warmup_steps=300,
        clip_norm=0.0,
        answers='every_n',
        curriculum='3x1,3x2,3x4,3x8,3x16,4x16,5x16,6x16,7x16',
        curriculum_every=250,
        curriculum_threshold=0.7,
        curriculum_patience=40,
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
    auxiliary: auxiliary_lib.Auxiliary | None = None  # targets of `--head=distances`
    # of `--answers=every_n`: the answer if n were asked, [N n, B] int32, and its weight, [N n, B]
    every_n: tuple[chex.Array, chex.Array] | None = None
    level: chex.Array | None = None  # [1, B] int32, of a curriculum, the same for all


class Network(NamedTuple):
    """The functions of the network; `params` are Haiku's."""

    init: Any  # key -> params
    apply: Any  # params, inputs [N, B, D + 3 N] -> logits [1, B, N] and None; with auxiliary
    # losses logits [1 + N, B, N] of what is asked and of every n, and readings


def make_network(config: Config) -> Network:
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


def _every_n(config: Config, core: hk.RNNCore, inputs: chex.Array) -> chex.Array:
    """Returns the logits [1 + N, B, N] of what is asked and of every n, of the paper's MLP."""
    num_objects = config.num_objects
    network = sequence_classifier.SequenceClassifier(core, num_objects**2)
    logits = network(inputs).reshape(-1, num_objects, num_objects).swapaxes(0, 1)
    place = config.num_dims + num_objects
    n = jnp.argmax(inputs[-1, :, place : place + num_objects], axis=-1)
    asked = jnp.take_along_axis(logits, n[None, :, None], axis=0)
    return jnp.concatenate([asked, logits])


def sample(config: Config, keys: chex.PRNGKey, level: chex.Array | None = None) -> Batch:
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


def scale(config: Config, inputs: chex.Array) -> chex.Array:
    """Multiplies the one-hots of inputs [N, B, D + 3 N] by `--one_hot_scale`.

    Which slot attends to what depends on labels; next to 16 dimensions a 1 has little weight.
    """
    vectors, one_hots = jnp.split(inputs, [config.num_dims], axis=-1)
    return jnp.concatenate([vectors, config.one_hot_scale * one_hots], axis=-1)


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


def build(config: Config) -> task.Task:
    """Returns the task of a configuration."""
    network = make_network(config)

    whole = config.whole

    @functools.partial(jax.jit, static_argnums=2)
    def score(
        params: chex.ArrayTree, first: chex.Array, sizes: smaller.Sizes
    ) -> tuple[chex.Array, chex.Array]:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(
            jax.random.key(_HELD_OUT), first + jnp.arange(_CHUNK)
        )
        inputs, answers, *_ = smaller.sample(keys, sizes, whole)
        inputs = scale(config, inputs[: sizes.num_objects])
        logits = network.apply(params, inputs)[0][0]
        nll = -jnp.take_along_axis(jax.nn.log_softmax(logits), answers[:, None], axis=1)[:, 0]
        return jnp.argmax(logits, axis=1) == answers, nll

    def evaluate(
        params: chex.ArrayTree, size: int, sizes: smaller.Sizes = whole
    ) -> dict[str, float]:
        parts = [score(params, first, sizes) for first in range(0, size, _CHUNK)]
        right, nll = (jnp.concatenate(values)[:size] for values in zip(*parts, strict=True))
        return {'accuracy': float(jnp.mean(right)), 'eval_loss': float(jnp.mean(nll))}

    def test(params: chex.ArrayTree, thorough: bool) -> dict[str, Any]:
        del thorough  # nothing more can be measured
        size = config.final_evaluation_size
        results = evaluate(params, size)
        return {'head': config.head, 'sequences': size, 'test': results['accuracy'], **results}

    def level_score(params: chex.ArrayTree, level: int) -> float:
        return evaluate(params, _LEVEL_SIZE, config.levels[level])['accuracy']

    curriculum = config.make_curriculum(len(config.levels), level_score, config.curriculum_share)
    return task.Task(
        network.init,
        lambda params, batch, carry, keys: (loss(network, params, batch, config.levels), carry),
        lambda params: evaluate(params, config.evaluation_size),
        test,
        'sequences',
        ('sequences', config.batch_size),
        cores.num_parameters(config, (config.input_size,)),
        sample=lambda params, carry, keys, *level: (sample(config, keys, *level), carry),
        curriculum=curriculum if config.levels else None,
    )


def title(config: Config) -> str:
    """Returns the sizes of the task, and the help that the network gets."""
    sizes = f'{config.num_objects} vectors of {config.num_dims} dimensions'
    help_ = ', with auxiliary losses' if config.head != 'mlp' else ''
    help_ += ', answers for every n' if config.answers == 'every_n' else ''
    return f'Nth Farthest, {sizes}{help_}{", with a curriculum" if config.curriculum else ""}'


def describe(config: Config, evaluation: experiment.Evaluation) -> str:
    """Returns what an evaluation found, as a line."""
    share = f'{evaluation["accuracy"]:.2%} of {evaluation["sequences"]:,} held-out sequences'
    return f'{share} answered right, {evaluation["eval_loss"]:.4f} nats'


def baselines(config: Config) -> dict[str, float]:
    """Returns accuracies by which a curve is read.

    A network that knows m but compares no distances is right where the answer is m itself, and by
    chance elsewhere: 1 / N + (1 - 1 / N) / (N - 1) = 2 / N.
    """
    plateau = {'m itself, or any other': 2 / config.num_objects}
    unaided = (config.head, config.answers, config.curriculum) == ('mlp', 'asked', '')
    return plateau | (published.NTH_FARTHEST if (*config.whole, unaided) == (8, 16, True) else {})


def draw(
    config: Config, run_dir: str, rows: experiment.Rows, evaluation: experiment.Evaluation
) -> Sequence[str]:
    """Draws the accuracy over the updates."""
    picture = os.path.join(run_dir, 'accuracy.png')
    columns = {'training': 'training_accuracy', 'held out': 'accuracy'}
    plots.plot_curves(
        {name: metrics.points(rows, column) for name, column in columns.items()},
        picture,
        title=f'{config.core}, {title(config)}',
        y_label='accuracy',
        baselines=baselines(config),
        log_scale=False,
        background=['training'],
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
