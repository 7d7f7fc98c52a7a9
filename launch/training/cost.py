"""What one update of a training costs: the memory that its compiled program plans, and its time.

Glossary of shapes:
  B: batch size; n: devices; P: processes; T: time steps.
"""

from collections.abc import Callable
import resource
import statistics
import time
from typing import Any

import chex
import jax

from launch.training import devices, loop
from launch.training import optimizer as optimizer_lib
from launch.training import task as task_lib
from launch.training import update as update_lib


def measure(
    config: loop.Config,
    task: task_lib.Task,
    make_batch: Callable[[int], chex.ArrayTree],
    repeats: int,
) -> dict[str, float]:
    """Compiles the update of a task and times it.

    Args:
      config: the flags.
      task: what to train; its `evaluate` is not called.
      make_batch: its batches, by step.
      repeats: timed updates, after one that is not; 0 only compiles, and allocates nothing.

    Returns:
      By name, for each device: bytes of the program's `arguments` (parameters, optimizer, carry
      and batch), of its `scratch` space, and of both in `planned` (results take the arguments'
      place); `seconds` of the median update and units a second of all devices, if timed.
    """
    devices.check_batch_size(config.batch_size, config.accumulate)
    optimizer = optimizer_lib.make(config, config.num_steps)
    update = update_lib.make_update(task, optimizer, config.batch_size, config.accumulate)
    shapes = jax.eval_shape(lambda: loop.initial_state(config, task, host=False))
    placed = shapes._replace(carry=devices.split_carry(task.initial_carry))
    batch = devices.split(make_batch(0), axis=1)
    compiled = devices.compile_update(update, shapes).lower(placed, batch).compile()
    analysis = compiled.memory_analysis()
    costs = {
        'arguments_bytes': analysis.argument_size_in_bytes,
        'scratch_bytes': analysis.temp_size_in_bytes,
        'planned_bytes': analysis.argument_size_in_bytes
        + analysis.temp_size_in_bytes
        + analysis.output_size_in_bytes
        - analysis.alias_size_in_bytes,
    }
    if repeats:
        state = devices.place(loop.initial_state(config, task))
        costs |= _time(compiled, state, make_batch, repeats)
    return costs


def describe(costs: dict[str, float], unit: str) -> list[str]:
    """Returns what `measure` found, a line a fact.

    Args:
      costs: what it returned.
      unit: what a weight of 1 in the loss is, in the plural.
    """
    gigabytes = {name: costs[f'{name}_bytes'] / 1e9 for name in ('planned', 'arguments', 'scratch')}
    memory = '{planned:.2f} GB = {arguments:.2f} of arguments + {scratch:.2f} of scratch space'
    lines = [f'memory of the compiled update, each device: {memory.format(**gigabytes)}']
    if 'seconds' in costs:
        rate = f'{costs["per_second"]:,.0f} {unit}/s'
        lines.append(f'time of an update: {costs["seconds"]:.3f} s (median), {rate}')
        lines.append(f'peak memory of this process: {costs["peak_bytes"] / 1e9:.2f} GB')
    return lines


def _time(
    update: Any,
    state: update_lib.TrainState,
    make_batch: Callable[[int], chex.ArrayTree],
    repeats: int,
) -> dict[str, float]:
    """Runs updates; each counts from the batch on the host to the loss on the host."""
    seconds = []
    for step in range(repeats + 1):
        batch = devices.split(make_batch(step), axis=1)
        start = time.monotonic()
        state, report = update(state, batch)
        weight = float(devices.to_host(report.metrics['loss']).weight)
        seconds.append(time.monotonic() - start)
    median = statistics.median(seconds[1:])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
    return {'seconds': median, 'per_second': weight / median, 'peak_bytes': peak}
