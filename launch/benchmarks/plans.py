"""What the unrolls and the environments would do on a device that is not here.

Everything is compiled from shapes (`launch/training/targets.py`): nothing is allocated and nothing
runs. For a GPU the kernels of every step are counted (`launch/training/kernels.py`): where they
are as short as their launch, their number is the time, to first order.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import haiku as hk
import jax

from launch.benchmarks import environments, unrolls
from launch.training import cost, kernels, targets

Plans = dict[str, dict[str, Any]]


def plan_unrolls(
    compared: Mapping[str, unrolls.Method], target: targets.Target, chips: Sequence[Any]
) -> Plans:
    """Compiles both passes of every method but the lower bound, for the first device.

    Args:
      compared: what `unrolls.methods` returns.
      target: the device's description.
      chips: what `targets.devices` returns for it.

    Returns:
      By method `num_parameters`, and `forward` and `train`, each what `cost.compile_for` returns.
    """
    results: Plans = {}
    for name, method in compared.items():
        if name == unrolls.LOWER_BOUND:
            continue
        shapes = _placed(jax.eval_shape(method.arguments), chips)
        results[name] = {'num_parameters': hk.data_structures.tree_size(shapes[0])}
        for pass_name in unrolls.PASSES:
            lowered = jax.jit(getattr(method, pass_name)).lower(*shapes)
            results[name][pass_name] = cost.compile_for(target, lowered)
    return results


def plan_environment(
    setting: environments.Setting, target: targets.Target, chips: Sequence[Any]
) -> cost.Costs:
    """Compiles the steps of an environment for the first device, as in `plan_unrolls`."""
    shapes = jax.eval_shape(lambda: environments.arguments(setting, jax.random.key(0)))
    steps = jax.jit(environments.stepper(setting), donate_argnums=1)
    return cost.compile_for(target, steps.lower(*_placed(shapes, chips)))


def _placed(shapes: Any, chips: Sequence[Any]) -> Any:
    """Returns shapes as those of arrays on the first of some devices."""
    sharding = targets.first(chips)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes)


HEADER = (
    f'{"":18}{"params":>11}{"pass":>9}{"kernels of each step":>24}{"arguments MB":>14}'
    f'{"scratch MB":>12}{"compiled in s":>15}'
)


def table(plans: Plans) -> list[str]:
    """Returns a line for each pass of a method, under `HEADER`, of what `plan_unrolls` returns."""
    lines = []
    for name, result in plans.items():
        for number, pass_name in enumerate(unrolls.PASSES):
            first = f'  {name:16}{result["num_parameters"]:11,}' if number == 0 else f'{"":29}'
            lines.append(f'{first}{pass_name:>9}{_cells(result[pass_name])}')
    return lines


def line(name: str, plan: cost.Costs) -> str:
    """Returns a line of a table, under `HEADER`, of what `plan_environment` returns."""
    return f'{name:38}{_cells(plan)}'


def _cells(plan: cost.Costs) -> str:
    if 'reason' in plan:
        return f'  does not fit: {plan["reason"]}'
    sizes = ''.join(f'{plan[f"{name}_bytes"] / 1e6:{width},.0f}' for name, width in _SIZES)
    return f'{_steps(plan.get("program")):>24}{sizes}{plan["compile_seconds"]:15.1f}'


_SIZES = (('arguments', 14), ('scratch', 12))


def _steps(program: kernels.Block | None) -> str:
    """Returns the kernels of a step of each loop, and how often the host waits in the program."""
    if program is None:
        return 'not counted'
    steps = ' + '.join(f'{kernels.count(loop.body):,}' for loop in program.loops) or 'no loop'
    waits = kernels.waits(program)
    return steps + (f', {waits} waits' if waits else '')


def as_json(plans: Plans) -> Plans:
    """Returns what `plan_unrolls` returns as what JSON can hold."""
    return {
        name: result | {each: cost.as_json(result[each]) for each in unrolls.PASSES}
        for name, result in plans.items()
    }
