"""Learning to execute: trains a memory to read a program and to say what it prints.

  python -m launch.learning_to_execute                       full programs, sizes for 2 cores
  python -m launch.learning_to_execute --task=addition       or control, algebra
  python -m launch.learning_to_execute --task=reverse --nesting=1 --length=20
  python -m launch.learning_to_execute --preset=paper        as the paper trained, for a GPU
  python -m launch.learning_to_execute --mode=evaluate --run_dir=RUN

Programs are of the difficulty of `--nesting` and `--length`, easier ones among them in training as
`--curriculum` says; evaluations are always of the full difficulty, on programs that no run is
trained on. The same command goes on where it was stopped. Santoro et al. 2018, "Relational
recurrent neural networks", sections 4.2 and 5.2 and appendix A.2, https://arxiv.org/abs/1806.01822;
after Zaremba & Sutskever 2014, "Learning to Execute", https://arxiv.org/abs/1410.4615.

Glossary of shapes:
  T: characters of a program; A: characters of an answer; B: programs of a batch.
"""

from collections.abc import Mapping
import dataclasses
import os
import pathlib
from typing import Any

import chex
import jax
import numpy as np

from launch.language import evaluation
from launch.reports import accuracies
from launch.runs import directory, display, errors, metrics, plots, processes
from launch.runs import flags as flags_lib
from launch.training import (
    cores,
    learning_to_execute_config,
    learning_to_execute_model,
    loop,
    saved_run,
    update,
)
from launch.training import devices as devices_lib
from tasks.learning_to_execute import batches as batches_lib
from tasks.learning_to_execute import programs

Config = learning_to_execute_config.Config
PRESETS = learning_to_execute_config.PRESETS
MEASURE = 'character_accuracy'  # by which runs are compared
NUM_SHOWN = 5  # programs that are printed with their answers
LEVEL_SIZE = 512  # programs by which a level of a curriculum is judged


def run(config: Config) -> dict[str, float]:
    """Trains or evaluates.

    Args:
      config: the flags.

    Returns:
      'character_accuracy', 'sequence_accuracy' and 'eval_loss', in nats a character, of the test
      programs.
    """
    run_dir = config.run_dir or f'runs/learning_to_execute-{config.task}-{config.core}'
    trains = config.mode == 'train'
    with saved_run.opened(config, run_dir, trains) as own_dir:
        return {'train': _train, 'evaluate': _evaluate}[config.mode](config, own_dir)


def _train(config: Config, run_dir: str) -> dict[str, float]:
    """Trains from where the run is, evaluates, and shows what came of it."""
    _, devices = saved_run.resume(config, run_dir)
    _check_programs(config)
    model = learning_to_execute_model.make_model(config)
    measure = learning_to_execute_model.make_evaluation(model)
    task = _make_task(config, model, measure)
    count, core = cores.sizes(task.init)
    setting = config.setting()
    sizes = f'{setting.input_steps} characters at most, answers {setting.output_steps}'
    print(f'{config.core}: {count:,} parameters, {core:,} in the core; on {devices}')
    print(f'{config.task}, nesting {config.nesting}, length {config.length}: {sizes}')
    flags = dataclasses.asdict(config)
    about = 'learning_to_execute', flags, count, 'sequences', config.batch_size, MEASURE
    directory.describe(run_dir, *about, higher_is_better=True)
    metadata = {'config': flags, 'devices': devices}
    state = loop.train(config, task, run_dir, metadata).replicated
    results = _measure(config, run_dir, model, measure, state)
    picture = _draw(config, run_dir)
    print(f'curve        {picture}')
    print(f'all {config.num_steps} updates are done; a larger --num_steps trains on from here')
    return results


def _evaluate(config: Config, run_dir: str) -> dict[str, float]:
    """Measures the newest checkpoint."""
    config, _ = saved_run.as_trained(config, PRESETS, run_dir)
    model = learning_to_execute_model.make_model(config)
    state = loop.restore(config, model.init, (), run_dir, has_levels=True).replicated
    measure = learning_to_execute_model.make_evaluation(model)
    return _measure(config, run_dir, model, measure, state)


def _check_programs(config: Config) -> None:
    """Raises a RunError where a split has no programs, for a run fails at its start."""
    setting, curriculum = config.setting(), config.curriculum
    num_levels = batches_lib.num_levels(setting, curriculum)
    try:
        for level in range(num_levels):
            batches_lib.batch(setting, curriculum, level, 'train', config.seed, 0, 1)
            if num_levels > 1:
                next(learning_to_execute_model.drawn(config, 'valid', 1, level))
        for split in ('valid', 'test'):
            next(learning_to_execute_model.drawn(config, split, 1))
    except ValueError as error:
        raise errors.RunError(errors.USAGE, f'--task={config.task}: {error}') from error


def _make_task(
    config: Config,
    model: learning_to_execute_model.Model,
    measure: learning_to_execute_model.Evaluation,
) -> update.Task:
    """Returns what the training loop needs."""
    setting, rows = config.setting(), devices_lib.own_rows(config.batch_size)
    num_levels = batches_lib.num_levels(setting, config.curriculum)

    def loss(
        params: chex.ArrayTree, batch: batches_lib.Batch, carry: tuple, keys: chex.Array
    ) -> tuple:
        del keys  # nothing in the network is random
        value, sums = learning_to_execute_model.loss(model, params, batch)
        return value, carry, sums

    def batch(step: int, level: int) -> batches_lib.Batch:
        what = setting, config.curriculum, level, 'train'
        which = config.seed, step, config.batch_size, config.uses_hints()
        whole = batches_lib.batch(*what, *which)
        order = by_length(whole.lengths[0], jax.device_count())[rows]
        return jax.tree.map(lambda x: x[:, order], whole)

    def evaluate(params: chex.ArrayTree) -> Mapping[str, float]:
        batches = learning_to_execute_model.drawn(config, 'valid', config.evaluation_size)
        return measure(params, batches)

    def passes(params: chex.ArrayTree, level: int) -> bool:
        batches = learning_to_execute_model.drawn(config, 'valid', LEVEL_SIZE, level)
        accuracy = measure(params, batches)[MEASURE]
        return accuracy >= config.curriculum_threshold

    pace = config.curriculum_every, num_levels, config.curriculum_patience
    curriculum = update.Curriculum(*pace, passes)
    return update.Task(
        model.init,
        (),
        loss,
        evaluate,
        'characters',
        batch,
        names=('training_accuracy', *(('hint_loss',) if config.uses_hints() else ())),
        curriculum=curriculum,
    )


def by_length(lengths: np.ndarray, num_devices: int) -> np.ndarray:
    """Returns an order of programs in which each device's are sorted by their lengths [B].

    A device's share is dealt out evenly. In the parts that `--accumulate` makes of it programs are
    of about one length, and a part of short ones is done sooner.
    """
    order = np.argsort(lengths, kind='stable')
    return order.reshape(-1, num_devices).T.reshape(-1)


def _measure(
    config: Config,
    run_dir: str,
    model: learning_to_execute_model.Model,
    measure: learning_to_execute_model.Evaluation,
    state: update.Replicated,
) -> dict[str, float]:
    """Evaluates on test programs, keeps what came of it in the run's directory, and prints it."""
    params, size = jax.device_put(state.params), config.final_evaluation_size
    batches = learning_to_execute_model.drawn(config, 'test', size)
    results = measure(params, batches)
    record: dict[str, Any] = {
        'program': 'learning_to_execute',
        **{name: getattr(config, name) for name in ('core', 'task', 'nesting', 'length')},
        **{name: getattr(config, name) for name in ('dialect', 'decoding')},
        'step': int(state.step),
        'sequences': size,
        'test': results[MEASURE],
        **results,
    }
    directory.write_json(pathlib.Path(run_dir, evaluation.FILE), record)
    print(f'\n{_describe_examples(config, model, params)}\n')
    shares = f'{results[MEASURE]:.2%} of characters, {results["sequence_accuracy"]:.2%} of answers'
    where = f'of {size:,} test programs right, {results["eval_loss"]:.4f} nats a character'
    print(f'after {int(state.step):,} updates {shares} {where}')
    return results


def _describe_examples(
    config: Config, model: learning_to_execute_model.Model, params: chex.ArrayTree
) -> str:
    """Returns some test programs with what they print and what the network says, as a table."""
    batch = next(learning_to_execute_model.drawn(config, 'test', NUM_SHOWN))
    said = learning_to_execute_model.answer(model, params, batch).argmax(axis=-1)
    rows = [['program', 'prints', 'the network says']]
    for row in range(min(NUM_SHOWN, config.final_evaluation_size)):
        text = batch.inputs[: batch.lengths[0, row], row]
        length = int(batch.weights[:, row].sum())
        shown = text, batch.targets[:length, row], said[:length, row]
        rows.append([programs.decode(ids).replace('\n', ' ⏎ ') for ids in shown])
    return display.table(rows)


def _draw(config: Config, run_dir: str) -> str:
    """Draws the curve of the run and returns where it is."""
    picture = os.path.join(run_dir, 'accuracy.png')
    rows = metrics.read_metrics(os.path.join(run_dir, 'metrics.jsonl'))
    columns = {'training': 'training_accuracy', 'validation': MEASURE}
    difficulty = accuracies.difficulty(dataclasses.asdict(config))
    level = accuracies.level(difficulty, config.task)
    plots.plot_curves(
        {name: metrics.points(rows, column) for name, column in columns.items()},
        picture,
        title=f'{config.core} on {config.task}, nesting {config.nesting}, length {config.length}',
        y_label='accuracy per character',
        baselines={} if level is None else {"the paper's RMC": level},
        log_scale=False,
        pale=['training'],
    )
    return picture


if __name__ == '__main__':
    processes.leave(flags_lib.main(Config, run, 'learning_to_execute', PRESETS))
