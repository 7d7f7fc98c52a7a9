"""What one update of a training costs: the memory that its compiled program plans, and its time.

Where the devices are, the update is run and timed; for devices that are not here (`targets.py`) it
is compiled, and the plan is all that is known.

Glossary of shapes:
  B: batch size; n: devices; P: processes; T: time steps.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import statistics
import sys
import time
from typing import Any, ClassVar

import haiku as hk
import jax
import numpy as np

from launch.runs import directory, errors, flags
from launch.training import devices, kernels, loop, targets
from launch.training import optimizer as optimizer_lib
from launch.training import task as task_lib
from launch.training import update as update_lib

try:
    import resource
except ModuleNotFoundError:  # Windows
    resource = None  # type: ignore[assignment]

Costs = dict[str, Any]  # by name; `as_json` makes of it what JSON can hold


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags of `--mode=benchmark`."""

    GROUPS: ClassVar = {'benchmark': '*'}

    target: str = flags.flag(
        '',
        'benchmark: devices to compile for that are not here, such as h200, h200:8, v5e:2x2; '
        'empty measures on those that are',
        'free',
    )
    repeats: int = flags.flag(
        5, 'benchmark: timed updates; 0 only compiles and reports the memory', 'free', 0
    )
    output: str = flags.flag('', 'benchmark: where to write the numbers as JSON', 'free', path=True)

    def __post_init__(self) -> None:
        """Raises a ValueError for a target or a file that cannot be."""
        if self.target:
            targets.read(self.target)
        directory.check_output(self.output)


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


def measure(config: loop.Config, task: task_lib.Task, repeats: int) -> Costs:
    """Compiles the update of a task for the devices that are here, and times it.

    Args:
      config: the flags.
      task: what to train; its `evaluate` is not called.
      repeats: timed updates, after one that is not; 0 only compiles, and allocates nothing.

    Returns:
      By name, for each device: `planned` (see there); `seconds` of the median update and units a
      second of all devices, if timed.
    """
    devices.check_batch_size(config.batch_size, config.accumulate)
    compiled = _lower(config, task, jax.local_device_count()).compile()
    costs: Costs = planned(compiled)
    if repeats:
        state = loop.initial_state(config, task)
        if task.curriculum:
            state = state._replace(level=np.array([_last_level(task), 0], np.int32))
        costs |= _time(compiled, devices.place(state), task, repeats)
    return costs


def plan(
    config: loop.Config, task: task_lib.Task, target: targets.Target, chips: Sequence[Any]
) -> Costs:
    """Compiles the update of a task for devices that are not here; nothing is allocated.

    Args:
      config: the flags.
      task: what to train.
      target: the devices' description.
      chips: what `targets.devices` returns for it.

    Returns:
      `devices`, their number, and what `compile_for` returns.
    """
    devices.check_batch_size(config.batch_size, config.accumulate, len(chips))
    lowered = _lower(config, task, len(chips), chips)
    return {'devices': len(chips), **compile_for(target, lowered)}


def compile_for(target: targets.Target, lowered: Any) -> Costs:
    """Compiles what is lowered for devices that are not here, and looks at the result.

    Without the device a GPU's products are not tuned, and for some shapes the tiles of Triton that
    stand there untuned do not exist; then cuBLAS makes all of them, `without_triton`.

    Returns:
      By name: `memory_bytes` of each device; `fits`, whether the program fits it; if it could be
      compiled `compile_seconds`, `planned` (see there) and `left_bytes` of the memory, and for a
      GPU `program`, a `kernels.Block`; else the compiler's `reason`.
    """
    costs: Costs = {'memory_bytes': target.memory_bytes}
    options = target.compiler_options
    start = time.monotonic()
    try:
        compiled = lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        reason = errors.first_line(error)
        if 'RESOURCE_EXHAUSTED' in reason:
            return costs | {'fits': False, 'reason': reason}
        if 'output tile sizes' not in reason:
            raise
        options = options | {'xla_gpu_enable_triton_gemm': 'False'}
        compiled = lowered.compile(compiler_options=options)
        costs['without_triton'] = True
    costs |= {'compile_seconds': time.monotonic() - start, **planned(compiled)}
    costs['left_bytes'] = target.memory_bytes - costs['planned_bytes']
    costs['fits'] = costs['left_bytes'] >= 0
    if target.platform == 'gpu':
        costs['program'] = kernels.read(compiled.as_text())
    return costs


def as_json(costs: Costs) -> Costs:
    """Returns costs as what JSON can hold."""
    program = costs.get('program')
    return costs | ({'program': kernels.as_json(program)} if program else {})


def planned(compiled: Any) -> dict[str, int]:
    """Returns the memory that a compiled program plans on each device.

    Returns:
      Bytes of its arguments, `arguments_bytes` (of an update: parameters, optimizer, carry and
      batch), of its scratch space, `scratch_bytes`, and of both and the results that take no
      argument's place, `planned_bytes`.
    """
    analysis = compiled.memory_analysis()
    return {
        'arguments_bytes': analysis.argument_size_in_bytes,
        'scratch_bytes': analysis.temp_size_in_bytes,
        'planned_bytes': analysis.argument_size_in_bytes
        + analysis.temp_size_in_bytes
        + analysis.output_size_in_bytes
        - analysis.alias_size_in_bytes,
    }


def _lower(
    config: loop.Config, task: task_lib.Task, num_devices: int, target: Sequence[Any] = ()
) -> Any:
    """Lowers what one call to the devices does in training, from shapes."""
    make: Any = update_lib.make_sampled_updates if task.sample else update_lib.make_update
    optimizer = optimizer_lib.make(config, config.num_steps)
    update = make(task, optimizer, config.batch_size, config.accumulate)
    shapes = jax.eval_shape(lambda: loop.initial_state(config, task, host=False))
    share = devices.process_slice(config.batch_size)
    carry = jax.eval_shape(lambda x: jax.tree.map(lambda leaf: leaf[share], x), shapes.carry)
    shapes = shapes._replace(carry=devices.split_shapes(carry, 0, num_devices))
    work: Any = jax.ShapeDtypeStruct((num_devices,), np.int32)  # how many batches to sample
    if task.batch:
        work = devices.split_shapes(batch(task, 0), 1, num_devices)
    return devices.compile_update(update, shapes, target=target).lower(shapes, work)


def batch(task: task_lib.Task, step: int) -> Any:
    """Returns this process's share of a batch from the host, of a curriculum's last level."""
    assert task.batch
    return task.batch(step, _last_level(task)) if task.curriculum else task.batch(step)


def _last_level(task: task_lib.Task) -> int:
    """Returns the level of the whole task, where most updates are made."""
    assert task.curriculum
    return task.curriculum.num_levels - 1


def _time(
    update: Any, state: update_lib.TrainState, task: task_lib.Task, repeats: int
) -> dict[str, float]:
    """Runs updates; each counts from the batch on the host to the loss on the host."""
    seconds = []
    for step in range(repeats + 1):
        work: Any = np.ones(jax.local_device_count(), np.int32)
        if task.batch:
            work = devices.split(batch(task, step), axis=1)
        start = time.monotonic()
        state, report = update(state, work)
        weight = float(devices.to_host(report.metrics['loss']).weight)
        seconds.append(time.monotonic() - start)
    median = statistics.median(seconds[1:])
    return {'seconds': median, 'per_second': weight / median, **_peak()}


def _peak() -> Costs:
    """Returns the peak memory of this process, nothing where the system does not count it."""
    if resource is None:
        return {}
    unit = 1 if sys.platform == 'darwin' else 1024  # bytes, see getrusage(2) of either system
    return {'peak_bytes': float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)}


def describe(costs: Mapping[str, Any], unit: str) -> list[str]:
    """Returns what `measure` or `plan` found, a line a fact.

    Args:
      costs: what it returned.
      unit: what a weight of 1 in the loss is, in the plural.
    """
    lines = []
    if 'planned_bytes' in costs:
        sizes = [costs[f'{name}_bytes'] / 1e9 for name in ('planned', 'arguments', 'scratch')]
        memory = '{:.2f} GB = {:.2f} of arguments + {:.2f} of scratch space'.format(*sizes)
        lines.append(f'memory of the compiled update, each device: {memory}')
    if 'fits' in costs:
        lines.append(_describe_fit(costs))
        program = costs.get('program')
        lines += kernels.describe(program) if program else ['kernels are counted for GPUs only']
        if 'without_triton' in costs:
            lines.append('all products by cuBLAS: untuned, Triton has no tiles for one of them')
    if 'compile_seconds' in costs:
        lines.append(f'compiled in {costs["compile_seconds"]:.0f} s')
    if 'seconds' in costs:
        rate = f'{costs["per_second"]:,.0f} {unit}/s'
        lines.append(f'time of an update: {costs["seconds"]:.3f} s (median), {rate}')
    if 'peak_bytes' in costs:
        lines.append(f'peak memory of this process: {costs["peak_bytes"] / 1e9:.2f} GB')
    return lines


def _describe_fit(costs: Mapping[str, Any]) -> str:
    memory = f'the {costs["memory_bytes"] / 1e9:.2f} GB of each device'
    if 'reason' in costs:
        return f'does not fit {memory}: {costs["reason"]}'
    left = costs['left_bytes'] / 1e9
    return (
        f'fits {memory}, {left:.2f} GB are left'
        if costs['fits']
        else (f'does not fit {memory}, {-left:.2f} GB are wanting')
    )
