"""A run of an agent, the same in every world: it trains or evaluates and shows what came of it."""

from collections.abc import Callable, Mapping
import dataclasses
import os
import pathlib
from typing import Any, NamedTuple

import jax

from launch.agents import acting, agent_config, agent_model, playing
from launch.runs import directory, display, flags, metrics, plots
from launch.training import loop, saved_run, update

Config = agent_config.Config


class Program(NamedTuple):
    """What a program says of itself."""

    name: str  # of the module in `launch`
    presets: flags.Presets
    measure: str  # by which runs are compared: 'return' or 'solved'
    make_world: Callable[[Any], acting.World]  # of a configuration
    title: Callable[[Any], str]  # of the world of a configuration, for pictures
    levels: Callable[[Any], Mapping[str, float]]  # heights of the measure, by name, if any


def run(config: Config, program: Program) -> dict[str, float]:
    """Trains or evaluates.

    Args:
      config: the program's flags.
      program: what they are of.

    Returns:
      What `playing` says of the network, and as 'random_return' and so on of a
      policy that rolls dice.
    """
    run_dir = config.run_dir or f'runs/{program.name}-{config.core}'
    trains = config.mode == 'train'
    with saved_run.opened(config, run_dir, trains) as own_dir:
        return (_train if trains else _evaluate)(config, program, own_dir)


def _train(config: Config, program: Program, run_dir: str) -> dict[str, float]:
    """Trains from where the run is, evaluates, and shows what came of it."""
    _, devices = saved_run.resume(config, run_dir)
    world = program.make_world(config)
    model = agent_model.make_model(config, world.environment)
    measure = playing.make_evaluation(world, model)
    task = acting.make_task(
        config,
        world,
        model,
        lambda params: measure(params, config.evaluation_size),
    )
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    count, core = agent_model.count(shapes)
    print(f'{config.core}: {count:,} parameters, {core:,} in the core; on {devices}')
    print(f'{program.title(config)}; {config.frames:,} environment steps an update')
    settings = dataclasses.asdict(config)
    about = program.name, settings, count, task.unit, config.frames, program.measure
    directory.describe(run_dir, *about, higher_is_better=True)
    metadata = {'config': settings, 'devices': devices}
    state = loop.train(config, task, run_dir, metadata).replicated
    results = _measure(config, program, run_dir, measure, state)
    print(f'curve        {_draw(config, program, run_dir, results)}')
    print(f'all {config.num_steps} updates are done; a larger --num_steps trains on from here')
    return results


def _evaluate(config: Config, program: Program, run_dir: str) -> dict[str, float]:
    """Measures the newest checkpoint."""
    config, world, model, state = load(config, program, run_dir)
    measure = playing.make_evaluation(world, model)
    return _measure(config, program, run_dir, measure, state)


def load(
    config: Config, program: Program, run_dir: str
) -> tuple[Any, acting.World, agent_model.Model, update.Replicated]:
    """Loads the newest checkpoint of a run.

    Args:
      config: the flags, of which those that a run is made of give way to the run's.
      program: what they are of.
      run_dir: the run's directory, which this process owns.

    Returns:
      The run's flags, its world, its network, and what was trained.

    Raises:
      RunError: there is no whole checkpoint.
    """
    config, (_, metadata) = saved_run.as_trained(config, program.presets, run_dir)
    config = dataclasses.replace(config, seed=metadata['config']['seed'])
    world = program.make_world(config)
    model = agent_model.make_model(config, world.environment)
    row = acting.initial_row(config, world, model)
    return config, world, model, loop.restore(config, model.init, row, run_dir).replicated


def _measure(
    config: Config,
    program: Program,
    run_dir: str,
    measure: playing.Evaluation,
    state: update.Replicated,
) -> dict[str, float]:
    """Plays many episodes, keeps what came of them in the run's directory, and prints it."""
    size, params = config.final_evaluation_size, jax.device_put(state.params)
    dice = measure(None, size)
    results = measure(params, size)
    results |= {f'random_{name}': value for name, value in dice.items()}
    steps = int(state.step) * config.frames
    record: dict[str, Any] = {
        'program': program.name,
        'core': config.core,
        'step': int(state.step),
        'frames': steps,
        'episodes': size,
        'test': results[program.measure],
        **results,
    }
    directory.write_json(pathlib.Path(run_dir, directory.EVALUATION), record)
    print(f'\nafter {steps:,} environment steps, in {size:,} episodes that it had not seen')
    for name, prefix in (('the agent', ''), ('dice', 'random_')):
        print(f'  {name:9}  {_describe(results, prefix)}')
    return results


def _describe(results: Mapping[str, float], prefix: str) -> str:
    """Returns means and standard errors as one line."""
    parts = []
    for name in ('return', 'length', 'solved'):
        if f'{prefix}{name}' in results:
            value, error = results[f'{prefix}{name}'], results[f'{prefix}{name}_error']
            parts.append(f'{name} {display.number(value)} ± {error:.2g}')
    return ', '.join(parts)


def _draw(config: Config, program: Program, run_dir: str, results: Mapping[str, float]) -> str:
    """Draws the curves of the run over environment steps and returns where the picture is."""
    measure = program.measure
    picture = os.path.join(run_dir, f'{measure}.png')
    rows = metrics.read_metrics(os.path.join(run_dir, 'metrics.jsonl'))
    columns = {'training': f'training_{measure}', 'evaluation': measure}
    curves = {
        name: [(step * config.frames, value) for step, value in metrics.points(rows, column)]
        for name, column in columns.items()
    }
    plots.plot_curves(
        curves,
        picture,
        title=f'{config.core}, {program.title(config)}',
        x_label='environment steps',
        y_label={'return': 'return of an episode', 'solved': 'share of solved levels'}[measure],
        baselines={'random policy': results[f'random_{measure}'], **program.levels(config)},
        log_scale=False,
        pale=['training'],
    )
    return picture
