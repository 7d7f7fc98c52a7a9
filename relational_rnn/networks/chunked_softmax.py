"""One softmax over all classes, whose logits are held for a chunk of tokens at a time.

`cross_entropy` computes its gradients in the same pass, three matrix products in all: the weights
are known, so the gradient of a chunk is known as soon as its logits are. `log_probs` computes
logits a second time for its gradient, four products in all. Tokens without a weight are skipped,
chunk by chunk. Logits and sums are float32, whatever the inputs. Gradients are in reverse mode, and
weights count as constants.

Glossary of shapes:
  N: tokens; C: tokens of a chunk; E: size of the hidden vectors; V: classes.
"""

import functools
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

CHUNK_BYTES = 2**27  # of float32 logits held at a time, by default


class Output(NamedTuple):
    """An output layer, or the gradient in its place."""

    embeddings: jax.Array  # [V, E]
    bias: jax.Array  # [V]


def default_chunk_size(num_tokens: int, vocab_size: int) -> int:
    """Returns how many tokens' logits fit `CHUNK_BYTES`, evened out over the chunks."""
    largest = max(1, CHUNK_BYTES // (4 * vocab_size))
    num_chunks = max(1, -(-num_tokens // largest))
    return max(1, -(-num_tokens // num_chunks))


def cast(output: Output, dtype: Any) -> Output:
    """Casts the factors of the products; the bias is added in float32."""
    return Output(output.embeddings.astype(dtype), output.bias.astype(jnp.float32))


def log_probs(
    hidden: jax.Array, targets: jax.Array, present: jax.Array, output: Output, chunk_size: int
) -> jax.Array:
    """Log-probabilities `[N]` of targets `[N]`, zero where not present."""
    rows, num_chunks = _chunks(present, chunk_size)

    @jax.checkpoint
    def of_chunk(chunk: jax.Array) -> jax.Array:
        scores = logits(_take(hidden, chunk), output)
        return _pick(scores, _take(targets, chunk)) - jax.nn.logsumexp(scores, axis=0)

    def body(index: jax.Array, chunk: jax.Array) -> tuple[jax.Array, jax.Array]:
        values = lax.cond(index < num_chunks, of_chunk, lambda c: jnp.zeros(c.shape), chunk)
        return index + 1, values

    _, values = lax.scan(body, jnp.int32(0), rows)
    return jnp.zeros(targets.shape).at[rows.ravel()].set(jnp.ravel(values), mode='drop')


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def cross_entropy(
    hidden: jax.Array, targets: jax.Array, weights: jax.Array, output: Output, chunk_size: int
) -> jax.Array:
    """Sum `[]` over N tokens of weight times negative log-probability."""
    return -jnp.sum(weights * log_probs(hidden, targets, weights, output, chunk_size))


class _Gradients(NamedTuple):
    """Gradients of a weighted sum of negative log-probabilities, float32."""

    hidden: jax.Array  # [N, E]
    output: Output


def _cross_entropy_forward(
    hidden: jax.Array, targets: jax.Array, weights: jax.Array, output: Output, chunk_size: int
) -> tuple[jax.Array, tuple[_Gradients, jax.Array]]:
    """Returns the sum, and its gradients as residuals."""
    rows, num_chunks = _chunks(weights, chunk_size)

    def body(index: jax.Array, carry: tuple[jax.Array, _Gradients]) -> tuple[jax.Array, _Gradients]:
        total, grads = carry
        chunk = rows[index]
        inputs = _take(hidden, chunk)
        nll, errors = _chunk_errors(inputs, _take(targets, chunk), _take(weights, chunk), output)
        low = errors.astype(hidden.dtype)
        by_output = Output(
            grads.output.embeddings + _dot(low, inputs),
            grads.output.bias + jnp.sum(errors, axis=1),
        )
        by_hidden = grads.hidden.at[chunk].set(_dot(low.T, output.embeddings), mode='drop')
        return total + nll, _Gradients(by_hidden, by_output)

    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape), _Gradients(hidden, output))
    total, grads = lax.fori_loop(0, num_chunks, body, (jnp.zeros(()), zeros))
    # An empty array carries the dtype: the gradients stay float32 until they are scaled.
    return total, (grads, jnp.zeros(0, hidden.dtype))


def _cross_entropy_backward(
    chunk_size: int, residuals: tuple[_Gradients, jax.Array], cotangent: jax.Array
) -> tuple[jax.Array, None, None, Output]:
    del chunk_size
    dtype = residuals[1].dtype
    grads = jax.tree.map(lambda grad: cotangent * grad, residuals[0])
    return grads.hidden.astype(dtype), None, None, cast(grads.output, dtype)


cross_entropy.defvjp(_cross_entropy_forward, _cross_entropy_backward)


def _chunk_errors(
    hidden: jax.Array, targets: jax.Array, weights: jax.Array, output: Output
) -> tuple[jax.Array, jax.Array]:
    """Returns a chunk's weighted sum `[]`, and its gradient `[V, C]` by the logits."""
    scores = logits(hidden, output)
    largest = jnp.max(scores, axis=0)
    exps = jnp.exp(scores - largest[None])
    sums = jnp.sum(exps, axis=0)
    nll = jnp.log(sums) + largest - _pick(scores, targets)
    words = jnp.arange(scores.shape[0])[:, None]
    # Compared, not scattered: as fast here, and scatter-add is slow on some accelerators.
    wanted = jnp.where(words == targets[None], weights[None], 0)
    return jnp.sum(weights * nll), exps * (weights / sums)[None] - wanted


def _chunks(weights: jax.Array, chunk_size: int) -> tuple[jax.Array, jax.Array]:
    """Returns the indices of weights, padded with N to `[chunks, C]`, and how many chunks count."""
    num_tokens = weights.shape[0]
    padded_size = -(-num_tokens // chunk_size) * chunk_size
    (rows,) = jnp.nonzero(weights, size=padded_size, fill_value=num_tokens)
    return rows.reshape(-1, chunk_size), -(-jnp.count_nonzero(weights) // chunk_size)


def _take(values: jax.Array, rows: jax.Array) -> jax.Array:
    """Gathers rows; those past the end are zero, and so without a weight."""
    return values.at[rows].get(mode='fill', fill_value=0)


def logits(hidden: jax.Array, output: Output) -> jax.Array:
    """Logits `[V, C]` of a chunk: with the words first the three products are faster on CPU."""
    return _dot(output.embeddings, hidden.T) + output.bias[:, None]


def _pick(scores: jax.Array, targets: jax.Array) -> jax.Array:
    return jnp.take_along_axis(scores, targets[None], axis=0)[0]


def _dot(left: jax.Array, right: jax.Array) -> jax.Array:
    return jnp.dot(left, right, preferred_element_type=jnp.float32)
