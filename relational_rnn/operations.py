"""The operations that a step of the memory is made of, and how they are differentiated.

`PLAIN` leaves derivatives to JAX, in forward and reverse mode. `STEPWISE` and `DEFERRED`, for the
two ways in `scanning`, have derivatives of their own, written for reverse mode: they keep fewer
arrays and give a compiler nothing to transpose.

Glossary of shapes:
  ...: any leading dimensions; F: the size of a row; H: heads; R: queries; M: keys.
  C: key size; V: head (value) size.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax import ad_checkpoint
import jax.numpy as jnp

NORM_EPSILON = 1e-5
LINEAR = 'linear'  # the checkpoint name of the affine maps' results
ALIGNMENT = 128  # numbers: 32 bytes in each of 8 parts in bfloat16, and a TPU's lanes


class Linear(NamedTuple):
    """An affine map of the last dimension."""

    w: jax.Array  # [in, out], may be padded, see `pad_matrices`
    b: jax.Array  # [out]


class Norm(NamedTuple):
    """A layer norm over the last dimension."""

    scale: jax.Array  # [F]
    offset: jax.Array  # [F]


def initial_value(
    name: str, shape: tuple[int, ...], dtype: Any, next_key: Callable[[], jax.Array]
) -> jax.Array:
    """Returns a parameter's initial value: w truncated normal, scale 1, b and offset 0.

    Args:
      name: of a field of `Linear` or `Norm` at the end: 'input_w', 'mlp_norm_0_scale'.
      shape: of the parameter.
      dtype: as well.
      next_key: returns a new key, and is called for a w alone.
    """
    if name.endswith('_w'):
        stddev = jnp.asarray(shape[0] ** -0.5, dtype)  # Sonnet's, of the normal before it is cut
        return stddev * jax.random.truncated_normal(next_key(), -2.0, 2.0, shape, dtype)
    return jnp.full(shape, float(name.endswith('_scale')), dtype)


class Operations(NamedTuple):
    """The operations that have derivatives; see the functions in `PLAIN`."""

    linear: Callable[[Linear, jax.Array], jax.Array]
    normalize: Callable[[Norm, jax.Array], jax.Array]
    attend: Callable[[Sequence[jax.Array], int, int], tuple[jax.Array, jax.Array]]


def linear(layer: Linear, x: jax.Array) -> jax.Array:
    """Returns x w + b in the parameters' dtype, [..., in] -> [..., out]."""
    y = _fit(x.astype(layer.w.dtype), len(layer.w)) @ layer.w
    y = _fit(y, len(layer.b))
    return y + jnp.broadcast_to(layer.b, y.shape)


def _linear_backward(
    residuals: tuple[Linear, jax.Array], d_y: jax.Array
) -> tuple[Linear, jax.Array]:
    (w, _), x = residuals
    rows, d_rows = (value.reshape(-1, value.shape[-1]) for value in (x, d_y))
    d_w = jnp.einsum('ri,ro->io', rows.astype(d_y.dtype), d_rows)
    d_w = jnp.pad(d_w, [(0, more - size) for more, size in zip(w.shape, d_w.shape, strict=True)])
    d_b = jnp.ones(len(d_rows), d_rows.dtype) @ d_rows
    d_x = _fit(_fit(d_y, w.shape[1]) @ w.T, x.shape[-1])
    return Linear(d_w, d_b), d_x.astype(x.dtype)


def _fit(x: jax.Array, size: int) -> jax.Array:
    """Cuts the last dimension to a size, or pads it with zeros."""
    if x.shape[-1] < size:
        return jnp.pad(x, [*[(0, 0)] * (x.ndim - 1), (0, size - x.shape[-1])])
    return x[..., :size]


def normalize(norm: Norm, x: jax.Array) -> jax.Array:
    """Layer norm of each row, [..., F] -> [..., F], in float32 or wider."""
    return _normalize_forward(norm, x)[0]


def _normalize_forward(norm: Norm, x: jax.Array) -> tuple[jax.Array, tuple[Any, ...]]:
    wide = x.astype(at_least_float32(x))
    centered = wide - jnp.mean(wide, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centered), axis=-1, keepdims=True)
    inverse = jax.lax.rsqrt(variance + NORM_EPSILON)
    scaled = centered * inverse
    scale, offset = (jnp.broadcast_to(p.astype(wide.dtype), x.shape) for p in norm)
    return scaled * scale + offset, (norm, jnp.zeros((), x.dtype), scaled, inverse)


def _normalize_backward(residuals: tuple[Any, ...], d_y: jax.Array) -> tuple[Norm, jax.Array]:
    norm, like, scaled, inverse = residuals
    d_scaled = d_y * jnp.broadcast_to(norm.scale.astype(d_y.dtype), d_y.shape)
    mean = jnp.mean(d_scaled, axis=-1, keepdims=True)
    slope = jnp.mean(d_scaled * scaled, axis=-1, keepdims=True)
    d_x = inverse * (d_scaled - mean - scaled * slope)
    rows = tuple(range(d_y.ndim - 1))
    d_norm = Norm(jnp.sum(d_y * scaled, axis=rows), jnp.sum(d_y, axis=rows))
    return jax.tree.map(lambda d, p: d.astype(p.dtype), d_norm, norm), d_x.astype(like.dtype)


def attend(
    joints: Sequence[jax.Array], key_size: int, num_queries: int
) -> tuple[jax.Array, jax.Array]:
    """Attends under one softmax to the keys of several groups of rows, without joining them.

    Args:
      joints: queries, keys and values of each group, [..., M, H, 2 C + V].
      key_size: C.
      num_queries: R; the first R rows of all groups are queries.

    Returns:
      The attended values, [..., R, H, V], and the weights, [..., H, R, sum of M].
    """
    sections = (key_size, 2 * key_size)
    queries, keys, values = zip(*(jnp.split(x, sections, axis=-1) for x in joints), strict=True)
    joined = queries[0] if num_queries <= joints[0].shape[-3] else jnp.concatenate(queries, axis=-3)
    scaled = joined[..., :num_queries, :, :] * key_size**-0.5
    logits = [_einsum('...rhc,...mhc->...hrm', scaled, group) for group in keys]
    weights = jax.nn.softmax(jnp.concatenate(logits, axis=-1))
    parts, start = [], 0
    for group in values:
        part = weights[..., start : start + group.shape[-3]].astype(group.dtype)
        parts.append(_einsum('...hrm,...mhv->...rhv', part, group))
        start += group.shape[-3]
    return sum(parts[1:], parts[0]), weights


def _einsum(subscripts: str, *operands: jax.Array) -> jax.Array:
    """An einsum that accumulates in float32 or wider."""
    return jnp.einsum(subscripts, *operands, preferred_element_type=at_least_float32(operands[0]))


def _attend_joined(
    joints: Sequence[jax.Array], key_size: int, num_queries: int
) -> tuple[jax.Array, jax.Array]:
    """As `attend`, by joining the groups: fewer kernels, and a derivative of its own."""
    joint = jnp.swapaxes(jnp.concatenate(joints, axis=-3), -3, -2)
    queries, keys, values = jnp.split(joint, (key_size, 2 * key_size), axis=-1)
    queries = queries[..., :num_queries, :] * key_size**-0.5
    attended, weights = _fast_attend(queries, keys, values)
    return jnp.swapaxes(attended, -3, -2), weights


def _attend(queries: jax.Array, keys: jax.Array, values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns attended values and weights for scaled queries [..., H, R, C] and one group."""
    return _attend_forward(queries, keys, values)[0]


def _attend_forward(
    queries: jax.Array, keys: jax.Array, values: jax.Array
) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, ...]]:
    weights = jax.nn.softmax(_multiply(queries, keys, -1, -1))
    attended = _multiply(weights.astype(values.dtype), values, -1, -2)
    return (attended, weights), (queries, keys, values, weights)


def _attend_backward(
    residuals: tuple[jax.Array, ...], cotangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, ...]:
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


def _multiply(a: jax.Array, b: jax.Array, axis_a: int, axis_b: int) -> jax.Array:
    """Multiplies matrices [..., I, J], summing over an axis of each, in float32 or wider."""
    batch = tuple(range(a.ndim - 2))
    dimensions = ((a.ndim + axis_a,), (b.ndim + axis_b,)), (batch, batch)
    return jax.lax.dot_general(a, b, dimensions, preferred_element_type=at_least_float32(a))


def _with_rule(function: Any, forward: Any, backward: Any) -> Any:
    """Returns a function with a derivative of its own in reverse mode, and none in forward mode."""
    ruled = jax.custom_vjp(function)
    ruled.defvjp(forward, backward)
    return lambda *args: ruled(*vary_alike(*args))


_fast_linear = _with_rule(linear, lambda layer, x: (linear(layer, x), (layer, x)), _linear_backward)
_fast_normalize = _with_rule(normalize, _normalize_forward, _normalize_backward)
_fast_attend = _with_rule(_attend, _attend_forward, _attend_backward)


def _named_linear(layer: Linear, x: jax.Array) -> jax.Array:
    """As `linear`; the result has the name `LINEAR` for `jax.checkpoint` policies."""
    return ad_checkpoint.checkpoint_name(_fast_linear(layer, x), LINEAR)


PLAIN = Operations(linear, normalize, attend)
STEPWISE = Operations(_named_linear, _fast_normalize, attend)
DEFERRED = Operations(_fast_linear, _fast_normalize, _attend_joined)


def pad_matrices(layers: Any) -> Any:
    """Pads the sides of large matrices with zeros to multiples of `ALIGNMENT`.

    A compiler that splits a product into partial sums would pad the matrices in every step where
    the sides are no multiple of the number of parts.

    Args:
      layers: a tree of `Linear` and `Norm`. A matrix of which a side would grow by more than a
        twentieth stays as it is.
    """

    def pad(layer: Linear | Norm) -> Linear | Norm:
        if not isinstance(layer, Linear):
            return layer
        more = [-size % ALIGNMENT for size in layer.w.shape]
        if any(20 * extra > size for extra, size in zip(more, layer.w.shape, strict=True)):
            return layer
        return Linear(jnp.pad(layer.w, [(0, extra) for extra in more]), layer.b)

    return jax.tree.map(pad, layers, is_leaf=lambda node: isinstance(node, Linear | Norm))


def vary_alike(*trees: Any) -> tuple[Any, ...]:
    """Lets all arrays vary over the mesh axes over which any of them does, inside `jax.shard_map`.

    What a loop carries, and what a function with a derivative of its own is given, needs one such
    type from the start; parameters that are equal on all devices get the sum of their gradients.
    """
    axes = frozenset().union(*map(_varying_axes, jax.tree.leaves(trees)))

    def vary(x: jax.Array) -> jax.Array:
        missing = axes - _varying_axes(x)
        return jax.lax.pcast(x, tuple(missing), to='varying') if missing else x

    return jax.tree.map(vary, trees)


def _varying_axes(x: jax.Array) -> frozenset[str]:
    aval: Any = jax.typeof(x)
    if hasattr(aval, 'manual_axis_type'):  # since jax 0.10
        return aval.manual_axis_type.varying
    return getattr(aval, 'vma', frozenset())


def at_least_float32(x: jax.Array) -> jnp.dtype:
    """Returns the dtype of an array, or float32 where that is narrower."""
    return jnp.promote_types(x.dtype, jnp.float32)
