"""The Relational Memory Core as a Haiku module.

Santoro et al. 2018, "Relational recurrent neural networks", https://arxiv.org/abs/1806.01822. The
module owns parameters; the arithmetic is in `memory`.

Glossary of shapes:
  ...: leading dimensions such as T, B; T: time; B: batch; K: rows of an input; D: input size.
  N: memory slots; F: slot size, heads x head size.
"""

from collections.abc import Callable
import functools

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import jmp

from relational_rnn import checks, memory, operations, scanning, unrolling


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
        rows = self._as_rows(inputs, state)
        params = self._get_parameters(rows)
        projected = memory.project(params, self.config, rows)
        state, _ = memory.step(params.step, self.config, projected, state)
        return self._output(state), state

    @hk.transparent
    def initial_state(self, batch_size: int | None) -> memory.State:
        """Returns the identity memory, [B, N, F], or [N, F] if `batch_size` is None."""
        return memory.initial_memory(self.config, batch_size)

    @hk.transparent
    def unroll(
        self,
        inputs: chex.Array,
        state: memory.State,
        flags: unrolling.Flags = unrolling.Flags(),  # noqa: B008 - a constant
        options: unrolling.Options = unrolling.Options(),  # noqa: B008 - a constant
    ) -> tuple[chex.Array, memory.State]:
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
        sequence = self._prepare(inputs, state, flags)
        states = scanning.scan_memory(self.config, *sequence, options)
        return self._output(states), jax.tree.map(lambda leaf: leaf[-1], states)

    @hk.transparent
    def unroll_inside(
        self, inputs: chex.Array, state: memory.State, flags: unrolling.Flags
    ) -> tuple[chex.Array, memory.State, unrolling.Inside]:
        """As `unroll`, and returns what happens inside every step; see `unrolling.Inside`."""
        sequence = self._prepare(inputs, state, flags)
        states = scanning.scan_memory(self.config, *sequence)
        inside = scanning.look_inside(self.config, *sequence, states)
        return self._output(states), jax.tree.map(lambda leaf: leaf[-1], states), inside

    @hk.transparent
    def _prepare(
        self, inputs: chex.Array, state: memory.State, flags: unrolling.Flags
    ) -> tuple[memory.MemoryParams, chex.Array, memory.State, unrolling.Flags]:
        """Returns what a scan needs: inputs as rows, and the state in its future dtype."""
        rows = self._as_rows(inputs, state, leading=('T',))
        unrolling.check_batch(flags, self._batch(state))
        params = self._get_parameters(rows)
        dtype = jnp.result_type(jnp.float32, rows.dtype, *jax.tree.leaves(state))
        state = jax.tree.map(lambda x: x.astype(dtype), state)
        return params, rows, state, flags

    @hk.transparent
    def _get_parameters(self, rows: chex.Array) -> memory.MemoryParams:
        """Makes or gets the parameters for inputs like `rows`, [..., K, D], in compute dtype."""
        params = self._parameters(rows)
        return params() if callable(params) else params

    @hk.transparent
    def _policy(self) -> jmp.Policy | None:
        return hk.mixed_precision.get_policy(type(self)) or hk.mixed_precision.current_policy()

    @hk.transparent
    def _output(self, state: memory.State) -> chex.Array:
        """Returns the output for new states [..., N, F], [..., N F], in the policy's dtype."""
        policy, out = self._policy(), memory.output(state)
        return out.astype(policy.output_dtype) if policy else out

    @hk.transparent
    def _as_rows(
        self, inputs: chex.Array, state: memory.State, leading: tuple[str, ...] = ()
    ) -> chex.Array:
        """Returns inputs as rows, [..., K, D], with K = 1 for vectors, if they fit the state."""
        batch = self._batch(state)
        checks.check_inputs(inputs, batch, leading, allow_rows=True)
        is_vector = inputs.ndim == len(leading) + len(batch) + 1
        return jnp.expand_dims(inputs, -2) if is_vector else inputs

    @hk.transparent
    def _batch(self, state: memory.State) -> tuple[int, ...]:
        """Checks the state and returns its batch dimension as a tuple, () if there is none."""
        state = jax.tree.map(jnp.asarray, state)
        kind, count = (memory.GatedState, 2) if self.config.output_gate else (jax.Array, 1)
        shape = self.config.mem_slots, self.config.slot_size
        batch = checks.check_state(state, kind, *[shape] * count)
        checks.check_floating('the state is', *jax.tree.leaves(state))
        return batch

    # Not transparent, so that policies and getters see the parameters. Under a policy it returns a
    # function, for results would be cast to the policy's output dtype.

    def _parameters(
        self, rows: chex.Array
    ) -> memory.MemoryParams | Callable[[], memory.MemoryParams]:
        config, (num_rows, input_size) = self.config, rows.shape[-2:]
        size, joint, gates_size = config.slot_size, config.projection_size, config.gates_size
        dtype = jnp.promote_types(rows.dtype, jnp.float32)
        linear = functools.partial(_linear, dtype=dtype)
        norm = functools.partial(_norm, dtype=dtype)
        input_gates, memory_gates = None, None
        if gates_size:  # first, for the order of the calls decides the initial values
            input_gates = linear('input_gates', num_rows * size, gates_size)
        input_map = linear('input', input_size, size)
        blocks = tuple(
            memory.Block(
                linear(f'projection_{i}', size, joint),
                norm(f'projection_norm_{i}', joint),
                norm(f'attention_norm_{i}', size),
                norm(f'mlp_norm_{i}', size),
            )
            for i in range(config.num_blocks)
        )
        mlp = tuple(linear(f'mlp_{i}', size, size) for i in range(config.attention_mlp_layers))
        if gates_size:
            memory_gates = linear('memory_gates', size, gates_size)
        params = memory.MemoryParams(
            input_map, input_gates, memory.StepParams(blocks, mlp, memory_gates)
        )
        return (lambda: params) if self._policy() else params


def _linear(name: str, input_size: int, output_size: int, dtype: jnp.dtype) -> operations.Linear:
    """Makes or gets an affine map with Sonnet's initial values: truncated normal, zero bias."""
    w_init = hk.initializers.TruncatedNormal(stddev=input_size**-0.5)
    w = hk.get_parameter(f'{name}_w', (input_size, output_size), dtype, init=w_init)
    return operations.Linear(
        w, hk.get_parameter(f'{name}_b', (output_size,), dtype, init=jnp.zeros)
    )


def _norm(name: str, size: int, dtype: jnp.dtype) -> operations.Norm:
    """Makes or gets a layer norm's scale of ones and offset of zeros."""
    return operations.Norm(
        hk.get_parameter(f'{name}_scale', (size,), dtype, init=jnp.ones),
        hk.get_parameter(f'{name}_offset', (size,), dtype, init=jnp.zeros),
    )
