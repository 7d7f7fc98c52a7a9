"""The Relational Memory Core as a cell for Flax NNX (https://flax.readthedocs.io).

Needs the extra `flax`. The arithmetic is in `memory` and `functional`.

Glossary of shapes:
  T: time; B: batch; K: rows of an input; D: input size.
  N: memory slots; F: slot size, heads x head size.
"""

from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp

from relational_rnn import checks, conversion, functional, memory


class RelationalMemoryCell(nnx.RNNCellBase):
    """A recurrent memory of slots that attend to one another at every step.

    Works in `nnx.RNN`, as `nnx.LSTMCell` does; the output is [B, N F]. The parameters are
    `nnx.Param`s under the names that the Haiku module gives them.
    """

    def __init__(
        self,
        in_features: int,
        config: memory.MemoryConfig,
        *,
        num_rows: int | None = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        """Makes a cell.

        Args:
          in_features: D.
          config: the core's choices, such as `MemoryConfig(mem_slots=4, head_size=32)`.
          num_rows: K for inputs [B, K, D]; None for inputs [B, D].
          param_dtype: of the parameters.
          rngs: their `params` give the initial values.

        Raises:
          ValueError: for a size below 1.
        """
        self.in_features, self.config, self.num_rows = in_features, config, num_rows
        rows = 1 if num_rows is None else num_rows
        params = memory.init(rngs.params(), config, in_features, rows, param_dtype)
        for name, value in conversion.flatten(params, config).items():
            setattr(self, name, nnx.Param(value))

    def __call__(self, carry: memory.State, inputs: jax.Array) -> tuple[memory.State, jax.Array]:
        """Runs one step: (state, [B, D] or [B, K, D]) -> (next state, output [B, N F])."""
        output, carry = functional.step(self.get_params(), self.config, inputs, carry)
        return carry, output

    def initialize_carry(
        self, input_shape: tuple[int, ...], rngs: Any = None, carry_init: Any = None
    ) -> memory.State:
        """Returns the identity memory for inputs of a shape, [B, D] or [B, K, D], B or not.

        Args:
          input_shape: of the inputs of one step.
          rngs: not used, for nothing is random.
          carry_init: not used.

        Raises:
          ValueError: if there are several batch dimensions.
        """
        del rngs, carry_init
        batch = input_shape[: -self.num_feature_axes]
        if len(batch) > 1:
            raise ValueError(f'inputs have one batch dimension or none, got {input_shape}.')
        return memory.initial_memory(self.config, *(batch or (None,)))

    @property
    def num_feature_axes(self) -> int:
        """Dimensions of an input after B: 1 for [B, D], 2 for [B, K, D]."""
        return 1 if self.num_rows is None else 2

    def unroll(
        self,
        inputs: jax.Array,
        carry: memory.State,
        resets: checks.AnyArray | None = None,
        lengths: checks.AnyArray | None = None,
        **options: Any,
    ) -> tuple[jax.Array, memory.State]:
        """Runs whole sequences, time-major, as `functional.unroll` does."""
        params = self.get_params()
        return functional.unroll(params, self.config, inputs, carry, resets, lengths, **options)

    def get_params(self) -> memory.MemoryParams:
        """Returns the parameters, as the functions of `functional` take them."""
        rows = 1 if self.num_rows is None else self.num_rows
        return memory.arrange(
            self.config, self.in_features, rows, lambda name, shape: getattr(self, name)[...]
        )

    def set_params(self, params: memory.MemoryParams) -> None:
        """Replaces the parameters, for instance by those of `conversion.params_from_haiku`.

        Raises:
          ValueError: if they are not those of a core with the cell's choices and sizes.
        """
        rows = 1 if self.num_rows is None else self.num_rows
        conversion.check(params, self.config, self.in_features, rows)
        for name, value in conversion.flatten(params, self.config).items():
            getattr(self, name)[...] = value
