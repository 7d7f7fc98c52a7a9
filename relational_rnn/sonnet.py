"""Carries parameters over from Sonnet 1's `RelationalMemory`, the authors' module, and back.

Sonnet (https://github.com/google-deepmind/sonnet, version 1) numbers a module's variables in the
order in which a step first uses them: `linear` projects the input; every block of attention adds
one `linear_i`, the joint projection to queries, keys and values, and three `layer_norm_i`; `mlp`
is one for all blocks; the last two `linear_i`, if there are gates, compute them from the input and
from the memory.

Glossary of shapes:
  D: input size; K: rows of an input; F: slot size; P: width of the joint projection.
  G: width of all gates of a slot.
"""

import collections
from collections.abc import Mapping
import re

import jax
import jax.numpy as jnp
import numpy as np

from relational_rnn import checks

_VARIABLE = re.compile(
    r'(?:(?P<scope>.+?)/)??'
    r'(?P<name>(?:(?:linear|mlp/linear)(?:_\d+)?/[wb])|(?:layer_norm(?:_\d+)?/(?:gamma|beta)))'
    r'(?::0)?'
)
_LEAVES = {'w': 'w', 'b': 'b', 'gamma': 'scale', 'beta': 'offset'}


def params_from_sonnet(
    variables: Mapping[str, checks.AnyArray], module_name: str = 'relational_memory'
) -> dict[str, dict[str, jax.Array]]:
    """Turns Sonnet's variables into the Haiku parameters of a `RelationalMemory`.

    Args:
      variables: arrays by Sonnet's names, such as 'linear_1/w' or
        'scope/relational_memory/linear_1/w:0'; all of one module.
      module_name: the path of the Haiku module that will use the parameters.

    Returns:
      The parameters, {module_name: {name: array}}, in float32 if they were.

    Raises:
      ValueError: naming every variable that is unknown, missing or misshaped.
    """
    arrays = _without_scope(variables)
    names = _names(
        _count(arrays, r'layer_norm(?:_(\d+))?/', per=3),
        _count(arrays, r'mlp/linear_(\d+)/'),
        _count(arrays, r'linear(?:_(\d+))?/'),
    )
    unknown, missing = sorted(set(arrays) - set(names)), sorted(set(names) - set(arrays))
    problems = [f'unknown: {", ".join(unknown)}'] if unknown else []
    problems += [f'missing: {", ".join(missing)}'] if missing else []
    if not problems:
        problems = _misshaped(arrays, names)
    if problems:
        raise ValueError(f'not the variables of one RelationalMemory; {"; ".join(problems)}.')
    return {module_name: {ours: jnp.asarray(arrays[theirs]) for theirs, ours in names.items()}}


def params_to_sonnet(
    params: Mapping[str, Mapping[str, checks.AnyArray]], module_name: str = 'relational_memory'
) -> dict[str, np.ndarray]:
    """Turns the Haiku parameters of a `RelationalMemory` into Sonnet's variables.

    Args:
      params: Haiku parameters, of this module or of a whole network.
      module_name: the path of the module in them.

    Returns:
      NumPy arrays by Sonnet's names, without scope: 'linear/w', 'layer_norm/gamma', ...

    Raises:
      ValueError: if there is no such module, or it is no `RelationalMemory` without output gate.
    """
    if module_name not in params:
        raise ValueError(f'no module {module_name!r} in the parameters, only {sorted(params)}.')
    module = params[module_name]
    blocks = sum(re.fullmatch(r'projection_\d+_w', name) is not None for name in module)
    layers = sum(re.fullmatch(r'mlp_\d+_w', name) is not None for name in module)
    names = _names(blocks, layers, 1 + blocks + 2 * ('memory_gates_w' in module))
    odd = sorted(set(module) ^ set(names.values()))
    if odd:
        raise ValueError(f'{module_name!r} is no RelationalMemory; unknown or missing: {odd}.')
    variables = {theirs: np.asarray(module[ours]) for theirs, ours in names.items()}
    problems = _misshaped(variables, names)
    if problems:
        raise ValueError(f'{module_name!r} has no counterpart in Sonnet; {"; ".join(problems)}.')
    return variables


def _without_scope(variables: Mapping[str, checks.AnyArray]) -> dict[str, np.ndarray]:
    """Strips scope and ':0' off the names; names of no known form are kept as they are."""
    arrays: dict[str, np.ndarray] = {}
    first: dict[str, str] = {}
    for full_name, value in variables.items():
        match = _VARIABLE.fullmatch(full_name)
        name = match['name'] if match else full_name
        if name in arrays:
            raise ValueError(
                f'{first[name]!r} and {full_name!r} are both {name!r}: '
                'pass the variables of one RelationalMemory only.'
            )
        arrays[name], first[name] = np.asarray(value), full_name
    return arrays


def _count(arrays: Mapping[str, np.ndarray], pattern: str, per: int = 1) -> int:
    """Counts modules by the highest number that occurs, in groups of `per`, at least 1."""
    matches = [match for name in arrays if (match := re.match(pattern, name))]
    return max([1, *(int(match[1] or 0) // per + 1 for match in matches)])


def _names(blocks: int, layers: int, linears: int) -> dict[str, str]:
    """Returns our name for each of Sonnet's, in Sonnet's order."""
    modules = {'linear': 'input'}
    for i in range(blocks):
        modules[f'linear_{i + 1}'] = f'projection_{i}'
        for j, norm in enumerate(('projection_norm', 'attention_norm', 'mlp_norm')):
            modules[f'layer_norm_{3 * i + j}' if i + j else 'layer_norm'] = f'{norm}_{i}'
    for i in range(layers):
        modules[f'mlp/linear_{i}'] = f'mlp_{i}'
    if linears > 1 + blocks:
        modules[f'linear_{blocks + 1}'] = 'input_gates'
        modules[f'linear_{blocks + 2}'] = 'memory_gates'
    return {
        f'{theirs}/{leaf}': f'{ours}_{_LEAVES[leaf]}'
        for theirs, ours in modules.items()
        for leaf in (('gamma', 'beta') if 'norm' in theirs else ('w', 'b'))
    }


def _misshaped(arrays: Mapping[str, np.ndarray], names: Mapping[str, str]) -> list[str]:
    """Returns a line for each variable whose shape does not fit those of the others."""
    ours = {name: arrays[theirs].shape for theirs, name in names.items()}
    theirs_of = {name: theirs for theirs, name in names.items()}
    flat = [name for name, shape in ours.items() if name.endswith('_w') and len(shape) != 2]
    if flat:
        lines = [f'{theirs_of[name]} is a matrix, got {list(ours[name])}' for name in flat]
        return [f'misshaped: {", ".join(lines)}']
    # The width that most agree on, so that the one which does not is the one that is named.
    size = collections.Counter(
        (shape or (0,))[-1]
        for name, shape in ours.items()
        if re.match('input_[wb]|(attention|mlp)_', name)
    ).most_common(1)[0][0]
    joint = ours['projection_0_w'][1]
    gates = ours['memory_gates_w'][1] if 'memory_gates_w' in ours else 0
    num_rows = max(1, ours.get('input_gates_w', (size,))[0] // size)
    widths = {
        'input': (ours['input_w'][0], size),
        'projection': (size, joint),
        'mlp': (size, size),
        'input_gates': (num_rows * size, gates),
        'memory_gates': (size, gates),
        'projection_norm': (0, joint),
        'attention_norm': (0, size),
        'mlp_norm': (0, size),
    }
    lines = []
    for name, shape in ours.items():
        kind, leaf = re.sub(r'_\d+_', '_', name).rsplit('_', 1)
        wanted = widths[kind] if leaf == 'w' else widths[kind][1:]
        if shape != wanted:
            lines.append(f'{theirs_of[name]} is {list(wanted)}, got {list(shape)}')
    if gates and gates not in (2, 2 * size):
        lines.append(f'gates are 2 or {2 * size} wide, got {gates}')
    return [f'misshaped: {", ".join(lines)}'] if lines else []
