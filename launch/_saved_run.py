"""What a checkpoint says of the run that made it, against the flags of today."""

from collections.abc import Mapping
import dataclasses
from typing import Any, TypeVar

from launch import _checkpoint, _cli, _errors, _run_directory, _supervised

Config = TypeVar('Config', bound=_supervised.Config)


def saved_config(config_type: type[Config], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the configuration of a checkpoint; flags newer than it have their defaults."""
    return {**dataclasses.asdict(config_type()), **metadata['config']}


def check(config: _supervised.Config, metadata: Mapping[str, Any], devices: str) -> None:
    """Prints what has changed since a checkpoint.

    Args:
      config: the flags.
      metadata: of the checkpoint.
      devices: what this run runs on.

    Raises:
      RunError: something has changed that may not change.
    """
    changed = _run_directory.check_config(
        saved_config(type(config), metadata),
        dataclasses.asdict(config),
        _cli.field_classes(config),
    )
    before = metadata.get('devices', devices)
    if before != devices:
        changed.append(f'devices: {before} -> {devices}; the last bits may differ')
    for line in changed:
        print(f'changed since the checkpoint: {line}')


def as_trained(
    config: Config,
    presets: Mapping[str, Mapping[str, Any]],
    run_dir: str,
    also: tuple[str, ...] = (),
) -> tuple[Config, tuple[int, dict[str, Any]]]:
    """Returns the configuration with what the checkpoint was trained with, and its metadata.

    Args:
      config: the flags; it has a `preset`.
      presets: the program's.
      run_dir: the run's directory, which this process owns.
      also: flags that are taken from the checkpoint too unless they are given.

    Raises:
      RunError: there is no checkpoint, or a flag asks for something else than it was trained with.
    """
    saved = _checkpoint.Checkpointer(run_dir).newest_metadata()
    if saved is None:
        message = f'--run_dir={run_dir}: wanted a run with a checkpoint, it has none yet'
        raise _errors.RunError(_errors.BAD_DATA, message)
    config_type = type(config)
    trained, classes = saved_config(config_type, saved[1]), _cli.field_classes(config)
    preset = presets[dataclasses.asdict(config)['preset']]
    defaults = [config_type(), config_type(**preset)]  # of flags that nobody gave
    taken = [name for name in trained if classes.get(name) == 'identity' or name in also]
    taken.remove('seed')  # here it is of the sampling
    given = {
        name
        for name in taken
        if getattr(config, name) not in [getattr(default, name) for default in defaults]
    }
    asked = {name: getattr(config, name) for name in given if classes[name] == 'identity'}
    _run_directory.check_config({name: trained[name] for name in asked}, asked, classes)
    values = {name: trained[name] for name in taken if name not in also or name not in given}
    return dataclasses.replace(config, **values), saved
