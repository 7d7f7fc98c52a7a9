"""The memory of the Differentiable Neural Computer as pure functions: addressing, writing, reading.

Graves et al. 2016, "Hybrid computing using a neural network with dynamic external memory", Nature
538, 471-476, Methods, https://doi.org/10.1038/nature20101. The paper has one write head; several
write as in the authors' code, https://github.com/google-deepmind/dnc: each has temporal links of
its own, and counts as used what the heads before it are about to allocate.

Deviations from that code, towards the paper: strengths are oneplus (the code: softplus), and usage
passes gradients on to the write weights. As the paper has it, derivatives ignore that the order of
the free list can change. From the code comes the epsilon of the cosine's norms, for the memory
starts with zeros.

Glossary of shapes; arguments named like fields of `DNCState` and `Interface` have their shapes:
  ...: any leading dimensions, such as a batch B; N: rows of the memory; W: word size, the width of
  a row; R: read heads; H: write heads; K: heads of either kind; M: a read head's modes, 1 + 2 H.
"""

import itertools
import math
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

EPSILON = 1e-6  # added to the squared norms of the cosine


class DNCState(NamedTuple):
    """The state of a DNC; all zeros before the first step."""

    memory: jax.Array  # [..., N, W]
    read_vectors: jax.Array  # [..., R, W], what was read last
    read_weights: jax.Array  # [..., R, N]
    write_weights: jax.Array  # [..., H, N]
    usage: jax.Array  # [..., N], from 0, free, to 1
    link: jax.Array  # [..., H, N, N], [..., i, j]: row i was written right after row j
    precedence: jax.Array  # [..., H, N], how much a row was the last one written
    controller: Any  # the LSTMs' states, or () of a feed-forward controller


class Interface(NamedTuple):
    """The controller's instructions for a step, in the paper's order."""

    read_keys: jax.Array  # [..., R, W]
    read_strengths: jax.Array  # [..., R], at least 1
    write_keys: jax.Array  # [..., H, W]
    write_strengths: jax.Array  # [..., H], at least 1
    erase: jax.Array  # [..., H, W], 0 to 1
    write_vectors: jax.Array  # [..., H, W]
    free_gates: jax.Array  # [..., R], 0 to 1
    allocation_gates: jax.Array  # [..., H], 0 to 1
    write_gates: jax.Array  # [..., H], 0 to 1
    read_modes: jax.Array  # [..., R, M], sums 1: H backward, content, H forward


def step(interface: Interface, state: DNCState) -> DNCState:
    """Writes to the memory, then reads from it; the state's controller stays as it was."""
    usage = update_usage(state.usage, state.write_weights, state.read_weights, interface.free_gates)
    write_weights = write_weighting(interface, state.memory, usage)
    memory = write(state.memory, write_weights, interface.erase, interface.write_vectors)
    link = update_link(state.link, state.precedence, write_weights)
    read_weights = read_weighting(interface, memory, link, state.read_weights)
    return DNCState(
        memory=memory,
        read_vectors=jnp.einsum('...rn,...nw->...rw', read_weights, memory),
        read_weights=read_weights,
        write_weights=write_weights,
        usage=usage,
        link=link,
        precedence=update_precedence(state.precedence, write_weights),
        controller=state.controller,
    )


def interface_size(num_reads: int, num_writes: int, word_size: int) -> int:
    """Returns how many numbers an interface has: W R + 3 W + 5 R + 3 for one write head."""
    return sum(map(math.prod, _interface_shapes(num_reads, num_writes, word_size)))


def split_interface(
    numbers: jax.Array, num_reads: int, num_writes: int, word_size: int
) -> Interface:
    """Splits a controller's numbers [..., `interface_size`], each part brought into its range."""
    shapes = _interface_shapes(num_reads, num_writes, word_size)
    ends = list(itertools.accumulate(map(math.prod, shapes)))
    chex.assert_axis_dimension(numbers, -1, ends[-1])
    numbers = numbers.astype(jnp.promote_types(numbers.dtype, jnp.float32))
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


def oneplus(x: jax.Array) -> jax.Array:
    """Returns 1 + log(1 + exp(x)), which is at least 1."""
    return 1 + jax.nn.softplus(x)


def content_weighting(memory: jax.Array, keys: jax.Array, strengths: jax.Array) -> jax.Array:
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
    usage: jax.Array, write_weights: jax.Array, read_weights: jax.Array, free_gates: jax.Array
) -> jax.Array:
    """Counts as used what the last step wrote, and as free what it read and the gates now free."""
    written = 1 - jnp.prod(1 - write_weights, axis=-2)
    retention = jnp.prod(1 - free_gates[..., None] * read_weights, axis=-2)
    return (usage + (1 - usage) * written) * retention


def allocation(usage: jax.Array) -> jax.Array:
    """Weighs rows for writing, the freest first: [..., N], of sum 1 at most.

    Row i gets (1 - u_i) times the product of the usage of all rows before it in the free list,
    which is ordered by usage, and by index where that is equal. It is sorted, for comparing pairs
    of rows needs bits that agree wherever XLA computes them again.
    """
    order = jnp.argsort(jax.lax.stop_gradient(usage), axis=-1, stable=True)
    ordered = jnp.take_along_axis(usage, order, axis=-1)
    ones = jnp.ones_like(ordered[..., :1])
    before = jnp.cumprod(jnp.concatenate([ones, ordered[..., :-1]], axis=-1), axis=-1)
    places = jnp.argsort(order, axis=-1)
    return jnp.take_along_axis((1 - ordered) * before, places, axis=-1)


def allocations(usage: jax.Array, gates: jax.Array) -> jax.Array:
    """Allocates for several write heads in turn, each counting what those before it will use.

    Args:
      usage: [..., N].
      gates: [..., H], how much each head is about to write where it allocates.

    Returns:
      Weights [..., H, N].
    """
    weights = []
    for gate in jnp.split(gates, gates.shape[-1], axis=-1):
        weights.append(allocation(usage))
        usage = usage + (1 - usage) * gate * weights[-1]
    return jnp.stack(weights, axis=-2)


def write_weighting(interface: Interface, memory: jax.Array, usage: jax.Array) -> jax.Array:
    """Mixes free rows and rows like the write keys by the gates: [..., H, N], of sum 1 at most."""
    content = content_weighting(memory, interface.write_keys, interface.write_strengths)
    allocated = interface.write_gates * interface.allocation_gates
    looked_up = interface.write_gates * (1 - interface.allocation_gates)
    free = allocations(usage, allocated)
    return allocated[..., None] * free + looked_up[..., None] * content


def write(memory: jax.Array, weights: jax.Array, erase: jax.Array, vectors: jax.Array) -> jax.Array:
    """Erases with weights [..., H, N] of all heads together, and then adds: memory [..., N, W]."""
    for head in range(weights.shape[-2]):
        share = jnp.einsum('...n,...w->...nw', weights[..., head, :], erase[..., head, :])
        memory = memory - share * memory
    return memory + jnp.einsum('...hn,...hw->...nw', weights, vectors)


def update_link(link: jax.Array, precedence: jax.Array, weights: jax.Array) -> jax.Array:
    """Links the rows that a step writes to those written before, for each write head.

    Args:
      link: [..., H, N, N].
      precedence: [..., H, N], before the step.
      weights: [..., H, N], of the step's writing.

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


def update_precedence(precedence: jax.Array, weights: jax.Array) -> jax.Array:
    """Forgets the rows written last in so far as others are written, all [..., H, N]."""
    return (1 - jnp.sum(weights, axis=-1, keepdims=True)) * precedence + weights


def read_weighting(
    interface: Interface, memory: jax.Array, link: jax.Array, weights: jax.Array
) -> jax.Array:
    """Mixes each head's last rows followed one write back or on, and rows like its key.

    Args:
      interface: of the step.
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


def _inverse_norm(x: jax.Array) -> jax.Array:
    return jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1) + EPSILON)
