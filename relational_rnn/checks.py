"""Checks of arguments that several cores share; all raise a ValueError with wanted and got.

Glossary of shapes:
  B: batch; D: input size; K: rows of an input.
"""

import numbers
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

AnyArray: TypeAlias = jax.Array | np.ndarray  # of a device, or of the host


def check_counts(**counts: int) -> None:
    """Raises unless all are whole numbers of at least 1."""
    for name, value in counts.items():
        if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
            raise ValueError(f'{name} is a whole number of at least 1, got {value!r}.')


def check_choice(name: str, value: Any, choices: tuple) -> None:
    """Raises unless a value is one of the choices."""
    if value not in choices:
        raise ValueError(f'{name} is one of {choices}, got {value!r}.')


def check_floating(subject: str, *arrays: jax.Array) -> None:
    """Raises unless arrays have a floating dtype; `subject` is 'inputs are' or the like."""
    for array in arrays:
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(f'{subject} of a floating dtype, got {array.dtype}.')


def check_inputs(
    inputs: jax.Array,
    batch: tuple[int, ...],
    leading: tuple[str, ...] = (),
    allow_rows: bool = False,
) -> None:
    """Raises unless inputs are floats whose shape fits the state.

    Args:
      inputs: what should be [B, D] after the dimensions named by `leading`.
      batch: (B,), or () for a state without B.
      leading: names of dimensions in front, ('T',) for a sequence.
      allow_rows: whether [B, K, D] fits too.
    """
    dims = (*leading, *(('B',) if batch else ()))
    fits = inputs.ndim - len(dims) in ((1, 2) if allow_rows else (1,))
    if not fits or inputs.shape[len(leading) : len(dims)] != batch or 0 in inputs.shape:
        shapes = [(*dims, 'D'), *([(*dims, 'K', 'D')] if allow_rows else [])]
        wanted = ' or '.join(f'[{", ".join(shape)}]' for shape in shapes)
        size = f'with B = {batch[0]} as in the state' if batch else 'for a state without B'
        raise ValueError(f'inputs are {wanted} {size}, none of them 0, got shape {inputs.shape}.')
    check_floating('inputs are', inputs)


def check_state(state: Any, kind: type, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Raises unless a state is of a type and its first arrays have these shapes after B.

    Args:
      state: what should be of type `kind`.
      kind: the type.
      *shapes: of the first arrays, without B, as many as are checked.

    Returns:
      The batch: (B,), or () for a state without B.
    """
    got = [jnp.shape(leaf) for leaf in jax.tree.leaves(state)][: len(shapes)]
    batch = got[0][: max(0, len(got[0]) - len(shapes[0]))] if got else ()
    fits = got == [(*batch, *shape) for shape in shapes] and len(batch) <= 1
    if not fits or not isinstance(state, kind):
        name, wanted = kind.__name__.rpartition('.')[2], ', '.join(map(str, map(list, shapes)))
        raise ValueError(
            f'the state is of type {name} and shapes {wanted}, with or without B in front, '
            f'got {type(state).__name__} of shapes {got}.'
        )
    return batch
