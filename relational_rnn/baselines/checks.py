"""Checks that several cores share.

Glossary of shapes:
  B: batch; D: input size.
"""

import chex
import jax.numpy as jnp


def check_inputs(inputs: chex.Array, batch: tuple[int, ...]) -> None:
    """Raises a ValueError unless a step's inputs are vectors of floats that fit the state.

    Args:
      inputs: what should be [B, D], or [D] for a state without B.
      batch: (B,), or () for a state without B.
    """
    if inputs.ndim != len(batch) + 1 or inputs.shape[:-1] != batch or 0 in inputs.shape:
        rows = f'[B, D] with B = {batch[0]}' if batch else '[D]'
        raise ValueError(
            f'inputs are {rows} as in the state, none of them 0, got shape {inputs.shape}.'
        )
    if not jnp.issubdtype(inputs.dtype, jnp.floating):
        raise ValueError(f'inputs are of a floating dtype, got {inputs.dtype}.')
