"""Nth Farthest: trains a memory to answer which vector is the nth farthest from vector m.

  python -m launch.nth_farthest                              three vectors, from the answers alone
  python -m launch.nth_farthest --preset=paper               as the paper trained, for a GPU
  python -m launch.nth_farthest --preset=curriculum          8 x 16, smaller tasks first
  python -m launch.nth_farthest --preset=auxiliary           8 x 16, with auxiliary losses
  python -m launch.nth_farthest --core=lstm                  a baseline of as many parameters
  python -m launch.nth_farthest --mode=evaluate --run_dir=RUN

The first command ends at 96.18 % after 4,000 updates, 84 seconds on one core of an AMD EPYC (one
run, seed 0). Evaluations are on held-out sequences, always the same. The same command resumes a run
that was stopped. Santoro et al. 2018, "Relational recurrent neural networks", sections 4.1 and 5.1
and appendix A.1, https://arxiv.org/abs/1806.01822.

`--head=mlp`, the paper's, learns from the answers alone; `--answers=every_n` and `--curriculum`
help it. `--head=distances` has auxiliary losses: vectors, question and squared distances are
targets too, after every step of what is known by then, and the answer for every n. No gradient goes
from one of its stages to the one before, so what the core learns comes from the vectors and the
question, not from the answers. Results with any help are not comparable with the paper's.

Glossary of shapes:
  N: vectors of a sequence, its steps; D: dimensions; B: sequences of a batch.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import os
from typing import Any

import chex
import jax
import jax.numpy as jnp

from launch.farthest import configuration, learning, smaller
from launch.reports import comparable, records, settings
from launch.runs import metrics, plots
from launch.training import cores, experiment, task

_HELD_OUT = 2018  # the seed of the sequences of evaluations, for runs of any seed
_CHUNK = 400  # sequences of an evaluation at a time
_LEVEL_SIZE = 3200  # sequences by which a level of a curriculum is judged

Config = configuration.Config

# The smallest task of its kind that is no special case, from the answers alone.
_CPU = Config(
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
)
PRESETS = {
    'cpu': _CPU,
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
    'curriculum': dataclasses.replace(
        _CPU,
        preset='curriculum',
        num_objects=8,
        num_dims=16,
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


def make_score(config: Config, network: learning.Network) -> Callable[..., Any]:
    """Returns what measures parameters on held-out sequences.

    Args:
      config: the flags.
      network: the network.

    Returns:
      Parameters, the number of the first of `_CHUNK` sequences and the sizes of their task to which
      answers are right, [_CHUNK] bool, and their nll in nats, [_CHUNK].
    """

    @functools.partial(jax.jit, static_argnums=2)
    def score(
        params: chex.ArrayTree, first: chex.Array, sizes: smaller.Sizes
    ) -> tuple[chex.Array, chex.Array]:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(
            jax.random.key(_HELD_OUT), first + jnp.arange(_CHUNK)
        )
        inputs, answers, *_ = smaller.sample(keys, sizes, config.whole)
        inputs = learning.scale(config, inputs[: sizes.num_objects])
        logits = network.apply(params, inputs)[0][0]
        nll = -jnp.take_along_axis(jax.nn.log_softmax(logits), answers[:, None], axis=1)[:, 0]
        return jnp.argmax(logits, axis=1) == answers, nll

    return score


def build(config: Config) -> task.Task:
    """Returns the task of a configuration."""
    network = learning.make_network(config)
    score = make_score(config, network)

    def evaluate(
        params: chex.ArrayTree, size: int, sizes: smaller.Sizes = config.whole
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
        lambda params, batch, carry, keys: (
            learning.loss(network, params, batch, config.levels),
            carry,
        ),
        lambda params: evaluate(params, config.evaluation_size),
        test,
        'sequences',
        ('sequences', config.batch_size),
        cores.num_parameters(config, (config.input_size,)),
        sample=lambda params, carry, keys, *level: (learning.sample(config, keys, *level), carry),
        curriculum=curriculum if config.levels else None,
    )


def title(config: Config) -> str:
    """Returns the sizes of the task, and the help that the network gets."""
    task_title = settings.task(EXPERIMENT.name, dataclasses.asdict(config))
    return ', '.join([task_title, *records.training(dataclasses.asdict(config))])


def describe(config: Config, evaluation: experiment.Evaluation) -> str:
    """Returns what an evaluation found, as a line."""
    share = f'{evaluation["accuracy"]:.2%} of {evaluation["sequences"]:,} held-out sequences'
    return f'{share} answered right, {evaluation["eval_loss"]:.4f} nats'


def baselines(config: Config) -> dict[str, float]:
    """Returns accuracies by which a curve is read.

    A network that knows m but compares no distances is right where the answer is m itself, and by
    chance elsewhere: 1 / N + (1 - 1 / N) / (N - 1) = 2 / N.
    """
    plateau = {'plateau, comparing no distances': 2 / config.num_objects}
    return {**plateau, **comparable.levels(EXPERIMENT.name, dataclasses.asdict(config))}


def draw(
    config: Config,
    run_dir: str,
    rows: experiment.Rows,
    evaluation: experiment.Evaluation,
) -> Sequence[str]:
    """Draws the accuracy over the updates."""
    picture = os.path.join(run_dir, 'accuracy.png')
    columns = {'training': 'training_accuracy', 'held out': 'accuracy'}
    plots.plot_curves(
        {name: metrics.points(rows, column) for name, column in columns.items()},
        picture,
        title=f'{plots.core_name(config.core)}: {title(config)}',
        y_label='accuracy',
        baselines=baselines(config),
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
