"""Carries parameters between `MemoryParams`, arrays by name, and Haiku's dictionaries.

All forms hold the same arrays. The names are those of the Haiku module, as in `memory.arrange`; the
Flax cell (`flax`) has its parameters under these names, the Equinox module (`equinox`) holds
`MemoryParams`. For Sonnet's names see `sonnet`, which starts from Haiku's.

Glossary of shapes:
  D: input size; K: rows of an input.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from relational_rnn import checks, memory


def params_from_haiku(
    params: Mapping[str, Mapping[str, checks.AnyArray]],
    config: memory.MemoryConfig,
    module_name: str = 'relational_memory',
) -> memory.MemoryParams:
    """Turns the Haiku parameters of a `RelationalMemory` into `MemoryParams`.

    Args:
      params: Haiku parameters, of this module or of a whole network.
      config: the core's choices.
      module_name: the path of the module in them.

    Raises:
      ValueError: if there is no such module, or it is no core with these choices.
    """
    if module_name not in params:
        raise ValueError(f'no module {module_name!r} in the parameters, only {sorted(params)}.')
    return unflatten(params[module_name], config)


def params_to_haiku(
    params: memory.MemoryParams,
    config: memory.MemoryConfig,
    module_name: str = 'relational_memory',
) -> dict[str, dict[str, jax.Array]]:
    """Turns `MemoryParams` into Haiku parameters, {module_name: {name: array}}.

    Args:
      params: the core's parameters.
      config: the core's choices.
      module_name: the path of the Haiku module that will use the parameters.

    Raises:
      ValueError: if the parameters are not those of a core with these choices.
    """
    return {module_name: flatten(params, config)}


def flatten(params: memory.MemoryParams, config: memory.MemoryConfig) -> dict[str, jax.Array]:
    """Returns the arrays of parameters by name.

    Raises:
      ValueError: if the parameters are not those of a core with these choices.
    """
    names = memory.arrange(config, 1, 1, lambda name, shape: name)
    _check_structure(params, names)
    arrays = dict(zip(jax.tree.leaves(names), jax.tree.leaves(params), strict=True))
    check(params, config, *_sizes(arrays, config))
    return arrays


def unflatten(
    arrays: Mapping[str, checks.AnyArray], config: memory.MemoryConfig
) -> memory.MemoryParams:
    """Arranges arrays by name as parameters.

    Raises:
      ValueError: if a name is missing or unknown or an array has another shape than that of a core
        with these choices.
    """
    names = memory.arrange(config, 1, 1, lambda name, shape: name)
    odd = sorted(set(arrays) ^ set(jax.tree.leaves(names)))
    if odd:
        raise ValueError(f'not the parameters of {config}; unknown or missing: {odd}.')
    params = jax.tree.map(lambda name: arrays[name], names)
    check(params, config, *_sizes(arrays, config))
    return params


def check(
    params: memory.MemoryParams, config: memory.MemoryConfig, input_size: int, num_rows: int
) -> None:
    """Raises a ValueError unless parameters have the structure, shapes and dtypes of a core.

    Args:
      params: what should be the core's parameters.
      config: the core's choices.
      input_size: D.
      num_rows: K.
    """
    names = memory.arrange(config, input_size, num_rows, lambda name, shape: name)
    shapes: dict[str, tuple[int, ...]] = {}
    memory.arrange(config, input_size, num_rows, shapes.setdefault)
    _check_structure(params, names)
    for name, leaf in zip(jax.tree.leaves(names), jax.tree.leaves(params), strict=True):
        if jnp.shape(leaf) != shapes[name]:
            raise ValueError(
                f'for inputs of {num_rows} x {input_size} the parameter {name} is of shape '
                f'{shapes[name]}, got {jnp.shape(leaf)}.'
            )
    checks.check_floating('parameters are', *jax.tree.leaves(params))


def _check_structure(params: memory.MemoryParams, names: memory.MemoryParams) -> None:
    wanted, got = str(jax.tree.structure(names)), str(jax.tree.structure(params))
    if got != wanted:
        raise ValueError(f'the parameters are a tree {wanted}, got {got}.')


def _sizes(arrays: Mapping[str, checks.AnyArray], config: memory.MemoryConfig) -> tuple[int, int]:
    """Returns D and K, as far as matrices show them; `check` finds what does not fit."""
    input_size = (*jnp.shape(arrays['input_w']), 0)[0]
    if not config.gates_size:
        return input_size, 1
    return input_size, (*jnp.shape(arrays['input_gates_w']), 0)[0] // config.slot_size
