"""What the flags and the data of today must have in common with those of a checkpoint."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from launch.runs import directory, errors, flags
from launch.training import task as task_lib
from tasks import base

Saved = tuple[int, Mapping[str, Any]]  # step and metadata of a checkpoint


def saved_config(config_type: type[Any], saved: Saved) -> dict[str, Any]:
    """Returns the configuration of a checkpoint; flags newer than it have their defaults."""
    step, metadata = saved
    values = metadata.get('config')
    try:
        if not isinstance(values, dict):
            raise ValueError('wanted an object')
        values = flags.read_values(config_type, values)
    except ValueError as error:
        raise bad_config(step, error) from error
    return {**dataclasses.asdict(config_type()), **values}


def whole_config(config_type: type[Any], saved: Saved, run_dir: str) -> Any:
    """Returns the flags of a checkpoint as they were, but for where the run is now."""
    values = {**saved_config(config_type, saved), 'run_dir': run_dir}
    try:
        return config_type(**{name: values[name] for name in flags.on_resume(config_type)})
    except (ValueError, OverflowError) as error:
        raise bad_config(saved[0], error) from error


def bad_config(step: int, error: Exception) -> errors.RunError:
    """Returns what to raise for a checkpoint whose configuration cannot be used."""
    reason = f'the configuration in the checkpoint of step {step} cannot be used'
    remedy = 'take another --run_dir, or the version of the program that wrote it'
    return errors.RunError(errors.BAD_DATA, f'{reason}: {errors.first_line(error)}; {remedy}')


def check_config(config: Any, saved: Saved, kind: str) -> None:
    """Prints what has changed since a checkpoint; raises a RunError if that may not change."""
    changed = directory.check_config(
        saved_config(type(config), saved), dataclasses.asdict(config), flags.on_resume(config)
    )
    before = errors.shorten(saved[1].get('devices', kind))
    if before != kind:
        changed.append(f'devices: {before} -> {kind}; the last bits may differ')
    for line in changed:
        print(f'changed since the checkpoint: {line}')


def check_data(task: task_lib.Task, saved: Saved | None) -> None:
    """Raises a DataError if a checkpoint was trained on other data."""
    if not saved or saved[1].get('data', '') == task.data:
        return
    message = f'the data has changed since the checkpoint of step {saved[0]}'
    remedy = 'put the old data back'
    before, now = saved[1].get('prepared_by', ''), task.prepared_by
    if before != now:
        message = f'the checkpoint of step {saved[0]} wants data prepared by {before}, got {now}'
        remedy = 'install that version'
    raise base.DataError(f'{message}: {remedy} or take another --run_dir')
