"""Nth Farthest: trains a memory to tell which vector is the nth farthest from vector m.

  python -m launch.nth_farthest                              the recipe that is quickest on 2 cores
  python -m launch.nth_farthest --preset=paper               as the paper trained, for a GPU
  python -m launch.nth_farthest --core=lstm                  a baseline of as many parameters
  python -m launch.nth_farthest --num_seeds=5                five networks side by side
  python -m launch.nth_farthest --mode=evaluate --run_dir=RUN

Evaluations are always of the full task, on the same held-out sequences. The same command goes on
where it was stopped. Santoro et al. 2018, "Relational recurrent neural networks", sections 4.1 and
5.1 and appendix A.1, https://arxiv.org/abs/1806.01822.

Glossary of shapes:
  B: sequences of a batch.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import os
import pathlib
from typing import Any

import chex
import jax

from launch.language import evaluation
from launch.runs import directory, metrics, plots, processes
from launch.runs import flags as flags_lib
from launch.training import cores, loop, nth_farthest_config, nth_farthest_model, saved_run, update
from launch.training import seeds as seeds_lib

Config = nth_farthest_config.Config
PRESETS = nth_farthest_config.PRESETS
MEASURE = 'accuracy'  # by which runs are compared
# Accuracies of rules on 8 vectors, by which a curve is read; see the tests of the task.
LEVELS = {'m itself, or any other': 0.250, "the paper's RMC": 0.91}


def run(config: Config) -> dict[str, float]:
    """Trains or evaluates.

    Args:
      config: the flags.

    Returns:
      'accuracy' and 'eval_loss', in nats, of the full task; means, if there are several networks,
      and those of each.
    """
    run_dir = config.run_dir or f'runs/nth_farthest-{config.core}'
    trains = config.mode == 'train'
    with saved_run.opened(config, run_dir, trains) as own_dir:
        return {'train': _train, 'evaluate': _evaluate}[config.mode](config, own_dir)


def _train(config: Config, run_dir: str) -> dict[str, float]:
    """Trains from where the run is, evaluates, and shows what came of it."""
    _, devices = saved_run.resume(config, run_dir)
    model = nth_farthest_model.make_model(config)
    measure = nth_farthest_model.make_evaluation(config, model)
    task = _make_task(config, model, measure)
    count, core = cores.sizes(task.init)
    sizes = f'{config.num_objects} vectors of {config.num_dims} dimensions'
    networks = f'{config.num_seeds} x ' if config.num_seeds > 1 else ''
    counts = f'{networks}{count:,} parameters, {core:,} in the core'
    print(f'{config.core}: {counts}; on {devices}; {sizes}')
    flags = dataclasses.asdict(config)
    directory.describe(
        run_dir,
        'nth_farthest',
        flags,
        count,
        task.unit,
        config.batch_size,
        MEASURE,
        higher_is_better=True,
    )
    metadata = {'config': flags, 'devices': devices}
    state = loop.train(config, task, run_dir, metadata).replicated
    results = _measure(config, run_dir, measure, state)
    picture = _draw(config, run_dir)
    print(f'curve        {picture}')
    print(f'all {config.num_steps} updates are done; a larger --num_steps trains on from here')
    return results


def _evaluate(config: Config, run_dir: str) -> dict[str, float]:
    """Measures the newest checkpoint."""
    config, (_, metadata) = saved_run.as_trained(config, PRESETS, run_dir)
    config = dataclasses.replace(config, seed=metadata['config']['seed'])
    model = nth_farthest_model.make_model(config)
    state = loop.restore(config, model.init, (), run_dir).replicated
    measure = nth_farthest_model.make_evaluation(config, model)
    return _measure(config, run_dir, measure, state)


def _make_task(
    config: Config, model: nth_farthest_model.Model, measure: nth_farthest_model.Evaluation
) -> update.Task:
    """Returns what the training loop needs."""

    def loss(
        params: chex.ArrayTree, batch: nth_farthest_model.Batch, carry: tuple, keys: chex.Array
    ) -> tuple:
        del keys  # nothing in the network is random
        value, sums = nth_farthest_model.loss(model, params, batch)
        return value, carry, sums

    def sample(keys: chex.PRNGKey, step: chex.Array) -> nth_farthest_model.Batch:
        del step  # all batches are of the full task
        return nth_farthest_model.sample(config, keys)

    def evaluate(params: chex.ArrayTree) -> Mapping[str, float]:
        return measure(params, config.evaluation_size)

    read = nth_farthest_model.ERRORS if config.head == 'distances' else ()
    names = ('training_accuracy', *read)
    return update.Task(model.init, (), loss, evaluate, 'sequences', sample=sample, names=names)


def _measure(
    config: Config,
    run_dir: str,
    measure: nth_farthest_model.Evaluation,
    state: update.Replicated,
) -> dict[str, float]:
    """Evaluates on many sequences, keeps what came of it in the run's directory, and prints it."""
    networks = seeds_lib.split(jax.device_put(state.params), config.num_seeds)
    values = [measure(params, config.final_evaluation_size) for params in networks]
    results = seeds_lib.summarise(config.seeds(), values)
    record: dict[str, Any] = {
        'program': 'nth_farthest',
        'core': config.core,
        'step': int(state.step),
        'sequences': config.final_evaluation_size,
        'test': results[MEASURE],
        **results,
    }
    directory.write_json(pathlib.Path(run_dir, evaluation.FILE), record)
    share = f'{results[MEASURE]:.2%} of {config.final_evaluation_size:,} held-out sequences right'
    print(f'\nafter {int(state.step):,} updates {share}, {results["eval_loss"]:.4f} nats')
    if config.num_seeds > 1:
        print(_describe_networks(config.seeds(), values))
    return results


def _describe_networks(seeds: range, values: Sequence[Mapping[str, float]]) -> str:
    """Returns a line for all networks and one for each."""
    shares = [each[MEASURE] for each in values]
    lines = [f'mean of {len(seeds)} networks, from {min(shares):.2%} to {max(shares):.2%}']
    for seed, each in zip(seeds, values, strict=True):
        lines.append(f'  seed {seed}  {each[MEASURE]:.2%}, {each["eval_loss"]:.4f} nats')
    return '\n'.join(lines)


def _draw(config: Config, run_dir: str) -> str:
    """Draws the curve of the run and returns where it is."""
    picture = os.path.join(run_dir, 'accuracy.png')
    rows = metrics.read_metrics(os.path.join(run_dir, 'metrics.jsonl'))
    columns = {'training': 'training_accuracy', 'held out': MEASURE}
    several = f', mean and range of {config.num_seeds} networks' if config.num_seeds > 1 else ''
    plots.plot_curves(
        {name: metrics.points(rows, column) for name, column in columns.items()},
        picture,
        title=f'{config.core} on Nth Farthest{several}',
        y_label='accuracy',
        baselines=LEVELS if config.num_objects == 8 else {},
        log_scale=False,
        pale=['training'],
        bands={'held out': seeds_lib.ranges(rows, MEASURE)},
    )
    return picture


if __name__ == '__main__':
    processes.leave(flags_lib.main(Config, run, 'nth_farthest', PRESETS))
