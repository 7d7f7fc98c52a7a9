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
from typing import Any, ClassVar, Literal, NamedTuple

import chex
import jax

from launch.runs import (
    checkpoint,
    directory,
    errors,
    flags,
    kept_files,
    processes,
    provenance,
    signals,
)
from launch.runs import metrics as metrics_lib
from launch.training import benchmarking, cost, devices, footprint, loop, resuming
from launch.training import optimizer as optimizer_lib
from launch.training import task as task_lib
from tasks import base

Evaluation = Mapping[str, Any]  # what `evaluation.json` holds
Rows = Sequence[Mapping[str, Any]]  # of `metrics.jsonl`


@dataclasses.dataclass(frozen=True)
class Config(loop.Config, processes.Config, cost.Config):
    """The flags that every experiment has; a program's `Config` adds its own."""

    GROUPS: ClassVar = {'run': '*'}

    preset: str = flags.flag('', 'values that the other flags start from', 'free')
    mode: Literal['train', 'evaluate', 'benchmark'] = flags.flag(
        'train', 'train, evaluate the newest checkpoint, or measure what an update costs', 'free'
    )

    compilation_cache: str | None = flags.flag(
        None,
        'folder that keeps compiled programs, so that another start is quick',
        'free',
        path=True,
    )

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        flags.check(self)
        processes.Config.__post_init__(self)
        cost.Config.__post_init__(self)
        directory.check_path('run_dir', self.run_dir)
        directory.check_path('compilation_cache', self.compilation_cache)
        if self.target and self.mode != 'benchmark':
            raise ValueError(f'--target: wanted --mode=benchmark with it, got {self.mode}')
        shares = self.accumulate * (self.num_processes or 1)
        if self.batch_size % shares:
            wanted = 'wanted a multiple of --accumulate x --num_processes = '
            raise ValueError(f'--batch_size: {wanted}{shares}, got {self.batch_size}')
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
    step: int  # of the checkpoint that was the newest; of the parameters, see `load_params`
    metadata: Mapping[str, Any]  # of that checkpoint


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
      What `evaluation.json` holds after training and evaluating; or what
      `benchmarking.run` returns.

    Raises:
      RunError, DataError: with what went wrong and what to do.
    """
    if config.compilation_cache:
        jax.config.update('jax_compilation_cache_dir', config.compilation_cache)
    if config.mode == 'benchmark':
        build = experiment.build_synthetic or experiment.build
        return benchmarking.run(config, build)
    path = config.run_dir or default_directory(experiment, config)
    modes = {'train': train, 'evaluate': evaluate}
    with opened(config, path) as run_dir:
        if config.mode in modes:
            return modes[config.mode](experiment, config, run_dir)
        return experiment.modes[config.mode](config, run_dir)


def default_directory(experiment: Experiment, config: Any) -> str:
    """Returns the run's directory where none is given: runs/PROGRAM-SUBJECT-CORE.

    A preset other than the default has directories of its own: runs/PROGRAM-PRESET-SUBJECT-CORE.
    """
    preset = '' if config.preset == next(iter(experiment.presets), '') else config.preset
    parts = experiment.name, preset, experiment.subject(config), config.core
    return os.path.join('runs', '-'.join(part for part in parts if part))


@contextlib.contextmanager
def opened(config: Any, path: str) -> Iterator[str]:
    """Opens the directory of a run while its `with` block lasts; signals raise in it.

    Args:
      config: the flags.
      path: the run's directory; unless it is trained it has to be there. Only who trains owns it:
        others read it, also while it is trained, and where they may not write.

    Yields:
      The run's directory, or, in a process that is not the first of a training, one of its own.

    Raises:
      RunError: the directory is not there or in use, or other processes cannot be reached.
    """
    trains = config.mode == 'train'
    if not trains and not os.path.isdir(os.path.join(path, 'checkpoints')):
        message = f'--run_dir={path}: wanted the directory of a trained run, it has none'
        raise errors.RunError(errors.BAD_DATA, message)
    with signals.handled():
        if not trains:
            yield path
            return
        with processes.join(config, path) as run_dir:
            devices.check_batch_size(config.batch_size, config.accumulate)
            with directory.owned(run_dir):
                yield str(run_dir)


def train(experiment: Experiment, config: Any, run_dir: str) -> Evaluation:
    """Trains from the newest checkpoint on, evaluates, plots, and prints the results."""
    checkpointer = checkpoint.Checkpointer(run_dir)
    saved = checkpointer.newest_metadata() if devices.is_primary() else None
    saved = devices.broadcast_json(saved)
    kind = devices.describe_devices()
    if saved:
        resuming.check_config(config, saved, kind)
    task = experiment.build(config)
    resuming.check_data(task, saved)
    footprint.check(config, task)
    print(experiment.title(config))
    num_parameters = cost.describe_parameters(config, task)
    start = provenance.record(kind, saved[0] if saved else 0)
    _describe_run(experiment, config, run_dir, task, num_parameters, start)
    metadata = {'config': dataclasses.asdict(config), 'devices': kind, 'data': task.data}
    metadata['prepared_by'] = task.prepared_by
    metadata['files'] = kept_files.save(run_dir, task.files)
    state = loop.train(config, task, run_dir, metadata)
    params = optimizer_lib.evaluated(state.params, state.opt_state)
    evaluation = _measure(experiment, config, run_dir, task, params, int(state.step), False)
    _draw(experiment, config, run_dir, evaluation)
    print(f'metrics      {os.path.join(run_dir, "metrics.jsonl")}, and for TensorBoard')
    print(f'all {config.num_steps} updates are done; a larger --num_steps trains further')
    return evaluation


def evaluate(experiment: Experiment, config: Any, run_dir: str) -> Evaluation:
    """Evaluates the newest checkpoint thoroughly, plots, and prints the results."""
    restored = restore(experiment, config, run_dir)
    task = experiment.build(restored.config)
    resuming.check_data(task, (restored.step, restored.metadata))
    params, step = load_params(run_dir, task.init)
    evaluation = _measure(experiment, restored.config, run_dir, task, params, step, thorough=True)
    _draw(experiment, restored.config, run_dir, evaluation)
    return evaluation


def restore(experiment: Experiment, config: Any, run_dir: str) -> Restored:
    """Returns a configuration with what the newest checkpoint of a run was trained with.

    Args:
      experiment: the program of the run.
      config: the flags of this call, which must agree with the run where they are fixed.
      run_dir: the run's directory.

    Raises:
      RunError: there is no whole checkpoint, or a fixed flag differs.
    """
    step, metadata = saved = _newest(run_dir)
    on_resume = flags.on_resume(config)
    trained = resuming.saved_config(type(config), saved)
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
    try:
        return Restored(dataclasses.replace(config, **values), step, metadata)
    except (ValueError, OverflowError) as error:
        raise resuming.bad_config(step, error) from error


def read(experiment: Experiment, run_dir: str) -> Restored:
    """Returns the whole configuration that a run was trained with, but where it is now.

    Raises:
      RunError: there is no whole checkpoint, or its configuration cannot be used.
    """
    step, metadata = saved = _newest(run_dir)
    return Restored(resuming.whole_config(experiment.config, saved, run_dir), step, metadata)


def _newest(run_dir: str) -> resuming.Saved:
    """Returns step and metadata of the newest whole checkpoint; a RunError if there is none."""
    saved = checkpoint.Reader(run_dir).newest_metadata()
    if saved is None:
        message = f'--run_dir={run_dir}: wanted a run with a checkpoint, it has none yet'
        raise errors.RunError(errors.BAD_DATA, message)
    return saved


def load_params(
    run_dir: str, init: Callable[[chex.PRNGKey], chex.ArrayTree]
) -> tuple[chex.ArrayTree, int]:
    """Returns the parameters of the newest whole checkpoint of a run, on the device, and its step.

    They are the average over updates where the run has one (`--average`).

    Args:
      run_dir: the run's directory.
      init: makes parameters of the same shapes of a key.

    Raises:
      RunError: there is no whole checkpoint, or its parameters do not fit.
    """
    template = jax.eval_shape(init, jax.random.key(0))
    saved = resuming.saved_config(optimizer_lib.Config, _newest(run_dir))
    path = optimizer_lib.AVERAGE if saved['average'] else optimizer_lib.PARAMS
    restored = checkpoint.Reader(run_dir).restore(template, path)
    if restored is None:
        raise errors.RunError(errors.BAD_DATA, f'--run_dir={run_dir}: has no checkpoint')
    return jax.device_put(restored.state), restored.step


def _describe_run(
    experiment: Experiment,
    config: Any,
    run_dir: str,
    task: task_lib.Task,
    num_parameters: int,
    start: Mapping[str, Any],
) -> None:
    """Writes `run.json`."""
    directory.describe(
        run_dir,
        experiment.name,
        {**dataclasses.asdict(config), 'run_dir': os.path.abspath(run_dir)},
        num_parameters,
        task.consumes[0],
        task.consumes[1],
        experiment.measure,
        experiment.higher_is_better,
        start,
        task.data,
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
    """Evaluates, prints a description, writes `evaluation.json`, and returns it."""
    evaluation = {'program': experiment.name, 'core': config.core, 'step': step}
    evaluation |= task.test(jax.device_put(params), thorough)
    path = pathlib.Path(run_dir, directory.EVALUATION)
    evaluation = {**evaluation, **_kept(evaluation, path)}
    print(f'\nafter {step:,} updates\n{experiment.describe(config, evaluation)}\n')
    with directory.optional() if thorough else contextlib.nullcontext():  # for who only reads
        directory.write_json(path, evaluation)
        print(f'evaluation   {path}')
    return evaluation


def _draw(experiment: Experiment, config: Any, run_dir: str, evaluation: Evaluation) -> None:
    """Draws the pictures of a run and prints where they are; a full disk costs only them."""
    with directory.optional():
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
