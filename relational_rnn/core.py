"""The Relational Memory Core as a Haiku module.

Santoro et al. 2018, "Relational recurrent neural networks", https://arxiv.org/abs/1806.01822. The
module owns parameters; the arithmetic is in `memory` and `functional`.

Glossary of shapes:
  ...: leading dimensions such as T, B; T: time; B: batch; K: rows of an input; D: input size.
  N: memory slots; F: slot size, heads x head size.
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import jmp

from relational_rnn import functional, memory, operations, unrolling


class RelationalMemory(hk.RNNCore):
    """A recurrent memory of slots that attend to one another at every step.

    Takes inputs `[B, D]`, or `[B, K, D]` where every one of K rows has a key and a value of its
    own (Sonnet's `treat_input_as_matrix`), and a state `[B, N, F]`; or the same without B. Returns
    outputs `[B, N F]` and the next state. Use `relational_rnn.unroll` over whole sequences: it
    gives the numbers of `hk.dynamic_unroll`, faster.

    Under a jmp policy (`hk.mixed_precision.set_policy`) matrix products run in its compute dtype;
    memory and layer norms stay in float32, and the output has the policy's output dtype.
    """

    def __init__(
        self,
        mem_slots: int,
        head_size: int,
        num_heads: int = 1,
        num_blocks: int = 1,
        forget_bias: float = 1.0,
        input_bias: float = 0.0,
        gate_style: str | None = 'unit',
        attention_mlp_layers: int = 2,
        key_size: int | None = None,
        name: str | None = None,
        *,
        output_gate: bool = False,
    ):
        """Makes a core; the arguments are those of Sonnet's module of this name.

        Args:
          mem_slots: N, the number of slots.
          head_size: the width of a head; a slot is num_heads * head_size wide.
          num_heads: the number of attention heads.
          num_blocks: attention blocks of a step.
          forget_bias: added to the forget gate before the sigmoid.
          input_bias: added to the input gate before the sigmoid.
          gate_style: 'unit', a gate for every unit; 'memory', one for every slot; None, no gates.
          attention_mlp_layers: layers of the row-wise MLP after attention.
          key_size: the width of queries and keys; None for head_size.
          name: the module's name.
          output_gate: the paper's equations 3 to 9: gates read the hidden state h in place of
            tanh of the memory, the candidate is not squashed, the output is
            h = sigmoid(o) tanh(m), and the state is a `memory.GatedState` of h and m.

        Raises:
          ValueError: for a count below 1, an unknown gate_style, or an output gate without gates.
        """
        super().__init__(name=name)
        self.config = memory.MemoryConfig(
            mem_slots=mem_slots,
            head_size=head_size,
            num_heads=num_heads,
            num_blocks=num_blocks,
            forget_bias=forget_bias,
            input_bias=input_bias,
            gate_style=gate_style,
            attention_mlp_layers=attention_mlp_layers,
            key_size=key_size,
            output_gate=output_gate,
        )

    # The public methods are transparent: a policy would otherwise round the state at every call.

    @hk.transparent
    def __call__(self, inputs: jax.Array, state: memory.State) -> tuple[jax.Array, memory.State]:
        """Runs one step.

        Args:
          inputs: [B, D] or [B, K, D]; without B if the state has none.
          state: the memory [B, N, F] or [N, F], or a `GatedState` of two such arrays.

        Returns:
          The output [B, N F] or [N F], and the next state.

        Raises:
          ValueError: if the shapes or dtypes of inputs and state do not fit.
        """
        rows = functional.as_rows(self.config, inputs, state)
        output, state = functional.step(self._get_parameters(rows), self.config, rows, state)
        return self._cast(output), state

    @hk.transparent
    def initial_state(self, batch_size: int | None) -> memory.State:
        """Returns the identity memory, [B, N, F], or [N, F] if `batch_size` is None."""
        return memory.initial_memory(self.config, batch_size)

    @hk.transparent
    def unroll(
        self,
        inputs: jax.Array,
        state: memory.State,
        flags: unrolling.Flags = unrolling.Flags(),  # noqa: B008 - a constant
        options: unrolling.Options = unrolling.Options(),  # noqa: B008 - a constant
    ) -> tuple[jax.Array, memory.State]:
        """Runs all steps of sequences; `relational_rnn.unroll` calls it.

        Args:
          inputs: [T, B, D] or [T, B, K, D]; without B if the state has none.
          state: the state before the first step.
          flags: resets, and which steps are past the end.
          options: how; see `relational_rnn.unroll`.

        Returns:
          The outputs, [T, B, N F], and the state after the last step.

        Raises:
          ValueError: if the shapes or dtypes of inputs, state and flags do not fit.
        """
        rows = functional.as_rows(self.config, inputs, state, leading=('T',))
        params = self._get_parameters(rows)
        outputs, state = functional.scan(params, self.config, rows, state, flags, options)
        return self._cast(outputs), state

    @hk.transparent
    def unroll_inside(
        self, inputs: jax.Array, state: memory.State, flags: unrolling.Flags
    ) -> tuple[jax.Array, memory.State, unrolling.Inside]:
        """As `unroll`, and returns what happens inside every step; see `unrolling.Inside`."""
        rows = functional.as_rows(self.config, inputs, state, leading=('T',))
        params = self._get_parameters(rows)
        outputs, state, inside = functional.scan_inside(params, self.config, rows, state, flags)
        return self._cast(outputs), state, inside

    @hk.transparent
    def _get_parameters(self, rows: jax.Array) -> memory.MemoryParams:
        """Makes or gets the parameters for inputs like `rows`, [..., K, D], in compute dtype."""
        params = self._parameters(rows)
        return params() if callable(params) else params

    @hk.transparent
    def _policy(self) -> jmp.Policy | None:
        return hk.mixed_precision.get_policy(type(self)) or hk.mixed_precision.current_policy()

    @hk.transparent
    def _cast(self, output: jax.Array) -> jax.Array:
        """Returns an output in the policy's dtype."""
        policy = self._policy()
        return output.astype(policy.output_dtype) if policy else output

    # Not transparent, so that policies and getters see the parameters. Under a policy it returns a
    # function, for results would be cast to the policy's output dtype.

    def _parameters(
        self, rows: jax.Array
    ) -> memory.MemoryParams | Callable[[], memory.MemoryParams]:
        num_rows, input_size = rows.shape[-2:]
        make = functools.partial(_parameter, jnp.promote_types(rows.dtype, jnp.float32))
        params = memory.arrange(self.config, input_size, num_rows, make)
        return (lambda: params) if self._policy() else params


def _parameter(dtype: jnp.dtype, name: str, shape: tuple[int, ...]) -> jax.Array:
    """Makes or gets a parameter."""

    def initial_value(shape: Sequence[int], dtype: Any) -> jax.Array:
        return operations.initial_value(name, tuple(shape), dtype, hk.next_rng_key)

    return hk.get_parameter(name, shape, dtype, init=initial_value)
