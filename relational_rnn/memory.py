"""The Relational Memory Core as pure functions of arrays.

Santoro et al. 2018, "Relational recurrent neural networks", section 3,
https://arxiv.org/abs/1806.01822, in the form in which the authors ran it (Sonnet 1's
`RelationalMemory`): a memory of slots that attend to one another and to the input, a row-wise
MLP, and LSTM-like gates. A step is split at the seam that makes it fast: `project` does all that
does not depend on the memory, for every time step at once, and `step` does the rest.

Deviations from Sonnet: with one block the input's rows have no query and pass through no MLP, as
Sonnet discards both results; `output_gate=True` follows the paper's equations 3 to 9.

Glossary of shapes:
  ...: any leading dimensions, such as a batch B, or time and batch T, B.
  D: input size; K: rows of an input (1 for a vector); N: memory slots; H: heads.
  F: slot size, heads x head_size; C: key size; V: head (value) size; P: H x (2 C + V).
  G: one gate's size, F for 'unit' gates, 1 for 'memory' gates; R: queries; M: keys.
"""

from collections.abc import Callable
import dataclasses
import itertools
from typing import Any, NamedTuple, TypeAlias

import chex
import jax
import jax.numpy as jnp

from relational_rnn import checks, operations

GATE_STYLES = ('unit', 'memory', None)


@dataclasses.dataclass(frozen=True)
class MemoryConfig:
    """The choices of a core, by the names of Sonnet's constructor; see `core.RelationalMemory`."""

    mem_slots: int
    head_size: int
    num_heads: int = 1
    num_blocks: int = 1
    forget_bias: float = 1.0
    input_bias: float = 0.0
    gate_style: str | None = 'unit'
    attention_mlp_layers: int = 2
    key_size: int | None = None
    output_gate: bool = False

    def __post_init__(self) -> None:
        counts = 'mem_slots', 'head_size', 'num_heads', 'num_blocks', 'attention_mlp_layers'
        checks.check_counts(**{name: getattr(self, name) for name in counts})
        checks.check_counts(key_size=1 if self.key_size is None else self.key_size)
        checks.check_choice('gate_style', self.gate_style, GATE_STYLES)
        if self.output_gate and self.gate_style is None:
            raise ValueError("output_gate=True needs gate_style 'unit' or 'memory', got None.")

    @property
    def slot_size(self) -> int:
        """F, the width of a slot."""
        return self.num_heads * self.head_size

    @property
    def query_size(self) -> int:
        """C, the width of a head's queries and keys."""
        return self.key_size or self.head_size

    @property
    def projection_size(self) -> int:
        """P, the width of the joint projection to queries, keys and values of all heads."""
        return self.num_heads * (2 * self.query_size + self.head_size)

    @property
    def gates_size(self) -> int:
        """The width of all gates of a slot: input, forget and, if there is one, output gate."""
        if self.gate_style is None:
            return 0
        gate_size = self.slot_size if self.gate_style == 'unit' else 1
        return gate_size * (3 if self.output_gate else 2)


class Block(NamedTuple):
    """The parameters that an attention block does not share with the others."""

    projection: operations.Linear  # F -> P, per head [query | key | value]
    projection_norm: operations.Norm  # [P]
    attention_norm: operations.Norm  # [F]
    mlp_norm: operations.Norm  # [F]


class StepParams(NamedTuple):
    """The parameters that a step needs after `project`."""

    blocks: tuple[Block, ...]  # num_blocks of them
    mlp: tuple[operations.Linear, ...]  # attention_mlp_layers of F -> F, shared by the blocks
    memory_gates: operations.Linear | None  # F -> gates_size


class MemoryParams(NamedTuple):
    """All parameters of a core."""

    input: operations.Linear  # D -> F
    input_gates: operations.Linear | None  # K F -> gates_size
    step: StepParams


class GatedState(NamedTuple):
    """The state of a core with an output gate: h and m of the paper's equations 3 to 9."""

    hidden: jax.Array  # [..., N, F]
    memory: jax.Array  # [..., N, F]


State: TypeAlias = jax.Array | GatedState
Gates: TypeAlias = tuple[jax.Array, ...]  # input, forget and (if there is one) output gate


class Projected(NamedTuple):
    """An input's share of a step, independent of the memory."""

    joint: jax.Array  # [..., K, H, 2 C + V], queries, keys and values
    gates: Gates  # [..., G] each; split before the loop, where XLA would not vectorize it
    rows: jax.Array | None  # [..., K, F], only where several blocks update the input's rows


def init(
    key: jax.Array,
    config: MemoryConfig,
    input_size: int,
    num_rows: int = 1,
    dtype: jnp.dtype = jnp.float32,
) -> MemoryParams:
    """Makes the parameters of a core for inputs of K = num_rows rows (1 for a vector) of size D.

    Raises:
      ValueError: for a size below 1.
    """
    checks.check_counts(input_size=input_size, num_rows=num_rows)
    keys = (jax.random.fold_in(key, index) for index in itertools.count())

    def make(name: str, shape: tuple[int, ...]) -> jax.Array:
        return operations.initial_value(name, shape, dtype, lambda: next(keys))

    return arrange(config, input_size, num_rows, make)


def arrange(
    config: MemoryConfig,
    input_size: int,
    num_rows: int,
    make: Callable[[str, tuple[int, ...]], Any],
) -> MemoryParams:
    """Arranges what `make(name, shape)` returns for Haiku's names; sizes as in `init`."""

    def linear(name: str, input_size: int, size: int) -> operations.Linear:
        return operations.Linear(make(f'{name}_w', (input_size, size)), make(f'{name}_b', (size,)))

    def norm(name: str, size: int) -> operations.Norm:
        return operations.Norm(make(f'{name}_scale', (size,)), make(f'{name}_offset', (size,)))

    size, joint, gates_size = config.slot_size, config.projection_size, config.gates_size
    input_gates, memory_gates = None, None
    if gates_size:  # first, for the order of the calls decides the initial values
        input_gates = linear('input_gates', num_rows * size, gates_size)
    input_map = linear('input', input_size, size)
    blocks = tuple(
        Block(
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
    return MemoryParams(input_map, input_gates, StepParams(blocks, mlp, memory_gates))


def initial_memory(config: MemoryConfig, batch_size: int | None) -> State:
    """Returns the state before the first step: the identity, cut or padded with zeros to N x F.

    Args:
      config: the core's choices.
      batch_size: B, or None for a state without a batch dimension.

    Returns:
      The memory, [B, N, F] or [N, F], in JAX's default float (float32, or float64 where that is
      enabled, as `hk.LSTM` does); with an output gate a `GatedState` of it and of a
      hidden state of zeros (the paper leaves both open; LSTMs start from zeros).
    """
    memory = jnp.eye(config.mem_slots, config.slot_size)
    if batch_size is not None:
        memory = jnp.tile(memory[None], (batch_size, 1, 1))
    return GatedState(jnp.zeros_like(memory), memory) if config.output_gate else memory


def project(
    params: MemoryParams,
    config: MemoryConfig,
    inputs: jax.Array,
    ops: operations.Operations = operations.PLAIN,
) -> Projected:
    """Does the part of a step that does not depend on the memory.

    Args:
      params: the core's parameters.
      config: the core's choices.
      inputs: [..., K, D], rows of an input, each with a key and a value of its own; any leading
        dimensions, so that all time steps can go in one matrix product.
      ops: how it is differentiated.

    Returns:
      The input's queries, keys, values and share of the gates, with the same leading dimensions.
    """
    chex.assert_axis_dimension(inputs, -1, params.input.w.shape[0])
    rows = ops.linear(params.input, inputs)
    joint = _heads(config, ops, params.step.blocks[0], rows)
    flat = rows.reshape(*rows.shape[:-2], -1)
    gates = _split_gates(config, ops, params.input_gates, flat)
    return Projected(joint, gates, None if config.num_blocks == 1 else rows)


def step(
    params: StepParams,
    config: MemoryConfig,
    projected: Projected,
    state: State,
    ops: operations.Operations = operations.PLAIN,
) -> tuple[State, tuple[jax.Array, ...]]:
    """Updates the memory with one projected input.

    Args:
      params: the parameters of the step.
      config: the core's choices.
      projected: the input's share, from `project`.
      state: the memory, [..., N, F], or a `GatedState`.
      ops: how it is differentiated.

    Returns:
      The new state, and the attention weights of every block, [..., H, R, N + K], where R is
      N + K, and N in the last block; the keys are the slots, then the rows of the input.
    """
    memory = memory_of(state)
    memory = memory.astype(operations.at_least_float32(memory))
    candidate, attention = _attend_over_memory(params, config, ops, projected, memory)
    if params.memory_gates is None:
        return candidate, attention
    input_gate, forget_gate, *output_gate = gates(params, config, projected, state, ops)
    kept = forget_gate * memory
    if not output_gate:
        return input_gate * jnp.tanh(candidate) + kept, attention
    memory = input_gate * candidate + kept
    return GatedState(output_gate[0] * jnp.tanh(memory), memory), attention


def gates(
    params: StepParams,
    config: MemoryConfig,
    projected: Projected,
    state: State,
    ops: operations.Operations = operations.PLAIN,
) -> Gates:
    """Returns the gates of a step, [..., N, G] each, () if there are none; arguments as `step`."""
    memory = memory_of(state)
    memory = memory.astype(operations.at_least_float32(memory))
    hidden = state.hidden if isinstance(state, GatedState) else jnp.tanh(memory)
    of_memory = _split_gates(config, ops, params.memory_gates, hidden)
    biases = (config.input_bias, config.forget_bias, 0.0)
    return tuple(
        _sigmoid((a + b[..., None, :]).astype(memory.dtype) + bias)
        for a, b, bias in zip(of_memory, projected.gates, biases, strict=False)
    )


def memory_of(state: State) -> jax.Array:
    """Returns the memory in a state, [..., N, F]."""
    return state.memory if isinstance(state, GatedState) else state


def output(state: State) -> jax.Array:
    """Returns a core's output for its new state: memory or hidden, [..., N, F] -> [..., N F]."""
    rows = state.hidden if isinstance(state, GatedState) else state
    return rows.reshape(*rows.shape[:-2], -1)


def _attend_over_memory(
    params: StepParams,
    config: MemoryConfig,
    ops: operations.Operations,
    projected: Projected,
    memory: jax.Array,
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Returns the memory's candidate, [..., N, F], and every block's attention weights."""
    rows = memory
    attention = []
    for index, block in enumerate(params.blocks):
        joints = [_heads(config, ops, block, rows)]
        if index == 0:
            joints.append(projected.joint)
            if projected.rows is not None:
                rows = jnp.concatenate([rows, projected.rows.astype(rows.dtype)], axis=-2)
        if index == config.num_blocks - 1:
            rows = rows[..., : config.mem_slots, :]
        attended, weights = ops.attend(joints, config.query_size, rows.shape[-2])
        attended = attended.reshape(rows.shape)
        rows = ops.normalize(block.attention_norm, rows + attended)
        rows = ops.normalize(block.mlp_norm, rows + _mlp(ops, params.mlp, rows).astype(rows.dtype))
        attention.append(weights)
    return rows, tuple(attention)


def _heads(
    config: MemoryConfig, ops: operations.Operations, block: Block, rows: jax.Array
) -> jax.Array:
    """Projects rows, [..., M, F], to queries, keys and values of heads, [..., M, H, 2 C + V]."""
    joint = ops.linear(block.projection, rows)
    joint = ops.normalize(block.projection_norm, joint).astype(block.projection.w.dtype)
    return joint.reshape(*joint.shape[:-1], config.num_heads, -1)


def _mlp(
    ops: operations.Operations, layers: tuple[operations.Linear, ...], rows: jax.Array
) -> jax.Array:
    """The row-wise MLP, [..., F] -> [..., F]: ReLU between the layers, none after the last."""
    for index, layer in enumerate(layers):
        rows = ops.linear(layer, jax.nn.relu(rows) if index else rows)
    return rows


def _split_gates(
    config: MemoryConfig,
    ops: operations.Operations,
    layer: operations.Linear | None,
    x: jax.Array,
) -> Gates:
    """Applies a map to all gates, [..., in] -> [..., G] each; () if there are no gates."""
    if layer is None:
        return ()
    return tuple(jnp.split(ops.linear(layer, x), 3 if config.output_gate else 2, axis=-1))


def _sigmoid(x: jax.Array) -> jax.Array:
    """The logistic function by tanh, which is quicker on CPU than an exponential and a division."""
    return 0.5 * jnp.tanh(0.5 * x) + 0.5
