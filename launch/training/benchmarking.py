"""The mode `benchmark` of an experiment: what an update costs, measured here or planned."""

from collections.abc import Callable
import contextlib
import dataclasses
import pathlib
from typing import Any

from launch.runs import directory, processes
from launch.training import cost, devices, footprint, targets
from launch.training import task as task_lib


def run(config: Any, build: Callable[[Any], task_lib.Task]) -> cost.Costs:
    """Measures what an update costs, or plans it for `--target`; needs no run's directory.

    Args:
      config: the flags of an experiment.
      build: makes the task of a configuration.

    Returns:
      `parameters`, their number, and what `cost.measure` or `cost.plan` returns.
    """
    target = targets.read(config.target) if config.target else None
    chips = targets.devices(target) if target else []
    with contextlib.nullcontext() if target else processes.join(config, ''):
        task = build(config)
        where = f'{len(chips)} x {target.device}, planned' if target else None
        costs: cost.Costs = {'parameters': cost.describe_parameters(config, task, where)}
        if target:
            costs |= cost.plan(config, task, target, chips)
        else:
            if config.repeats:
                footprint.check(config, task)
            costs |= cost.measure(config, task, config.repeats)
        print('\n'.join(cost.describe(costs, task.unit)))
        if config.output and devices.is_primary():
            flag_values = dataclasses.asdict(config)
            directory.write_json(
                pathlib.Path(config.output), {'config': flag_values, **cost.as_json(costs)}
            )
            print(f'numbers written to {config.output}')
    return costs
