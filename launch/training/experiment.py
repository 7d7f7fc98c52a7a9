"""What all experiments share: a run is opened, trained, evaluated, plotted and restored here.

An experiment is one file of `launch/`: its `Config` and `PRESETS`, a function `build` that makes a
`task.Task` of a configuration, and an `EXPERIMENT`, which this module runs:

  command -> flags.main -> run -> build, loop.train -> update -> the task's loss
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import functools
import os
import pathlib
from typing import Any, Literal, NamedTuple

import chex
import haiku as hk
import jax

from launch.runs import checkpoint, directory, errors, flags, processes, signals
from launch.runs import metrics as metrics_lib
from launch.training import cost, devices, loop, targets
from launch.training import task as task_lib
from tasks import base

Evaluation = Mapping[str, Any]  # what `evaluation.json` holds
Rows = Sequence[Mapping[str, Any]]  # of `metrics.jsonl`


@dataclasses.dataclass(frozen=True)
class Config(loop.Config, processes.Config, cost.Config):
    """The flags that every experiment has; a program's `Config` adds its own."""

    preset: str = flags.flag('', 'values that the other flags start from', 'free')
    mode: Literal['train', 'evaluate', 'benchmark'] = flags.flag(
        'train', 'train, evaluate the newest checkpoint, or measure what an update costs', 'free'
    )

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        flags.check(self)
        processes.Config.__post_init__(self)
        cost.Config.__post_init__(self)
        if self.target and self.mode != 'benchmark':
            raise ValueError(f'--target: wanted --mode=benchmark with it, got {self.mode}')
        if self.mode in ('evaluate', 'generate'):
            processes.check_reader(self.mode, self.run_dir, self.num_processes)


class Experiment(NamedTuple):
    """A program that trains a network on a task."""

    name: str  # of the module in `launch`
    config: type[Any]  # a `Config`
    presets: Mapping[str, Any]  # configurations by name; the first is the default
    measure: str  # the metric by which runs are compared
    build: Callable[[Any], task_lib.Task]  # of a configuration
    title: Callable[[Any], str]  # of a configuration: the task and its sizes
    describe: Callable[[Any, Evaluation], str]  # what an evaluation found, as text
    # a configuration, a run's directory, its metrics and evaluation -> the paths of pictures
    draw: Callable[[Any, str, Rows, Evaluation], Sequence[str]]
    higher_is_better: bool = True
    subject: Callable[[Any], str] = lambda config: ''  # part of a run's default directory
    # of a configuration, for the mode benchmark: a task that needs no data; None for `build`
    build_synthetic: Callable[[Any], task_lib.Task] | None = None
    modes: Mapping[str, Callable[[Any, str], Any]] = {}  # further ones, of configuration, directory
    kept: tuple[str, ...] = ()  # free flags that an evaluation takes from the checkpoint too


class Restored(NamedTuple):
    """A trained run: `load_params` reads its parameters."""

    config: Any  # with all that the run was trained with
    step: int
    metadata: Mapping[str, Any]  # of the checkpoint


def main(experiment: Experiment) -> None:
    """Runs an experiment from the command line and ends the process with its exit code."""
    go = functools.partial(run, experiment)
    errors.leave(flags.main(experiment.config, go, experiment.name, experiment.presets))


def run(experiment: Experiment, config: Any) -> Evaluation:
    """Trains, evaluates or measures, or does what another mode of the experiment does.

    Args:
      experiment: the experiment.
      config: its flags.

    Returns:
      What `evaluation.json` holds after training and evaluating; or what `benchmark` returns.

    Raises:
      RunError, DataError: with what went wrong and what to do.
    """
    if config.mode == 'benchmark':
        return benchmark(experiment, config)
    path = config.run_dir or default_directory(experiment, config)
    modes = {'train': train, 'evaluate': evaluate}
    with opened(config, path) as run_dir:
        if config.mode in modes:
            return modes[config.mode](experiment, config, run_dir)
        return experiment.modes[config.mode](config, run_dir)


def default_directory(experiment: Experiment, config: Any) -> str:
    """Returns the run's directory where none is given: runs/PROGRAM-SUBJECT-CORE."""
    parts = experiment.name, experiment.subject(config), config.core
    return os.path.join('runs', '-'.join(part for part in parts if part))


@contextlib.contextmanager
def opened(config: Any, path: str) -> Iterator[str]:
    """Owns the directory of a run while its `with` block lasts; signals raise in it.

    Args:
      config: the flags.
      path: the run's directory; unless it is trained it has to be there.

    Yields:
      The directory that this process owns: the run's, or, in a process that is not the first of a
      training, one of its own.

    Raises:
      RunError: the directory is not there or in use, or other processes cannot be reached.
    """
    trains = config.mode == 'train'
    if not trains and not os.path.isdir(os.path.join(path, 'checkpoints')):
        message = f'--run_dir={path}: wanted the directory of a trained run, it has none'
        raise errors.RunError(errors.BAD_DATA, message)
    with (
        signals.handled(),
        processes.join(config, path) if trains else contextlib.nullcontext(path) as run_dir,
        directory.owned(run_dir),
    ):
        yield str(run_dir)


def train(experiment: Experiment, config: Any, run_dir: str) -> Evaluation:
    """Trains from the newest checkpoint on, evaluates, plots, and prints the results."""
    checkpointer = checkpoint.Checkpointer(run_dir)
    saved = checkpointer.newest_metadata() if devices.is_primary() else None
    saved = devices.broadcast_json(saved)
    kind = devices.describe_devices()
    if saved:
        _check_resume(config, saved[1], kind)
    task = experiment.build(config)
    _check_data(task, saved)
    print(experiment.title(config))
    num_parameters = describe_parameters(config, task)
    _describe_run(experiment, config, run_dir, task, num_parameters)
    metadata = {'config': dataclasses.asdict(config), 'devices': kind, 'data': task.data}
    state = loop.train(config, task, run_dir, metadata)
    evaluation = _measure(experiment, config, run_dir, task, state.params, int(state.step), False)
    _draw(experiment, config, run_dir, evaluation)
    print(f'metrics      {os.path.join(run_dir, "metrics.jsonl")}, and for TensorBoard')
    print(f'evaluation   {os.path.join(run_dir, directory.EVALUATION)}')
    print(f'all {config.num_steps} updates are done; a larger --num_steps trains further')
    return evaluation


def evaluate(experiment: Experiment, config: Any, run_dir: str) -> Evaluation:
    """Evaluates the newest checkpoint thoroughly, plots, and prints the results."""
    restored = restore(experiment, config, run_dir)
    task = experiment.build(restored.config)
    _check_data(task, (restored.step, restored.metadata))
    params = load_params(run_dir, task.init)
    evaluation = _measure(
        experiment, restored.config, run_dir, task, params, restored.step, thorough=True
    )
    _draw(experiment, restored.config, run_dir, evaluation)
    print(f'evaluation   {os.path.join(run_dir, directory.EVALUATION)}')
    return evaluation


def benchmark(experiment: Experiment, config: Any) -> cost.Costs:
    """Measures what an update costs, or plans it for `--target`; needs no run's directory.

    Returns:
      `parameters`, their number, and what `cost.measure` or `cost.plan` returns.
    """
    target = targets.read(config.target) if config.target else None
    chips = targets.devices(target) if target else []
    with contextlib.nullcontext() if target else processes.join(config, ''):
        task = (experiment.build_synthetic or experiment.build)(config)
        where = f'{len(chips)} x {target.device}, planned' if target else None
        costs: cost.Costs = {'parameters': describe_parameters(config, task, where)}
        if target:
            costs |= cost.plan(config, task, target, chips)
        else:
            costs |= cost.measure(config, task, config.repeats)
        print('\n'.join(cost.describe(costs, task.unit)))
        if config.output and devices.is_primary():
            flag_values = dataclasses.asdict(config)
            directory.write_json(
                pathlib.Path(config.output), {'config': flag_values, **cost.as_json(costs)}
            )
            print(f'numbers written to {config.output}')
    return costs


def restore(experiment: Experiment, config: Any, run_dir: str) -> Restored:
    """Returns a configuration with what the newest checkpoint of a run was trained with.

    Args:
      experiment: the program of the run.
      config: the flags of this call, which must agree with the run where they are fixed.
      run_dir: the run's directory, which this process owns.

    Raises:
      RunError: there is no whole checkpoint, or a fixed flag differs.
    """
    saved = checkpoint.Checkpointer(run_dir).newest_metadata()
    if saved is None:
        message = f'--run_dir={run_dir}: wanted a run with a checkpoint, it has none yet'
        raise errors.RunError(errors.BAD_DATA, message)
    step, metadata = saved
    on_resume = flags.on_resume(config)
    trained = _saved_config(type(config), metadata)
    start = experiment.presets.get(config.preset)
    defaults = [type(config)(), *([start] if start else [])]  # of flags that are not given
    taken = [name for name in on_resume if on_resume[name] == 'fixed' or name in experiment.kept]
    given = {
        name: getattr(config, name)
        for name in taken
        if name != 'seed' and getattr(config, name) not in [getattr(x, name) for x in defaults]
    }
    asked = {name: value for name, value in given.items() if on_resume[name] == 'fixed'}
    directory.check_config({name: trained[name] for name in asked}, asked, on_resume)
    values = {name: trained[name] for name in taken if name not in given or name in asked}
    return Restored(dataclasses.replace(config, **values), step, metadata)


def load_params(run_dir: str, init: Callable[[chex.PRNGKey], chex.ArrayTree]) -> chex.ArrayTree:
    """Returns the parameters of the newest whole checkpoint of a run, on the device.

    Args:
      run_dir: the run's directory, which this process owns.
      init: makes parameters of the same shapes of a key.

    Raises:
      RunError: there is no whole checkpoint, or its parameters do not fit.
    """
    template = jax.eval_shape(init, jax.random.key(0))
    restored = checkpoint.Checkpointer(run_dir).restore(template, '.params')
    if restored is None:
        raise errors.RunError(errors.BAD_DATA, f'--run_dir={run_dir}: has no checkpoint')
    return jax.device_put(restored.state)


def describe_parameters(config: Any, task: task_lib.Task, where: str | None = None) -> int:
    """Prints what is about to be trained, and returns the number of parameters.

    Args:
      config: the flags.
      task: what is trained.
      where: the devices, by default those that are here.
    """
    count = hk.data_structures.tree_size(jax.eval_shape(task.init, jax.random.key(0)))
    counts = f'{count:,} parameters, {task.core_parameters:,} in the core'
    print(f'{config.core}: {counts}; on {where or devices.describe_devices()}')
    return count


def _describe_run(
    experiment: Experiment, config: Any, run_dir: str, task: task_lib.Task, num_parameters: int
) -> None:
    """Writes `run.json` and the files that the run keeps."""
    for name, save in task.files.items():
        path = pathlib.Path(run_dir, name)
        try:
            save(path)
        except OSError as error:
            message = f'{path} cannot be written: {error.strerror}'
            raise errors.RunError(errors.CANNOT_SAVE, message) from error
    directory.describe(
        run_dir,
        experiment.name,
        dataclasses.asdict(config),
        num_parameters,
        task.consumes[0],
        task.consumes[1],
        experiment.measure,
        experiment.higher_is_better,
    )


def _measure(
    experiment: Experiment,
    config: Any,
    run_dir: str,
    task: task_lib.Task,
    params: chex.ArrayTree,
    step: int,
    thorough: bool,
) -> Evaluation:
    """Evaluates, writes `evaluation.json`, prints a description, and returns it."""
    evaluation = {'program': experiment.name, 'core': config.core, 'step': step}
    evaluation |= task.test(jax.device_put(params), thorough)
    path = pathlib.Path(run_dir, directory.EVALUATION)
    evaluation = {**evaluation, **_kept(evaluation, path)}
    directory.write_json(path, evaluation)
    print(f'\nafter {step:,} updates\n{experiment.describe(config, evaluation)}\n')
    return evaluation


def _draw(experiment: Experiment, config: Any, run_dir: str, evaluation: Evaluation) -> None:
    """Draws the pictures of a run and prints where they are."""
    rows = metrics_lib.read_metrics(os.path.join(run_dir, 'metrics.jsonl'))
    for picture in experiment.draw(config, run_dir, rows, evaluation):
        print(f'picture      {picture}')


def _kept(evaluation: Evaluation, path: pathlib.Path) -> dict[str, Any]:
    """Returns what an earlier evaluation of the same step measured and this one did not."""
    try:
        before = directory.read_json(path)
    except base.DataError:  # it is replaced
        return {}
    if before.get('step') != evaluation['step']:
        return {}
    return {name: before[name] for name, x in evaluation.items() if x is None and name in before}


def _saved_config(config_type: type[Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the configuration of a checkpoint; flags newer than it have their defaults."""
    return {**dataclasses.asdict(config_type()), **metadata['config']}


def _check_resume(config: Any, metadata: Mapping[str, Any], kind: str) -> None:
    """Prints what has changed since a checkpoint; raises a RunError if that may not change."""
    changed = directory.check_config(
        _saved_config(type(config), metadata), dataclasses.asdict(config), flags.on_resume(config)
    )
    before = metadata.get('devices', kind)
    if before != kind:
        changed.append(f'devices: {before} -> {kind}; the last bits may differ')
    for line in changed:
        print(f'changed since the checkpoint: {line}')


def _check_data(task: task_lib.Task, saved: tuple[int, Mapping[str, Any]] | None) -> None:
    """Raises a DataError if a checkpoint was trained on other data."""
    if saved and saved[1].get('data', '') != task.data:
        message = f'the data has changed since the checkpoint of step {saved[0]}'
        raise base.DataError(f'{message}: put the old data back or take another --run_dir')
