"""Times the Relational Memory Core against other methods, and the environments of agents.

  python -m launch.benchmark --output=benchmark.json
  python -m launch.benchmark --shapes=none         the environments alone
  python -m launch.benchmark --environments=none   the core alone

What is timed and how is described in `launch/benchmarks/unrolls.py` and
`launch/benchmarks/environments.py`.
"""

from collections.abc import Iterable
import dataclasses
import json
import os
import pathlib
import platform
import sys
from typing import Any

import jax

from launch.benchmarks import environments as environments_lib
from launch.benchmarks import unrolls
from launch.runs import errors, flags
from tasks import storage


@dataclasses.dataclass(frozen=True)
class Config:
    """Times the Relational Memory Core against other methods, and the environments of agents."""

    shapes: str = flags.flag(
        'all', f'of the core: some of {", ".join(unrolls.SHAPES)}, with commas, all or none', 'free'
    )
    environments: str = flags.flag(
        'all', f'some of {", ".join(environments_lib.SETTINGS)}, with commas, all or none', 'free'
    )
    repeats: int = flags.flag(7, 'timed calls of each, of which the median counts', 'free', 5)
    output: str = flags.flag('', 'where to write the numbers as JSON; nowhere if empty', 'free')
    seed: int = flags.flag(0, 'seed of parameters and inputs', 'free', 0)

    def __post_init__(self) -> None:
        flags.check(self)
        for name in self.shape_names:
            flags.check_choice('shapes', name, unrolls.SHAPES)
        for name in self.environment_names:
            flags.check_choice('environments', name, environments_lib.SETTINGS)
        folder = pathlib.Path(self.output or '.').parent
        if self.output and (not folder.is_dir() or pathlib.Path(self.output).is_dir()):
            raise ValueError(f'--output: wanted a file in an existing folder, got {self.output!r}')

    @property
    def shape_names(self) -> list[str]:
        """The names of the shapes to run."""
        return _names(self.shapes, unrolls.SHAPES)

    @property
    def environment_names(self) -> list[str]:
        """The names of the environments to run."""
        return _names(self.environments, environments_lib.SETTINGS)


def _names(chosen: str, known: Iterable[str]) -> list[str]:
    """Returns the names that a flag chooses."""
    return {'all': list(known), 'none': []}.get(chosen, chosen.split(','))


def run(config: Config) -> dict[str, Any]:
    """Times everything that is chosen, prints tables and writes the numbers if asked to.

    Args:
      config: the flags.

    Returns:
      `machine`, a description by name; `shapes`: by name the `sizes`, and by method what
      `unrolls.measure` returns; `environments`: by name what `environments_lib.measure` returns.

    Raises:
      RunError: the file cannot be written.
    """
    machine = describe_machine()
    print(', '.join(f'{name} {value}' for name, value in machine.items()))
    shapes: dict[str, Any] = {}
    environments: dict[str, Any] = {}
    for name in config.shape_names:
        shape = unrolls.SHAPES[name]
        measured = unrolls.measure(unrolls.methods(shape, config.seed), config.repeats)
        lines = [] if shapes else [unrolls.HEADER]
        lines += [f'{name} {tuple(shape)}', *unrolls.table(measured)]
        print('\n'.join(lines), flush=True)
        shapes[name] = {'sizes': shape._asdict(), **measured}
    for name in config.environment_names:
        setting = environments_lib.SETTINGS[name]
        result = environments_lib.measure(setting, config.repeats, config.seed)
        lines = [] if environments else [environments_lib.HEADER]
        print('\n'.join([*lines, environments_lib.line(name, result)]), flush=True)
        environments[name] = result
    results = {'machine': machine, 'repeats': config.repeats}
    results |= {'shapes': shapes, 'environments': environments}
    if config.output:
        _write(pathlib.Path(config.output), results)
    return results


def describe_machine() -> dict[str, Any]:
    """Returns what the numbers depend on: processor, cores, versions and device."""
    return {
        'cpu': _cpu_model(),
        'cores': len(os.sched_getaffinity(0)),
        'python': platform.python_version(),
        'jax': jax.__version__,
        'backend': jax.default_backend(),
        'device': jax.devices()[0].device_kind,
    }


def _cpu_model() -> str:
    try:
        lines = pathlib.Path('/proc/cpuinfo').read_text('utf-8').splitlines()
    except OSError:
        lines = []
    models = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return models[0] if models else platform.processor() or platform.machine()


def _write(path: pathlib.Path, results: dict[str, Any]) -> None:
    try:
        storage.write_text(path, json.dumps(results, indent=2) + '\n')
    except OSError as error:
        message = f'{path} cannot be written: {error.strerror}'
        raise errors.RunError(errors.CANNOT_SAVE, message) from error
    print(f'numbers written to {path}')


if __name__ == '__main__':
    sys.exit(flags.main(Config, run, 'benchmark'))
