"""A trained function as files, to be called where there is JAX, but neither Haiku nor this project.

`write` fills a folder:

  function.bin   serialized by `jax.export`, for CPUs, CUDA and TPUs:
                 (params, inputs, state) -> (outputs, state)
  params.npz     the parameters, by name: a dict of arrays
  state.npz      the state of one new sequence; a list of arrays [1, ...], `0`, `1`, ...
  about.json     names, dtypes and shapes of inputs, outputs and state; the run's configuration
  and what the program adds, such as `vocabulary.txt`

Inputs and outputs are dicts of arrays by name, the state is a list of arrays, empty for a function
that has none. For B sequences the initial state is that of one, repeated B times.

Glossary of shapes:
  B: batch.
"""

from collections.abc import Callable, Mapping
import io
import json
import pathlib
from typing import Any, NamedTuple

import chex
import jax
from jax import export
import numpy as np

from launch.runs import errors
from tasks import storage

PLATFORMS = ('cpu', 'cuda', 'tpu')
FUNCTION = 'function.bin'
Arrays = dict[str, Any]


class Servable(NamedTuple):
    """A function of a batch that can be exported."""

    # params, inputs by name, state -> outputs by name, state
    call: Callable[[chex.ArrayTree, Arrays, chex.ArrayTree], tuple[Arrays, chex.ArrayTree]]
    inputs: Mapping[str, tuple[str, str]]  # dtype and shape by name: 'float32', '3, b, 10'
    state: chex.ArrayTree  # initial, of one sequence, [1, ...]
    about: Mapping[str, Any] = {}  # for about.json
    files: Mapping[str, Callable[[pathlib.Path], None]] = {}  # what writes further ones, by name


def write(
    folder: pathlib.Path,
    servable: Servable,
    params: chex.ArrayTree,
    about: Mapping[str, Any],
    batch_size: int | None = None,
) -> pathlib.Path:
    """Writes a function with its parameters.

    Args:
      folder: is created where it is missing; files of the same names are replaced.
      servable: the function.
      params: its parameters.
      about: what else `about.json` holds.
      batch_size: B; None leaves B open to each call.

    Returns:
      The folder.

    Raises:
      RunError: a file cannot be written.
    """
    exported, named, state = _export(servable, params, batch_size)
    outputs, _ = jax.tree.unflatten(exported.out_tree, exported.out_avals)
    facts = {
        'jax': jax.__version__,
        'platforms': exported.platforms,
        'inputs': {name: [dtype, shape] for name, (dtype, shape) in servable.inputs.items()},
        'outputs': {name: [str(x.dtype), _shown(x.shape)] for name, x in outputs.items()},
        'state': [[str(x.dtype), _shown(('b', *x.shape[1:]))] for x in state],
        'batch_size': batch_size,
    }
    text = json.dumps({**about, **servable.about, **facts}, indent=1) + '\n'
    try:
        folder.mkdir(parents=True, exist_ok=True)
        storage.write(folder / FUNCTION, bytes(exported.serialize()))
        storage.write(folder / 'params.npz', _npz(named))
        storage.write(folder / 'state.npz', _npz({str(i): x for i, x in enumerate(state)}))
        storage.write_text(folder / 'about.json', text)
        for name, write_file in servable.files.items():
            write_file(folder / name)
    except OSError as error:
        message = f'{error.filename or folder} cannot be written: {error.strerror}'
        raise errors.RunError(errors.CANNOT_SAVE, message) from error
    return folder


def _export(
    servable: Servable, params: chex.ArrayTree, batch_size: int | None
) -> tuple[export.Exported, Arrays, list[np.ndarray]]:
    """Returns the exported function, its parameters by name, and its initial state as a list."""
    pairs, structure = jax.tree_util.tree_flatten_with_path(params)
    names = ['/'.join(str(key.key) for key in path) for path, _ in pairs]
    state, state_structure = jax.tree.flatten(jax.device_get(servable.state))

    def call(named: Arrays, inputs: Arrays, state: list) -> tuple[Arrays, list]:
        params = jax.tree.unflatten(structure, [named[name] for name in names])
        outputs, after = servable.call(params, inputs, jax.tree.unflatten(state_structure, state))
        return outputs, jax.tree.leaves(after)

    scope, size = export.SymbolicScope(), 'b' if batch_size is None else str(batch_size)

    def spec(dtype: Any, shape: str) -> jax.ShapeDtypeStruct:
        sizes = export.symbolic_shape(shape.replace('b', size), scope=scope)
        return jax.ShapeDtypeStruct(sizes, dtype)

    named = dict(zip(names, jax.device_get([leaf for _, leaf in pairs]), strict=True))
    exported = export.export(jax.jit(call), platforms=PLATFORMS)(
        {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in named.items()},
        {name: spec(*each) for name, each in servable.inputs.items()},
        [spec(x.dtype, _shown(('b', *x.shape[1:]))) for x in state],
    )
    return exported, named, state


def _shown(shape: tuple[Any, ...]) -> str:
    """Returns a shape as text: 'b, 4, 16'."""
    return ', '.join(map(str, shape))


def _npz(arrays: Arrays) -> bytes:
    """Returns arrays as the bytes of a file that `np.load` reads."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()
