"""Opens the directory of a run, and holds what its checkpoint says against the flags of today."""

from collections.abc import Iterator, Mapping
import contextlib
import dataclasses
import os
from typing import Any, TypeVar

from launch.runs import checkpoint, directory, errors, flags, processes, signals
from launch.training import devices as devices_lib
from launch.training import loop

Config = TypeVar('Config', bound=loop.Config)


@contextlib.contextmanager
def opened(config: processes.Config, run_dir: str, trains: bool) -> Iterator[str]:
    """Owns the directory of a run while its `with` block lasts.

    Args:
      config: the flags.
      run_dir: the run's directory.
      trains: whether the run is trained, by all its processes; else it has to be there.

    Yields:
      The directory that this process owns.

    Raises:
      RunError: the directory is not there or in use, or other processes cannot be reached.
    """
    if not trains and not os.path.isdir(os.path.join(run_dir, 'checkpoints')):
        message = f'--run_dir={run_dir}: wanted the directory of a trained run, it has none'
        raise errors.RunError(errors.BAD_DATA, message)
    with (
        signals.handled(),
        processes.join(config, run_dir) if trains else contextlib.nullcontext(run_dir) as own_dir,
        directory.RunDirectory(own_dir),
    ):
        yield own_dir


def resume(config: loop.Config, run_dir: str) -> tuple[tuple[int, dict[str, Any]] | None, str]:
    """Returns step and metadata of the checkpoint that training goes on from, and the devices.

    What has changed since then is printed.

    Args:
      config: the flags.
      run_dir: the directory that this process owns.

    Raises:
      RunError: something has changed that may not change.
    """
    saved = checkpoint.Checkpointer(run_dir).newest_metadata() if devices_lib.is_first() else None
    saved = devices_lib.share_record(saved)
    devices = devices_lib.describe_devices()
    if saved:
        _check(config, saved[1], devices)
    return saved, devices


def _saved_config(config_type: type[Config], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the configuration of a checkpoint; flags newer than it have their defaults."""
    return {**dataclasses.asdict(config_type()), **metadata['config']}


def _check(config: loop.Config, metadata: Mapping[str, Any], devices: str) -> None:
    """Prints what has changed since a checkpoint; raises a RunError if that may not change."""
    changed = directory.check_config(
        _saved_config(type(config), metadata),
        dataclasses.asdict(config),
        flags.on_resume(config),
    )
    before = metadata.get('devices', devices)
    if before != devices:
        changed.append(f'devices: {before} -> {devices}; the last bits may differ')
    for line in changed:
        print(f'changed since the checkpoint: {line}')


def as_trained(
    config: Config,
    presets: flags.Presets,
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
    saved = checkpoint.Checkpointer(run_dir).newest_metadata()
    if saved is None:
        message = f'--run_dir={run_dir}: wanted a run with a checkpoint, it has none yet'
        raise errors.RunError(errors.BAD_DATA, message)
    config_type = type(config)
    trained, on_resume = _saved_config(config_type, saved[1]), flags.on_resume(config)
    preset = presets[dataclasses.asdict(config)['preset']]
    defaults = [config_type(), preset]  # of flags that nobody gave
    taken = [name for name in trained if on_resume.get(name) == 'fixed' or name in also]
    taken.remove('seed')  # here it is of the sampling
    given = {
        name
        for name in taken
        if getattr(config, name) not in [getattr(default, name) for default in defaults]
    }
    asked = {name: getattr(config, name) for name in given if on_resume[name] == 'fixed'}
    directory.check_config({name: trained[name] for name in asked}, asked, on_resume)
    values = {name: trained[name] for name in taken if name not in also or name not in given}
    return dataclasses.replace(config, **values), saved
