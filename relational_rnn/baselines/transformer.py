"""A Transformer with a memory as a recurrent core: a baseline that attends to the past.

The memory is the idea of Dai et al. 2019, "Transformer-XL", https://arxiv.org/abs/1901.02860: each
layer attends to its own inputs of the last M steps, which the state carries between windows.
Positions are relative, by rotating queries and keys (Su et al. 2021, "RoFormer",
https://arxiv.org/abs/2104.09864). Blocks normalise before attention and before the MLP, and each
step attends to just M steps back and itself, wherever a window begins, so that one pass over a
window gives the numbers of its single steps.

Glossary of shapes:
  T: steps of a window; B: batch; D: input size; F: model size, heads x head size; L: layers.
  M: steps that the memory holds; S: keys of a window, M + T; H: heads; C: head size, even.
"""

from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from relational_rnn import checks, unrolling

BASE = 10_000.0  # the longest wavelength of the rotations is about 2 pi times as many steps


class TransformerState(NamedTuple):
    """The memory of a Transformer; entries that are not valid are zero."""

    memory: jax.Array  # [B, M, L, F], each layer's inputs of the last M steps, the newest last
    num_valid: jax.Array  # [B] int32, how many of the M entries have been written


class Transformer(hk.RNNCore):
    """A Transformer that reads one step at a time, or a whole window at once.

    Takes inputs `[B, D]` and a `TransformerState`, or the same without B; returns outputs `[B, F]`
    and the next state. Use `relational_rnn.unroll` over whole sequences: it gives the numbers of
    `hk.dynamic_unroll` in one pass.

    Gradients reach as far back as the window: the state that comes in is data to the pass.

    For linear maps in bfloat16 set a jmp policy (`hk.mixed_precision`) for `hk.Linear`; memory,
    attention and layer norms stay in float32.
    """

    def __init__(
        self,
        num_layers: int,
        num_heads: int,
        head_size: int,
        memory_size: int = 64,
        name: str | None = None,
    ):
        """Makes a core.

        Args:
          num_layers: L, blocks of attention and MLP.
          num_heads: H, attention heads.
          head_size: C, an even number, for rotations turn pairs; the model size F is H x C.
          memory_size: M, the steps back that a step attends to.
          name: the module's name.

        Raises:
          ValueError: for a count below 1, or an odd head_size.
        """
        super().__init__(name=name)
        checks.check_counts(num_layers=num_layers, num_heads=num_heads, memory_size=memory_size)
        if head_size < 2 or head_size % 2:
            raise ValueError(f'head_size is an even number of at least 2, got {head_size}.')
        self._size = num_heads * head_size
        self._memory_size = memory_size
        self._input = hk.Linear(self._size, name='input')
        self._blocks = [
            Block(num_heads, head_size, num_layers, name=f'block_{i}') for i in range(num_layers)
        ]
        self._norm = _layer_norm('norm')

    def __call__(
        self, inputs: jax.Array, state: TransformerState
    ) -> tuple[jax.Array, TransformerState]:
        """Runs one step.

        Args:
          inputs: [B, D]; without B if the state has none.
          state: the state before the step.

        Returns:
          The output [B, F] or [F], and the next state.

        Raises:
          ValueError: if the shapes or dtypes of inputs and state do not fit.
        """
        outputs, state = self.unroll(jnp.expand_dims(inputs, 0), state)
        return outputs[0], state

    def initial_state(self, batch_size: int | None) -> TransformerState:
        """Returns an empty memory of zeros; without B if `batch_size` is None."""
        batch = () if batch_size is None else (batch_size,)
        shape = (*batch, self._memory_size, len(self._blocks), self._size)
        return TransformerState(jnp.zeros(shape), jnp.zeros(batch, jnp.int32))

    def unroll(
        self,
        inputs: jax.Array,
        state: TransformerState,
        flags: unrolling.Flags = unrolling.Flags(),  # noqa: B008 - a constant
        options: unrolling.Options = unrolling.Options(),  # noqa: B008 - a constant
    ) -> tuple[jax.Array, TransformerState]:
        """Runs all steps of a window in one pass; `relational_rnn.unroll` calls it.

        Args:
          inputs: [T, B, D]; without B if the state has none.
          state: the state before the first step.
          flags: resets, which forget everything before a step, and which steps are past the end:
            the outputs of those mean nothing.
          options: with `remat` only the inputs of each block are kept for the backward pass; there
            is no loop that the others could apply to.

        Returns:
          The outputs, [T, B, F] or [T, F], and the state after the last step of each batch element.

        Raises:
          ValueError: if the shapes or dtypes of the arguments do not fit.
        """
        shape = self._memory_size, len(self._blocks), self._size
        batch = checks.check_state(state, TransformerState, shape, ())
        checks.check_inputs(inputs, batch, leading=('T',))
        checks.check_floating('the state is', state.memory)
        unrolling.check_batch(flags, batch)
        if state.num_valid.ndim == 0:
            flags = jax.tree.map(lambda flag: flag[:, None], flags)
            state = jax.tree.map(lambda leaf: leaf[None], state)
            outputs, state = self._unroll_batch(inputs[:, None], state, flags, options.remat)
            return outputs[:, 0], jax.tree.map(lambda leaf: leaf[0], state)
        return self._unroll_batch(inputs, state, flags, options.remat)

    def _unroll_batch(
        self, inputs: jax.Array, state: TransformerState, flags: unrolling.Flags, remat: bool
    ) -> tuple[jax.Array, TransformerState]:
        """As `unroll`, with a batch dimension."""
        num_steps, size = len(inputs), self._memory_size
        lengths = None if flags.active is None else jnp.sum(flags.active, axis=0)
        first = first_visible(size - state.num_valid, flags.resets, num_steps, size)
        mask = visible(first, size)
        x = self._input(inputs.astype(jnp.promote_types(inputs.dtype, jnp.float32)))
        x = jnp.swapaxes(x, 0, 1)  # [B, T, F]
        written = num_steps if lengths is None else lengths
        num_valid = jnp.minimum(size, size + written - first[-1]).astype(state.num_valid.dtype)
        memories = []
        for index, block in enumerate(self._blocks):
            context = jnp.concatenate([state.memory[:, :, index].astype(x.dtype), x], axis=1)
            memories.append(_newest(context, lengths, num_valid, size))
            x = (hk.remat(block) if remat else block)(context, mask)
        memory = jnp.stack(memories, axis=2).astype(state.memory.dtype)
        return jnp.swapaxes(self._norm(x), 0, 1), TransformerState(memory, num_valid)


class Block(hk.Module):
    """One layer: attention to the past, then an MLP, each of normalised values and added."""

    def __init__(self, num_heads: int, head_size: int, num_layers: int, name: str | None = None):
        """Takes the sizes, and how many such layers there are, by which residuals start small."""
        super().__init__(name=name)
        self._attention = (num_heads, head_size)
        self._num_layers = num_layers

    def __call__(self, context: jax.Array, mask: jax.Array) -> jax.Array:
        """Returns [B, T, F] for inputs [B, S, F], of which the last T are the window."""
        size, num_steps = context.shape[-1], mask.shape[-2]
        residual_init = _initializer(1 / (2 * self._num_layers))
        normalized = _layer_norm('attention_norm')(context)
        attention = Attention(*self._attention, w_init=_initializer(1), name='attention')
        window = normalized[:, -num_steps:]
        x = context[:, -num_steps:] + attention(window, normalized, normalized, mask[:, None])
        hidden = hk.Linear(4 * size, w_init=_initializer(1), name='mlp_0')
        output = hk.Linear(size, w_init=residual_init, name='mlp_1')
        return x + output(jax.nn.relu(hidden(_layer_norm('mlp_norm')(x))))


class Attention(hk.MultiHeadAttention):
    """Haiku's attention, by relative position: the last query stands at the last key."""

    @hk.transparent
    def _linear_projection(
        self, x: jax.Array, head_size: int, name: str | None = None
    ) -> jax.Array:
        heads = super()._linear_projection(x, head_size, name)
        return heads if name == 'value' else rotate(heads)


def rotate(x: jax.Array) -> jax.Array:
    """Turns each pair of numbers by an angle in proportion to the steps until the sequence's end.

    Counted from the end, the steps between a query and a key are the same whether the query is the
    last of T or the only one, and only their difference counts in the product of the two.

    Args:
      x: queries or keys [..., S, H, C], the last of S the newest; number i of C pairs with
        i + C / 2.

    Returns:
      The same shape and dtype.
    """
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    num_steps, half = x.shape[-3], x.shape[-1] // 2
    speeds = BASE ** -(jnp.arange(half, dtype=dtype) / half)
    angles = -jnp.arange(num_steps, dtype=dtype)[::-1, None, None] * speeds[None, None]
    shape = (*x.shape[:-1], half)
    cosines, sines = (jnp.broadcast_to(f(angles), shape) for f in (jnp.cos, jnp.sin))
    left, right = jnp.split(x.astype(dtype), 2, axis=-1)
    turned = left * cosines - right * sines, left * sines + right * cosines
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)


def first_visible(
    start: jax.Array, resets: jax.Array | None, num_steps: int, memory_size: int
) -> jax.Array:
    """Returns the oldest of the S = M + T entries that no reset hides from each step, [T, B].

    Args:
      start: [B], the oldest valid entry of the memory, M if there is none.
      resets: [T, B] bool, or None.
      num_steps: T.
      memory_size: M.
    """
    begin = jnp.broadcast_to(start[None], (num_steps, len(start)))
    if resets is None:
        return begin
    entries = memory_size + jnp.arange(num_steps, dtype=start.dtype)[:, None]
    return jnp.maximum(begin, jax.lax.cummax(jnp.where(resets, entries, 0), axis=0))


def visible(first: jax.Array, memory_size: int) -> jax.Array:
    """Returns the attention mask, [B, T, S] bool: M entries back, itself, none before `first`.

    Args:
      first: [T, B], the oldest entry that each step may attend to.
      memory_size: M.
    """
    num_steps = len(first)
    entries = jnp.arange(memory_size + num_steps)[None, None]
    steps = jnp.arange(num_steps)[None, :, None]
    in_reach = (entries >= steps) & (entries <= steps + memory_size)  # [1, T, S]
    unhidden = entries >= first.T[:, :, None]  # [B, T, S]
    return unhidden & jnp.broadcast_to(in_reach, unhidden.shape)


def _newest(
    context: jax.Array, lengths: jax.Array | None, num_valid: jax.Array, memory_size: int
) -> jax.Array:
    """Returns the M entries up to each last step, [B, M, F], zero where not valid.

    Args:
      context: [B, S, F].
      lengths: [B], the steps before the end; None for all T.
      num_valid: [B].
      memory_size: M.
    """

    def cut(row: jax.Array, length: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice_in_dim(row, length, memory_size)

    newest = context[:, -memory_size:] if lengths is None else jax.vmap(cut)(context, lengths)
    valid = jnp.arange(memory_size)[None] >= memory_size - num_valid[:, None]
    return jnp.where(jnp.broadcast_to(valid[:, :, None], newest.shape), newest, 0)


def _initializer(scale: float) -> hk.initializers.Initializer:
    """Truncated normal with the variance scale / inputs."""
    return hk.initializers.VarianceScaling(scale, 'fan_in', 'truncated_normal')


def _layer_norm(name: str) -> hk.LayerNorm:
    return hk.LayerNorm(axis=-1, create_scale=True, create_offset=True, name=name)
