"""The Relational Memory Core as a module for Equinox (https://docs.kidger.site/equinox).

Needs the extra `equinox`. The arithmetic is in `memory` and `functional`.

Glossary of shapes:
  T: time; B: batch; K: rows of an input; D: input size.
  N: memory slots; F: slot size, heads x head size.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from relational_rnn import checks, conversion, functional, memory


class RelationalMemory(eqx.Module):
    """A recurrent memory of slots that attend to one another at every step.

    Inputs and states may have a batch dimension B or none: both `core(input, state)` on a batch and
    `jax.vmap(core)` work.
    """

    params: memory.MemoryParams
    config: memory.MemoryConfig = eqx.field(static=True)

    def __init__(
        self,
        input_size: int,
        config: memory.MemoryConfig,
        num_rows: int = 1,
        dtype: Any = jnp.float32,
        *,
        key: jax.Array,
    ):
        """Makes a core.

        Args:
          input_size: D.
          config: the core's choices, such as `MemoryConfig(mem_slots=4, head_size=32)`.
          num_rows: K, the rows of an input; 1 for vectors.
          dtype: of the parameters.
          key: of the initial values.

        Raises:
          ValueError: for a size below 1.
        """
        self.config = config
        self.params = memory.init(key, config, input_size, num_rows, dtype)

    def __call__(
        self, inputs: jax.Array, state: memory.State, *, key: jax.Array | None = None
    ) -> tuple[jax.Array, memory.State]:
        """Runs one step.

        Args:
          inputs: [D] or [K, D], or the same with B in front.
          state: the memory, [N, F] or [B, N, F], or a `GatedState`.
          key: not used, as in other layers of Equinox.

        Returns:
          The output, [N F] or [B, N F], and the next state.

        Raises:
          ValueError: if the shapes or dtypes of inputs and state do not fit.
        """
        del key
        return functional.step(self.params, self.config, inputs, state)

    def initial_state(self, batch_size: int | None = None) -> memory.State:
        """Returns the identity memory, [N, F], or [B, N, F] with a batch size."""
        return memory.initial_memory(self.config, batch_size)

    def unroll(
        self,
        inputs: jax.Array,
        state: memory.State,
        resets: checks.AnyArray | None = None,
        lengths: checks.AnyArray | None = None,
        **options: Any,
    ) -> tuple[jax.Array, memory.State]:
        """Runs whole sequences, time-major, as `functional.unroll` does."""
        return functional.unroll(
            self.params, self.config, inputs, state, resets, lengths, **options
        )

    def with_params(self, params: memory.MemoryParams) -> 'RelationalMemory':
        """Returns this core with other parameters, such as `conversion.params_from_haiku` gives.

        Raises:
          ValueError: if they are not those of a core with the module's choices.
        """
        conversion.flatten(params, self.config)
        return eqx.tree_at(lambda core: core.params, self, params)
