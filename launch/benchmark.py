"""Times the Relational Memory Core against other methods, and the environments of agents.

  python -m launch.benchmark --output=benchmark.json
  python -m launch.benchmark --shapes=none         the environments alone
  python -m launch.benchmark --environments=none   the core alone

With --target it compiles them for a device that is not here, and prints the kernels and the memory:

  python -m launch.benchmark --target=h200 --environments=none --variants=all

What is timed and how is described in `launch/benchmarks/unrolls.py` and
`launch/benchmarks/environments.py`, what is planned in `launch/benchmarks/plans.py`.
"""

from collections.abc import Collection
import dataclasses
import pathlib
import platform
from typing import Any

import jax

from launch.benchmarks import environments as environments_lib
from launch.benchmarks import plans, unrolls
from launch.runs import directory, errors, flags
from launch.training import cost, targets


@dataclasses.dataclass(frozen=True)
class Config:
    """Times the Relational Memory Core against other methods, and the environments of agents."""

    shapes: str = flags.flag(
        'all',
        f'of the core: some of {", ".join(unrolls.SHAPES)}, with commas, all (on a CPU without '
        f'{" and ".join(unrolls.PAPER_SHAPES)}, which take minutes) or none',
        'free',
    )
    environments: str = flags.flag(
        'all', f'some of {", ".join(environments_lib.SETTINGS)}, with commas, all or none', 'free'
    )
    repeats: int = flags.flag(7, 'timed calls of each, of which the median counts', 'free', 5)
    output: str = flags.flag(
        '', 'where to write the numbers as JSON; nowhere if empty', 'free', path=True
    )
    seed: int = flags.flag(0, 'seed of parameters and inputs', 'free', 0)
    target: str = flags.flag(
        '', 'device to compile for that is not here, such as h200 or v5e; empty measures', 'free'
    )
    variants: str = flags.flag(
        'none', f'of unroll, too: {", ".join(unrolls.VARIANTS)}, with commas, all or none', 'free'
    )

    def __post_init__(self) -> None:
        flags.check(self)
        chosen('shapes', self.shapes, unrolls.SHAPES)
        chosen('environments', self.environments, environments_lib.SETTINGS)
        chosen('variants', self.variants, unrolls.VARIANTS)
        directory.check_output(self.output)
        if self.target:
            targets.read(self.target)


def chosen_variants(config: Config) -> list[str]:
    """Returns the further rows of `unroll`."""
    return chosen('variants', config.variants, unrolls.VARIANTS)


def chosen(flag: str, value: str, known: Collection[str]) -> list[str]:
    """Returns the names that a flag chooses; raises a ValueError for one that is not known."""
    names = {'all': list(known), 'none': []}.get(value, value.split(','))
    for name in names:
        flags.check_choice(flag, name, known)
    return names


def run(config: Config) -> dict[str, Any]:
    """Times or plans everything that is chosen, prints tables, writes the numbers if asked to.

    Returns:
      `machine`, a description by name, and `repeats`, or with a target `target`; `shapes`: by name
      the `sizes`, and by method what `unrolls.measure` or `plans.plan_unrolls` returns;
      `environments`: by name what `environments_lib.measure` or `plans.plan_environment` returns.

    Raises:
      RunError: the file cannot be written, or the compiler for the target is missing.
    """
    results = _plan(config) if config.target else _measure(config)
    if config.output:
        directory.write_json(pathlib.Path(config.output), results)
        print(f'numbers written to {config.output}')
    return results


def _measure(config: Config) -> dict[str, Any]:
    """Times what is chosen on the devices that are here."""
    machine = describe_machine()
    print(', '.join(f'{name} {value}' for name, value in machine.items()))
    shapes: dict[str, Any] = {}
    environments: dict[str, Any] = {}
    names = chosen('shapes', config.shapes, unrolls.SHAPES)
    if machine['backend'] == 'cpu' and config.shapes == 'all':
        names = [name for name in names if name not in unrolls.PAPER_SHAPES]
    for name in names:
        shape = unrolls.SHAPES[name]
        compared = unrolls.methods(shape, config.seed, chosen_variants(config))
        measured = unrolls.measure(compared, config.repeats)
        lines = [] if shapes else [unrolls.HEADER]
        lines += [f'{name} {tuple(shape)}', *unrolls.table(measured)]
        print('\n'.join(lines), flush=True)
        shapes[name] = {'sizes': shape._asdict(), **measured}
    settings = environments_lib.SETTINGS
    for name in chosen('environments', config.environments, settings):
        result = environments_lib.measure(settings[name], config.repeats, config.seed)
        lines = [] if environments else [environments_lib.HEADER]
        print('\n'.join([*lines, environments_lib.line(name, result)]), flush=True)
        environments[name] = result
    results = {'machine': machine, 'repeats': config.repeats}
    return results | {'shapes': shapes, 'environments': environments}


def _plan(config: Config) -> dict[str, Any]:
    """Compiles what is chosen for a device that is not here."""
    target = targets.read(config.target)
    chips = targets.devices(target)
    about = {'name': target.name, 'device': target.device, 'jax': jax.__version__}
    print(f'planned for {target.device}, jax {jax.__version__}\n{plans.HEADER}')
    shapes: dict[str, Any] = {}
    environments: dict[str, Any] = {}
    for name in chosen('shapes', config.shapes, unrolls.SHAPES):
        shape = unrolls.SHAPES[name]
        compared = unrolls.methods(shape, config.seed, chosen_variants(config))
        planned = plans.plan_unrolls(compared, target, chips)
        print('\n'.join([f'{name} {tuple(shape)}', *plans.table(planned)]), flush=True)
        shapes[name] = {'sizes': shape._asdict(), **plans.as_json(planned)}
    for name in chosen('environments', config.environments, environments_lib.SETTINGS):
        setting = environments_lib.SETTINGS[name]
        costs = plans.plan_environment(setting, target, chips)
        print(plans.line(name, costs), flush=True)
        environments[name] = cost.as_json(costs)
    return {'target': about, 'shapes': shapes, 'environments': environments}


def describe_machine() -> dict[str, Any]:
    """Returns what the numbers depend on: processor, cores, versions and device."""
    return {
        'cpu': _cpu_model(),
        'cores': environments_lib.num_cores(),
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


if __name__ == '__main__':
    errors.leave(flags.main(Config, run, 'benchmark'))
