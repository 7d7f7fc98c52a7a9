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

import dataclasses
from typing import NamedTuple, TypeAlias

import chex
import jax
from jax import ad_checkpoint
import jax.numpy as jnp

from relational_rnn import checks

GATE_STYLES = ('unit', 'memory', None)
NORM_EPSILON = 1e-5
LINEAR = 'linear'  # the checkpoint name of the affine maps' results
ALIGNMENT = 128  # numbers: 16 bytes in each of 8 parts in bfloat16, and a TPU's lanes


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


class Linear(NamedTuple):
    """An affine map of the last dimension."""

    w: chex.Array  # [in, out]
    b: chex.Array  # [out]


class Norm(NamedTuple):
    """A layer norm over the last dimension."""

    scale: chex.Array  # [F] or [P]
    offset: chex.Array  # [F] or [P]


class Block(NamedTuple):
    """The parameters that an attention block does not share with the others."""

    projection: Linear  # F -> P, per head [query | key | value]
    projection_norm: Norm  # [P]
    attention_norm: Norm  # [F]
    mlp_norm: Norm  # [F]


class StepParams(NamedTuple):
    """The parameters that a step needs after `project`."""

    blocks: tuple[Block, ...]  # num_blocks of them
    mlp: tuple[Linear, ...]  # attention_mlp_layers of F -> F, shared by the blocks
    memory_gates: Linear | None  # F -> gates_size


class MemoryParams(NamedTuple):
    """All parameters of a core."""

    input: Linear  # D -> F
    input_gates: Linear | None  # K F -> gates_size
    step: StepParams


class GatedState(NamedTuple):
    """The state of a core with an output gate: h and m of the paper's equations 3 to 9."""

    hidden: chex.Array  # [..., N, F]
    memory: chex.Array  # [..., N, F]


State: TypeAlias = chex.Array | GatedState
Gates: TypeAlias = tuple[chex.Array, ...]  # input, forget and (if there is one) output gate


class Projected(NamedTuple):
    """An input's share of a step, independent of the memory."""

    joint: chex.Array  # [..., H, K, 2 C + V], queries, keys and values
    gates: Gates  # [..., G] each; split before the loop, where XLA would not vectorize it
    rows: chex.Array | None  # [..., K, F], only where several blocks update the input's rows


def initial_memory(config: MemoryConfig, batch_size: int | None) -> State:
    """Returns the state before the first step: the identity, cut or padded with zeros to N x F.

    Args:
      config: the core's choices.
      batch_size: B, or None for a state without a batch dimension.

    Returns:
      The memory, float32 [B, N, F] or [N, F]; with an output gate a `GatedState` of it and of a
      hidden state of zeros (the paper leaves both open; LSTMs start from zeros).
    """
    memory = jnp.eye(config.mem_slots, config.slot_size, dtype=jnp.float32)
    if batch_size is not None:
        memory = jnp.tile(memory[None], (batch_size, 1, 1))
    return GatedState(jnp.zeros_like(memory), memory) if config.output_gate else memory


def project(params: MemoryParams, config: MemoryConfig, inputs: chex.Array) -> Projected:
    """Does the part of a step that does not depend on the memory.

    Args:
      params: the core's parameters.
      config: the core's choices.
      inputs: [..., K, D], rows of an input, each with a key and a value of its own; any leading
        dimensions, so that all time steps can go in one matrix product.

    Returns:
      The input's queries, keys, values and share of the gates, with the same leading dimensions.
    """
    chex.assert_axis_dimension(inputs, -1, params.input.w.shape[0])
    rows = apply_linear(params.input, inputs)
    joint = _heads(config, params.step.blocks[0], rows)
    gates = _split_gates(config, params.input_gates, rows.reshape(*rows.shape[:-2], -1))
    return Projected(joint, gates, None if config.num_blocks == 1 else rows)


def step(
    params: StepParams, config: MemoryConfig, projected: Projected, state: State
) -> tuple[State, tuple[chex.Array, ...]]:
    """Updates the memory with one projected input.

    Args:
      params: the parameters of the step.
      config: the core's choices.
      projected: the input's share, from `project`.
      state: the memory, [..., N, F], or a `GatedState`.

    Returns:
      The new state, and the attention weights of every block, [..., H, R, N + K], where R is
      N + K, and N in the last block; the keys are the slots, then the rows of the input.
    """
    memory = memory_of(state)
    memory = memory.astype(at_least_float32(memory))
    candidate, attention = _attend_over_memory(params, config, projected, memory)
    if params.memory_gates is None:
        return candidate, attention
    input_gate, forget_gate, *output_gate = gates(params, config, projected, state)
    kept = forget_gate * memory
    if not output_gate:
        return input_gate * jnp.tanh(candidate) + kept, attention
    memory = input_gate * candidate + kept
    return GatedState(output_gate[0] * jnp.tanh(memory), memory), attention


def gates(params: StepParams, config: MemoryConfig, projected: Projected, state: State) -> Gates:
    """Returns the gates of a step, [..., N, G] each, () if there are none; arguments as `step`."""
    memory = memory_of(state)
    memory = memory.astype(at_least_float32(memory))
    hidden = state.hidden if isinstance(state, GatedState) else jnp.tanh(memory)
    of_memory = _split_gates(config, params.memory_gates, hidden)
    biases = (config.input_bias, config.forget_bias, 0.0)
    return tuple(
        _sigmoid((a + b[..., None, :]).astype(memory.dtype) + bias)
        for a, b, bias in zip(of_memory, projected.gates, biases, strict=False)
    )


def memory_of(state: State) -> chex.Array:
    """Returns the memory in a state, [..., N, F]."""
    return state.memory if isinstance(state, GatedState) else state


def output(state: State) -> chex.Array:
    """Returns a core's output for its new state: memory or hidden, [..., N, F] -> [..., N F]."""
    rows = state.hidden if isinstance(state, GatedState) else state
    return rows.reshape(*rows.shape[:-2], -1)


def apply_linear(layer: Linear, x: chex.Array) -> chex.Array:
    """Returns x w + b, [..., in] -> [..., out], named for `jax.checkpoint` policies."""
    return ad_checkpoint.checkpoint_name(_affine(layer, x), LINEAR)


@jax.custom_vjp
def _affine(layer: Linear, x: chex.Array) -> chex.Array:
    """Returns x w + b in the parameters' dtype; w may be padded, see `pad_matrices`."""
    y = _fit(x.astype(layer.w.dtype), len(layer.w)) @ layer.w
    y = _fit(y, len(layer.b))
    return y + jnp.broadcast_to(layer.b, y.shape)


def _affine_backward(
    residuals: tuple[Linear, chex.Array], d_y: chex.Array
) -> tuple[Linear, chex.Array]:
    """Written out, for XLA copies transposed arrays where JAX differentiates the product."""
    (w, _), x = residuals
    rows, d_rows = (value.reshape(-1, value.shape[-1]) for value in (x, d_y))
    d_w = jnp.einsum('ri,ro->io', rows.astype(d_y.dtype), d_rows)
    d_w = jnp.pad(
        d_w, [(0, padded - size) for padded, size in zip(w.shape, d_w.shape, strict=True)]
    )
    d_b = jnp.ones(len(d_rows), d_rows.dtype) @ d_rows
    d_x = _fit(_fit(d_y, w.shape[1]) @ w.T, x.shape[-1])
    return Linear(d_w, d_b), d_x.astype(x.dtype)


_affine.defvjp(lambda layer, x: (_affine(layer, x), (layer, x)), _affine_backward)


def _fit(x: chex.Array, size: int) -> chex.Array:
    """Cuts the last dimension to a size, or pads it with zeros."""
    if x.shape[-1] < size:
        return jnp.pad(x, [*[(0, 0)] * (x.ndim - 1), (0, size - x.shape[-1])])
    return x[..., :size]


def pad_matrices(params: StepParams) -> StepParams:
    """Pads the sides of large matrices with zeros to multiples of `ALIGNMENT`.

    `step` takes such parameters. A compiler that splits a product into partial sums would pad the
    matrices in every step where the sides are no multiple of the number of parts.

    Args:
      params: of the step. A matrix of which a side would grow by a twentieth stays as it is.
    """

    def pad(layer: Linear | Norm) -> Linear | Norm:
        if not isinstance(layer, Linear):
            return layer
        more = [-size % ALIGNMENT for size in layer.w.shape]
        if any(20 * extra > size for extra, size in zip(more, layer.w.shape, strict=True)):
            return layer
        return Linear(jnp.pad(layer.w, [(0, extra) for extra in more]), layer.b)

    return jax.tree.map(pad, params, is_leaf=lambda node: isinstance(node, Linear | Norm))


def normalize(norm: Norm, x: chex.Array) -> chex.Array:
    """Layer norm of each row, [..., F] -> [..., F], in float32 or wider."""
    x = x.astype(at_least_float32(x))
    return _normalize(Norm(*(p.astype(x.dtype) for p in norm)), x)


@jax.custom_vjp
def _normalize(norm: Norm, x: chex.Array) -> chex.Array:
    return _normalize_forward(norm, x)[0]


def _normalize_forward(norm: Norm, x: chex.Array) -> tuple[chex.Array, tuple[chex.Array, ...]]:
    centered = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centered), axis=-1, keepdims=True)
    inverse = jax.lax.rsqrt(variance + NORM_EPSILON)
    scaled = centered * inverse
    scale, offset = (jnp.broadcast_to(p, x.shape) for p in norm)
    return scaled * scale + offset, (norm.scale, scaled, inverse)


def _normalize_backward(
    residuals: tuple[chex.Array, ...], d_y: chex.Array
) -> tuple[Norm, chex.Array]:
    """Written out, to keep the scale and not its broadcast, and to take two sums over a row."""
    scale, scaled, inverse = residuals
    d_scaled = d_y * jnp.broadcast_to(scale, d_y.shape)
    mean = jnp.mean(d_scaled, axis=-1, keepdims=True)
    slope = jnp.mean(d_scaled * scaled, axis=-1, keepdims=True)
    rows = tuple(range(d_y.ndim - 1))
    d_norm = Norm(jnp.sum(d_y * scaled, axis=rows), jnp.sum(d_y, axis=rows))
    return d_norm, inverse * (d_scaled - mean - scaled * slope)


_normalize.defvjp(_normalize_forward, _normalize_backward)


def _attend_over_memory(
    params: StepParams, config: MemoryConfig, projected: Projected, memory: chex.Array
) -> tuple[chex.Array, tuple[chex.Array, ...]]:
    """Returns the memory's candidate, [..., N, F], and every block's attention weights."""
    rows = memory
    attention = []
    for index, block in enumerate(params.blocks):
        joint = _heads(config, block, rows)
        if index == 0:
            joint = jnp.concatenate([joint, projected.joint], axis=-2)
            if projected.rows is not None:
                rows = jnp.concatenate([rows, projected.rows.astype(rows.dtype)], axis=-2)
        size = config.query_size
        queries, keys, values = jnp.split(joint, (size, 2 * size), axis=-1)
        if index == config.num_blocks - 1:
            rows = rows[..., : config.mem_slots, :]
        queries = queries[..., : rows.shape[-2], :] * size**-0.5
        attended, weights = _attend(queries, keys, values)
        attended = jnp.swapaxes(attended, -3, -2).reshape(rows.shape)
        rows = normalize(block.attention_norm, rows + attended)
        rows = normalize(block.mlp_norm, rows + _mlp(params.mlp, rows).astype(rows.dtype))
        attention.append(weights)
    return rows, tuple(attention)


def _heads(config: MemoryConfig, block: Block, rows: chex.Array) -> chex.Array:
    """Projects rows, [..., M, F], to queries, keys and values of heads, [..., H, M, 2 C + V]."""
    joint = apply_linear(block.projection, rows)
    joint = normalize(block.projection_norm, joint).astype(block.projection.w.dtype)
    joint = joint.reshape(*joint.shape[:-1], config.num_heads, -1)
    return jnp.swapaxes(joint, -3, -2)


@jax.custom_vjp
def _attend(
    queries: chex.Array, keys: chex.Array, values: chex.Array
) -> tuple[chex.Array, chex.Array]:
    """Returns attended values, [..., H, R, V], and weights, [..., H, R, M].

    Args:
      queries: [..., H, R, C], scaled.
      keys: [..., H, M, C].
      values: [..., H, M, V].
    """
    return _attend_forward(queries, keys, values)[0]


def _attend_forward(
    queries: chex.Array, keys: chex.Array, values: chex.Array
) -> tuple[tuple[chex.Array, chex.Array], tuple[chex.Array, ...]]:
    weights = jax.nn.softmax(_multiply(queries, keys, -1, -1))
    attended = _multiply(weights.astype(values.dtype), values, -1, -2)
    return (attended, weights), (queries, keys, values, weights)


def _attend_backward(
    residuals: tuple[chex.Array, ...], cotangents: tuple[chex.Array, chex.Array]
) -> tuple[chex.Array, ...]:
    """Written out, for JAX would transpose results of the products."""
    queries, keys, values, weights = residuals
    d_attended, d_weights = cotangents
    d_attended = d_attended.astype(values.dtype)
    d_values = _multiply(weights.astype(values.dtype), d_attended, -2, -2)
    d_weights += _multiply(d_attended, values, -1, -1)
    d_logits = weights * (d_weights - jnp.sum(d_weights * weights, axis=-1, keepdims=True))
    d_logits = d_logits.astype(queries.dtype)
    d_queries = _multiply(d_logits, keys, -1, -2)
    d_keys = _multiply(d_logits, queries, -2, -2)
    results = d_queries, d_keys, d_values
    return tuple(d.astype(x.dtype) for d, x in zip(results, residuals, strict=False))


_attend.defvjp(_attend_forward, _attend_backward)


def _multiply(a: chex.Array, b: chex.Array, axis_a: int, axis_b: int) -> chex.Array:
    """Multiplies matrices [..., I, J], summing over an axis of each, in float32 or wider."""
    batch = tuple(range(a.ndim - 2))
    dimensions = ((a.ndim + axis_a,), (b.ndim + axis_b,)), (batch, batch)
    return jax.lax.dot_general(a, b, dimensions, preferred_element_type=at_least_float32(a))


def _mlp(layers: tuple[Linear, ...], rows: chex.Array) -> chex.Array:
    """The row-wise MLP, [..., F] -> [..., F]: ReLU between the layers, none after the last."""
    for index, layer in enumerate(layers):
        rows = apply_linear(layer, jax.nn.relu(rows) if index else rows)
    return rows


def _split_gates(config: MemoryConfig, layer: Linear | None, x: chex.Array) -> Gates:
    """Applies a map to all gates, [..., in] -> [..., G] each; () if there are no gates."""
    if layer is None:
        return ()
    return tuple(jnp.split(apply_linear(layer, x), 3 if config.output_gate else 2, axis=-1))


def _sigmoid(x: chex.Array) -> chex.Array:
    """The logistic function by tanh, which is quicker on CPU than an exponential and a division."""
    return 0.5 * jnp.tanh(0.5 * x) + 0.5


def at_least_float32(x: chex.Array) -> jnp.dtype:
    """Returns the dtype of an array, or float32 where that is narrower."""
    return jnp.promote_types(x.dtype, jnp.float32)
