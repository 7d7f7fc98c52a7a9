"""The Differentiable Neural Computer: a controller that reads and writes an external memory.

Graves et al. 2016, "Hybrid computing using a neural network with dynamic external memory", Nature
538, 471-476, Methods, https://doi.org/10.1038/nature20101. The paper has one write head; several
write as in the authors' code, https://github.com/google-deepmind/dnc: each has temporal links of
its own, and finds as used what the heads before it are about to allocate.

Deviations from that code, towards the paper: strengths are oneplus (the code: softplus), and usage
passes gradients on to the write weights. As the paper has it, derivatives ignore that the order of
the free list can change. From the code come clipping and the epsilon of the cosine's norms, for
the memory begins with zeros.

Glossary of shapes:
  ...: any leading dimensions, such as a batch B; D: input size; Y: output size.
  N: rows of the memory; W: word size, the width of a row; R: read heads; H: write heads.
  K: heads of either kind; M: a read head's modes, 1 + 2 H.
"""

import itertools
import math
from typing import Any, NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from relational_rnn.baselines import checks

CONTROLLERS = ('lstm', 'feed_forward')
EPSILON = 1e-6  # added to the squared norms of the cosine


class DNCState(NamedTuple):
    """What a DNC remembers; all zeros before the first step."""

    memory: chex.Array  # [B, N, W]
    read_vectors: chex.Array  # [B, R, W], what was read last
    read_weights: chex.Array  # [B, R, N]
    write_weights: chex.Array  # [B, H, N]
    usage: chex.Array  # [B, N], from 0, free, to 1
    link: chex.Array  # [B, H, N, N], [..., i, j]: row i was written right after row j
    precedence: chex.Array  # [B, H, N], how much a row was the last one written
    controller: Any  # the LSTMs' states, or () of a feed-forward controller


class Interface(NamedTuple):
    """What a controller tells its memory at a step, in the paper's order."""

    read_keys: chex.Array  # [..., R, W]
    read_strengths: chex.Array  # [..., R], at least 1
    write_keys: chex.Array  # [..., H, W]
    write_strengths: chex.Array  # [..., H], at least 1
    erase: chex.Array  # [..., H, W], 0 to 1
    write_vectors: chex.Array  # [..., H, W]
    free_gates: chex.Array  # [..., R], 0 to 1
    allocation_gates: chex.Array  # [..., H], 0 to 1
    write_gates: chex.Array  # [..., H], 0 to 1
    read_modes: chex.Array  # [..., R, M], sums 1: H backward, content, H forward


class DNC(hk.RNNCore):
    """A controller with an external memory.

    Takes inputs `[B, D]` and a `DNCState`, or the same without B; returns outputs `[B, Y]` and the
    next state. The controller sees the input and what was read at the step before; the output is a
    linear map of the controller's output and of what is read at this step.

    Memory and controller run in float32 at least. For linear maps in bfloat16 set a jmp policy
    (`hk.mixed_precision`) for `hk.Linear`; the addressing stays in float32.
    """

    def __init__(
        self,
        memory_size: int,
        word_size: int,
        num_reads: int,
        num_writes: int,
        controller_size: int,
        output_size: int | None = None,
        controller: str = 'lstm',
        controller_layers: int = 2,
        clip_value: float | None = 20.0,
        name: str | None = None,
    ):
        """Makes a core.

        Args:
          memory_size: N, rows of the memory.
          word_size: W, the width of a row.
          num_reads: R, read heads.
          num_writes: H, write heads.
          controller_size: units of each of the controller's layers.
          output_size: Y; None for controller_size.
          controller: 'lstm', layers that all see the input and are all seen by the memory, or
            'feed_forward', an MLP with ReLU.
          controller_layers: layers of the controller.
          clip_value: the greatest magnitude of the controller's state and output and of the core's
            output; None for no limit.
          name: the module's name.

        Raises:
          ValueError: for a count below 1, an unknown controller, or a clip_value of 0 or less.
        """
        super().__init__(name=name)
        counts = {
            'memory_size': memory_size,
            'word_size': word_size,
            'num_reads': num_reads,
            'num_writes': num_writes,
            'controller_size': controller_size,
            'output_size': controller_size if output_size is None else output_size,
            'controller_layers': controller_layers,
        }
        _check_choices(counts, controller, clip_value)
        self._heads = num_reads, num_writes, word_size
        self._memory_size = memory_size
        self._clip_value = clip_value
        self._controller = _make_controller(controller, controller_size, controller_layers)
        self._interface = hk.Linear(interface_size(*self._heads), name='interface')
        self._output = hk.Linear(counts['output_size'], name='output')

    def __call__(self, inputs: chex.Array, state: DNCState) -> tuple[chex.Array, DNCState]:
        """Runs one step.

        Args:
          inputs: [B, D]; without B if the state has none.
          state: the state before the step.

        Returns:
          The output [B, Y] or [Y], and the next state.

        Raises:
          ValueError: if the shapes or dtypes of inputs and state do not fit.
        """
        self._check(inputs, state)
        inputs = inputs.astype(jnp.promote_types(inputs.dtype, jnp.float32))
        seen = _join(inputs, state.read_vectors)
        hidden, controller = self._clip(self._controller(seen, state.controller))
        # Remembering a step's many [B, H, N, N] for the backward pass costs more time, a third at
        # N = 80 on CPU, than computing them again.
        access = jax.checkpoint(step, prevent_cse=False)
        after = access(split_interface(self._interface(hidden), *self._heads), state)
        output = self._clip(self._output(_join(hidden, after.read_vectors)))
        after = after._replace(controller=controller)
        return output, jax.tree.map(lambda new, old: new.astype(old.dtype), after, state)

    def initial_state(self, batch_size: int | None) -> DNCState:
        """Returns an empty memory of zeros, unread; without B if `batch_size` is None."""
        batch = () if batch_size is None else (batch_size,)
        zeros = [jnp.zeros((*batch, *shape)) for shape in self._shapes()]
        return DNCState._make([*zeros, self._controller.initial_state(batch_size)])

    def _shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of a state's arrays but the controller's, without B."""
        rows, (reads, writes, word) = self._memory_size, self._heads
        weights = (reads, rows), (writes, rows)
        return (rows, word), (reads, word), *weights, (rows,), (writes, rows, rows), weights[1]

    def _clip(self, values: Any) -> Any:
        """Bounds the magnitude of every number of a tree, if there is a limit."""
        limit = self._clip_value
        if limit is None:
            return values
        return jax.tree.map(lambda x: jnp.clip(x, -limit, limit), values)

    def _check(self, inputs: chex.Array, state: DNCState) -> None:
        """Raises where shapes or dtypes do not fit each other."""
        leaves = list(state[:-1]) if isinstance(state, DNCState) else jax.tree.leaves(state)
        shapes = [jnp.shape(leaf) for leaf in leaves]
        batch = shapes[0][:-2] if shapes else ()
        wanted = [(*batch, *shape) for shape in self._shapes()]
        if not isinstance(state, DNCState) or shapes != wanted or len(batch) > 1:
            raise ValueError(
                f'the state is a DNCState of shapes {list(self._shapes())}, with or without B in '
                f'front, and its controller, got {type(state).__name__} of shapes {shapes}.'
            )
        checks.check_inputs(inputs, batch)


def step(interface: Interface, state: DNCState) -> DNCState:
    """Writes to the memory, then reads from it.

    Args:
      interface: what the controller says.
      state: the state before the step.

    Returns:
      The next state, the controller's as it was.
    """
    usage = update_usage(state.usage, state.write_weights, state.read_weights, interface.free_gates)
    write_weights = write_weighting(interface, state.memory, usage)
    memory = write(state.memory, write_weights, interface.erase, interface.write_vectors)
    link = update_link(state.link, state.precedence, write_weights)
    precedence = update_precedence(state.precedence, write_weights)
    read_weights = read_weighting(interface, memory, link, state.read_weights)
    return DNCState(
        memory=memory,
        read_vectors=jnp.einsum('...rn,...nw->...rw', read_weights, memory),
        read_weights=read_weights,
        write_weights=write_weights,
        usage=usage,
        link=link,
        precedence=precedence,
        controller=state.controller,
    )


def interface_size(num_reads: int, num_writes: int, word_size: int) -> int:
    """Returns how many numbers an interface has: W R + 3 W + 5 R + 3 for one write head."""
    return sum(map(math.prod, _interface_shapes(num_reads, num_writes, word_size)))


def split_interface(
    numbers: chex.Array, num_reads: int, num_writes: int, word_size: int
) -> Interface:
    """Splits a controller's numbers and brings each part into its range, in float32 at least.

    Args:
      numbers: [..., `interface_size`], any real numbers.
      num_reads: R.
      num_writes: H.
      word_size: W.

    Returns:
      The interface.
    """
    shapes = _interface_shapes(num_reads, num_writes, word_size)
    chex.assert_axis_dimension(numbers, -1, sum(map(math.prod, shapes)))
    numbers = numbers.astype(jnp.promote_types(numbers.dtype, jnp.float32))
    ends = list(itertools.accumulate(map(math.prod, shapes)))
    parts = jnp.split(numbers, ends[:-1], axis=-1)
    raw = Interface(
        *(x.reshape(*x.shape[:-1], *shape) for x, shape in zip(parts, shapes, strict=True))
    )
    return raw._replace(
        read_strengths=oneplus(raw.read_strengths),
        write_strengths=oneplus(raw.write_strengths),
        erase=jax.nn.sigmoid(raw.erase),
        free_gates=jax.nn.sigmoid(raw.free_gates),
        allocation_gates=jax.nn.sigmoid(raw.allocation_gates),
        write_gates=jax.nn.sigmoid(raw.write_gates),
        read_modes=jax.nn.softmax(raw.read_modes, axis=-1),
    )


def oneplus(x: chex.Array) -> chex.Array:
    """Returns 1 + log(1 + exp(x)), which is at least 1."""
    return 1 + jax.nn.softplus(x)


def content_weighting(memory: chex.Array, keys: chex.Array, strengths: chex.Array) -> chex.Array:
    """Weighs rows by the cosine of their angle to each key, sharpened by its strength.

    Args:
      memory: [..., N, W].
      keys: [..., K, W].
      strengths: [..., K].

    Returns:
      Weights [..., K, N], of sum 1 over the rows.
    """
    products = jnp.einsum('...kw,...nw->...kn', keys, memory)
    scales = (strengths * _inverse_norm(keys))[..., None] * _inverse_norm(memory)[..., None, :]
    return jax.nn.softmax(products * scales, axis=-1)


def update_usage(
    usage: chex.Array, write_weights: chex.Array, read_weights: chex.Array, free_gates: chex.Array
) -> chex.Array:
    """Counts as used what the last step wrote, and as free what it read and is now given free.

    Args:
      usage: [..., N], before the last step's writing.
      write_weights: [..., H, N], of the last step.
      read_weights: [..., R, N], of the last step.
      free_gates: [..., R], of this step.

    Returns:
      The usage [..., N].
    """
    written = 1 - jnp.prod(1 - write_weights, axis=-2)
    retention = jnp.prod(1 - free_gates[..., None] * read_weights, axis=-2)
    return (usage + (1 - usage) * written) * retention


def allocation(usage: chex.Array) -> chex.Array:
    """Weighs rows for writing, the freest first.

    Row i gets (1 - u_i) times the product of the usage of all rows before it in the free list,
    which is ordered by usage, and by index where that is equal. It is sorted, for comparing pairs
    of rows needs bits that agree wherever XLA computes them again.

    Args:
      usage: [..., N].

    Returns:
      Weights [..., N], of sum 1 at most.
    """
    order = jnp.argsort(jax.lax.stop_gradient(usage), axis=-1, stable=True)
    ordered = jnp.take_along_axis(usage, order, axis=-1)
    ones = jnp.ones_like(ordered[..., :1])
    before = jnp.cumprod(jnp.concatenate([ones, ordered[..., :-1]], axis=-1), axis=-1)
    places = jnp.argsort(order, axis=-1)
    return jnp.take_along_axis((1 - ordered) * before, places, axis=-1)


def allocations(usage: chex.Array, gates: chex.Array) -> chex.Array:
    """Allocates for several write heads in turn.

    Args:
      usage: [..., N].
      gates: [..., H], how much each head is about to write where it allocates.

    Returns:
      Weights [..., H, N]; each head sees as used what those before it are about to write.
    """
    weights = []
    for gate in jnp.split(gates, gates.shape[-1], axis=-1):
        weights.append(allocation(usage))
        usage = usage + (1 - usage) * gate * weights[-1]
    return jnp.stack(weights, axis=-2)


def write_weighting(interface: Interface, memory: chex.Array, usage: chex.Array) -> chex.Array:
    """Mixes free rows and rows like the write keys by the gates.

    Args:
      interface: what the controller says.
      memory: [..., N, W], before writing.
      usage: [..., N].

    Returns:
      Weights [..., H, N], of sum 1 at most.
    """
    content = content_weighting(memory, interface.write_keys, interface.write_strengths)
    allocated = interface.write_gates * interface.allocation_gates
    looked_up = interface.write_gates * (1 - interface.allocation_gates)
    free = allocations(usage, allocated)
    return allocated[..., None] * free + looked_up[..., None] * content


def write(
    memory: chex.Array, weights: chex.Array, erase: chex.Array, vectors: chex.Array
) -> chex.Array:
    """Erases, by all heads together, and then adds.

    Args:
      memory: [..., N, W].
      weights: [..., H, N].
      erase: [..., H, W].
      vectors: [..., H, W].

    Returns:
      The memory [..., N, W].
    """
    for head in range(weights.shape[-2]):
        share = jnp.einsum('...n,...w->...nw', weights[..., head, :], erase[..., head, :])
        memory = memory - share * memory
    return memory + jnp.einsum('...hn,...hw->...nw', weights, vectors)


def update_link(link: chex.Array, precedence: chex.Array, weights: chex.Array) -> chex.Array:
    """Links the rows written now to those written before, for each write head.

    Args:
      link: [..., H, N, N].
      precedence: [..., H, N], before this step's writing.
      weights: [..., H, N], of this step's writing.

    Returns:
      The links [..., H, N, N], with zeros on the diagonal and sums of 1 at most.
    """
    rows, columns = (
        jnp.broadcast_to(jnp.expand_dims(weights, axis), link.shape) for axis in (-1, -2)
    )
    # As einsum, for XLA then sums the gradients as products, on CPU ten times as quickly and more.
    written = jnp.einsum('...i,...j->...ij', weights, precedence)
    diagonal = jnp.expand_dims(jnp.eye(link.shape[-1], dtype=bool), range(link.ndim - 2))
    return jnp.where(diagonal, 0, (1 - rows - columns) * link + written)


def update_precedence(precedence: chex.Array, weights: chex.Array) -> chex.Array:
    """Forgets the rows written last in so far as others are written, all [..., H, N]."""
    return (1 - jnp.sum(weights, axis=-1, keepdims=True)) * precedence + weights


def read_weighting(
    interface: Interface, memory: chex.Array, link: chex.Array, weights: chex.Array
) -> chex.Array:
    """Mixes where each read head was, one write back or on, and rows like its key.

    Args:
      interface: what the controller says.
      memory: [..., N, W], after writing.
      link: [..., H, N, N], after writing.
      weights: [..., R, N], of the last step's reading.

    Returns:
      Weights [..., R, N], of sum 1 at most.
    """
    num_writes = link.shape[-3]
    backward, content, forward = jnp.split(
        interface.read_modes, (num_writes, num_writes + 1), axis=-1
    )
    found = content_weighting(memory, interface.read_keys, interface.read_strengths)
    before = jnp.einsum('...rh,...hij,...ri->...rj', backward, link, weights)
    after = jnp.einsum('...rh,...hij,...rj->...ri', forward, link, weights)
    return before + content * found + after


def _interface_shapes(
    num_reads: int, num_writes: int, word_size: int
) -> tuple[tuple[int, ...], ...]:
    """The shapes of an `Interface`'s fields without leading dimensions."""
    read, write = (num_reads,), (num_writes,)
    word = (num_writes, word_size)
    modes = (num_reads, 1 + 2 * num_writes)
    keys = (num_reads, word_size), read, word, write
    return *keys, word, word, read, write, write, modes


def _inverse_norm(x: chex.Array) -> chex.Array:
    return jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1) + EPSILON)


def _join(x: chex.Array, read_vectors: chex.Array) -> chex.Array:
    """Returns [..., D] and [..., R, W] side by side, [..., D + R W]."""
    words = read_vectors.reshape(*read_vectors.shape[:-2], -1)
    return jnp.concatenate([x, words.astype(x.dtype)], axis=-1)


def _make_controller(kind: str, size: int, num_layers: int) -> hk.RNNCore:
    if kind == 'feed_forward':
        mlp = hk.nets.MLP([size] * num_layers, activate_final=True, name='controller')
        return hk.DeepRNN([mlp])
    layers = [hk.LSTM(size, name=f'controller_{i}') for i in range(num_layers)]
    return hk.deep_rnn_with_skip_connections(layers)


def _check_choices(counts: dict[str, int], controller: str, clip_value: float | None) -> None:
    for argument, value in counts.items():
        if value < 1:
            raise ValueError(f'{argument} is a whole number of at least 1, got {value}.')
    if controller not in CONTROLLERS:
        raise ValueError(f'controller is one of {CONTROLLERS}, got {controller!r}.')
    if clip_value is not None and not clip_value > 0:
        raise ValueError(f'clip_value is greater than 0, or None, got {clip_value}.')
