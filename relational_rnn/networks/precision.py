"""Matrix products in bfloat16, by jmp policies.

In bfloat16 the matrix products of cores, linear layers and softmax round their factors; parameters,
their gradients, states, layer norms, gates and all softmaxes stay in float32. That holds for a
`RelationalMemory`, a `Transformer` and any core whose products are those of `hk.Linear`.
"""

from collections.abc import Iterator
import contextlib
from typing import Any

import haiku as hk
import jax.numpy as jnp
import jmp

from relational_rnn import core

# The modules that multiply by matrices; all cores but the RMC are made of `hk.Linear`.
MULTIPLIERS = (core.RelationalMemory, hk.Linear)


def check(dtype: Any) -> jnp.dtype:
    """Returns a dtype of matrix products, or raises a ValueError if it is another one."""
    dtype = jnp.dtype(dtype)
    if dtype not in (jnp.float32, jnp.bfloat16):
        raise ValueError(f'dtype is float32 or bfloat16, got {dtype}.')
    return dtype


@contextlib.contextmanager
def multiplying_in(dtype: Any) -> Iterator[None]:
    """Makes cores and linear layers multiply matrices in a dtype as long as the context lasts.

    Their parameters, inputs, states and outputs stay float32; other modules are not affected.

    Args:
      dtype: `jnp.bfloat16`; with `jnp.float32` nothing changes.
    """
    with contextlib.ExitStack() as policies:
        if dtype != jnp.float32:
            policy = jmp.Policy(jnp.float32, dtype, jnp.float32)
            for module in MULTIPLIERS:
                policies.enter_context(hk.mixed_precision.push_policy(module, policy))
        yield
