"""The Relational Memory Core as a Haiku module.

Santoro et al. 2018, "Relational recurrent neural networks", https://arxiv.org/abs/1806.01822. The
module owns parameters; the arithmetic is in `memory`.

Glossary of shapes:
  ...: leading dimensions such as T, B; T: time; B: batch; K: rows of an input; D: input size.
  N: memory slots; F: slot size, heads x head size.
"""

from collections.abc import Callable
from typing import Any

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from relational_rnn import memory


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
          num_blocks: rounds of attention a step.
          forget_bias: added to the forget gate before the sigmoid.
          input_bias: added to the input gate before the sigmoid.
          gate_style: 'unit', a gate for every unit; 'memory', one for every slot; None, no gates.
          attention_mlp_layers: layers of the row-wise MLP after attention.
          key_size: the width of queries and keys; None for head_size.
          name: the module's name.
          output_gate: the paper's equations 3 to 9: gates see the hidden state h in place of
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
    def __call__(self, inputs: chex.Array, state: memory.State) -> tuple[chex.Array, memory.State]:
        """Runs one step.

        Args:
          inputs: [B, D] or [B, K, D]; without B if the state has none.
          state: the memory [B, N, F] or [N, F], or a `GatedState` of two such arrays.

        Returns:
          The output [B, N F] or [N F], and the next state.

        Raises:
          ValueError: if the shapes or dtypes of inputs and state do not fit.
        """
        rows = self.as_rows(inputs, state)
        return self.step(self.project(rows), state)

    @hk.transparent
    def initial_state(self, batch_size: int | None) -> memory.State:
        """Returns the identity memory, [B, N, F], or [N, F] if `batch_size` is None."""
        return memory.initial_memory(self.config, batch_size)

    @hk.transparent
    def project(self, rows: chex.Array) -> memory.Projected:
        """Does the part of steps that does not depend on the memory, for rows [..., K, D]."""
        return memory.project(self.parameters(rows), self.config, rows)

    @hk.transparent
    def step(
        self, projected: memory.Projected, state: memory.State
    ) -> tuple[chex.Array, memory.State]:
        """Does the rest of one step: projected input and state to output and next state."""
        state, _ = memory.step(self._step_parameters()(), self.config, projected, state)
        return self.output(state), state

    @hk.transparent
    def output(self, state: memory.State) -> chex.Array:
        """Returns the output for new states [..., N, F], [..., N F], in the policy's dtype."""
        policy = hk.mixed_precision.get_policy(type(self)) or hk.mixed_precision.current_policy()
        out = memory.output(state)
        return out.astype(policy.output_dtype) if policy else out

    @hk.transparent
    def parameters(self, rows: chex.Array) -> memory.MemoryParams:
        """Returns the parameters for inputs like `rows`, [..., K, D], in the compute dtype."""
        return self._parameters(rows)()

    @hk.transparent
    def as_rows(
        self, inputs: chex.Array, state: memory.State, leading: tuple[str, ...] = ()
    ) -> chex.Array:
        """Checks inputs against the state and returns them as rows, [..., K, D].

        Args:
          inputs: [B, D] or [B, K, D], after the dimensions named by `leading`; without B if the
            state has none.
          state: the state before the first of the steps.
          leading: names of dimensions in front, ('T',) for a sequence.

        Returns:
          The inputs with a K dimension, of 1 for vectors.

        Raises:
          ValueError: if the shapes or dtypes of inputs and state do not fit.
        """
        batch = self._check_state(state)
        names = (*leading, *(('B',) if batch else ()))
        vectors = inputs.ndim == len(names) + 1
        fits = inputs.ndim - len(names) in (1, 2)
        if not fits or inputs.shape[len(leading) : len(names)] != batch or 0 in inputs.shape:
            first = ', '.join(names) + ', ' if names else ''
            raise ValueError(
                f'inputs are [{first}D] or [{first}K, D]'
                f'{f" with B = {batch[0]} as in the state" if batch else " for a state without B"}'
                f', none of them 0, got shape {inputs.shape}.'
            )
        if not jnp.issubdtype(inputs.dtype, jnp.floating):
            raise ValueError(f'inputs are of a floating dtype, got {inputs.dtype}.')
        return jnp.expand_dims(inputs, -2) if vectors else inputs

    @hk.transparent
    def _check_state(self, state: memory.State) -> tuple[int, ...]:
        """Returns the batch dimension of the state as a tuple, () if there is none."""
        rows = (self.config.mem_slots, self.config.slot_size)
        wanted = 'memory.GatedState of arrays' if self.config.output_gate else 'array'
        leaves = jax.tree.leaves(state)
        shapes = {jnp.shape(leaf) for leaf in leaves}
        gated = isinstance(state, memory.GatedState)
        right_type = gated if self.config.output_gate else hasattr(state, 'dtype')
        shape = next(iter(shapes), ())
        if not right_type or len(shapes) != 1 or shape[-2:] != rows or len(shape) not in (2, 3):
            raise ValueError(
                f'the state is an {wanted} of shape [B, {rows[0]}, {rows[1]}] or '
                f'[{rows[0]}, {rows[1]}], got {type(state).__name__} of shapes {sorted(shapes)}.'
            )
        if any(not jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves):
            raise ValueError(f'the state is of a floating dtype, got {leaves[0].dtype}.')
        return shape[:-2]

    # These two own the parameters. They are not transparent, so that policies and getters see
    # them, and return functions, so that a policy does not cast parameters to its output dtype.

    def _parameters(self, rows: chex.Array) -> Callable[[], memory.MemoryParams]:
        num_rows, input_size = rows.shape[-2:]
        size, gates_size = self.config.slot_size, self.config.gates_size
        dtype = jnp.promote_types(rows.dtype, jnp.float32)
        input_gates = None
        if gates_size:
            input_gates = _linear('input_gates', num_rows * size, gates_size, dtype)
        params = memory.MemoryParams(
            _linear('input', input_size, size, dtype), input_gates, self._step_parameters(dtype)()
        )
        return lambda: params

    def _step_parameters(self, dtype: Any = jnp.float32) -> Callable[[], memory.StepParams]:
        size, gates_size = self.config.slot_size, self.config.gates_size
        projection_size = self.config.projection_size
        blocks = tuple(
            memory.Block(
                _linear(f'projection_{i}', size, projection_size, dtype),
                _norm(f'projection_norm_{i}', projection_size, dtype),
                _norm(f'attention_norm_{i}', size, dtype),
                _norm(f'mlp_norm_{i}', size, dtype),
            )
            for i in range(self.config.num_blocks)
        )
        mlp = tuple(
            _linear(f'mlp_{i}', size, size, dtype) for i in range(self.config.attention_mlp_layers)
        )
        memory_gates = _linear('memory_gates', size, gates_size, dtype) if gates_size else None
        params = memory.StepParams(blocks, mlp, memory_gates)
        return lambda: params


def _linear(name: str, input_size: int, output_size: int, dtype: jnp.dtype) -> memory.Linear:
    """Makes or gets an affine map with Sonnet's initial values: truncated normal, zero bias."""
    w_init = hk.initializers.TruncatedNormal(stddev=input_size**-0.5)
    w = hk.get_parameter(f'{name}_w', (input_size, output_size), dtype, init=w_init)
    return memory.Linear(w, hk.get_parameter(f'{name}_b', (output_size,), dtype, init=jnp.zeros))


def _norm(name: str, size: int, dtype: jnp.dtype) -> memory.Norm:
    """Makes or gets a layer norm's scale of ones and offset of zeros."""
    return memory.Norm(
        hk.get_parameter(f'{name}_scale', (size,), dtype, init=jnp.ones),
        hk.get_parameter(f'{name}_offset', (size,), dtype, init=jnp.zeros),
    )
