"""Cross entropy, accuracy and perplexity, masked by weights.

Every loss returns a `WeightedSum`, not a mean, because sums combine exactly: add them over windows
with `jax.tree.map(jnp.add, a, b)` and over devices with `jax.lax.psum`, and divide once, at the
end, with `mean` or `perplexity`. A position of weight zero counts as absent, whatever is in it.

Glossary of shapes:
  ...: any leading shape, `[T, B]` for time-major sequences; V: number of classes (words of the
  vocabulary).
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from relational_rnn import checks


class WeightedSum(NamedTuple):
    """A sum over positions and the weight of the positions in it, both float32 scalars."""

    total: jax.Array  # []
    weight: jax.Array  # []


def cross_entropy(
    logits: jax.Array, targets: checks.AnyArray, weights: checks.AnyArray
) -> WeightedSum:
    """Returns the weighted sum of the negative log-probabilities of the targets.

    Args:
        logits: unnormalised log-probabilities `[..., V]`.
        targets: class ids `[...]`, integers in 0 … V - 1.
        weights: weight of each position `[...]`.

    Returns:
        The sum in nats, and the sum of the weights.
    """
    logits, targets, weights = _present(logits, targets, weights)
    log_probs = jax.nn.log_softmax(logits)
    nll = -jnp.take_along_axis(log_probs, targets[..., None], axis=-1)[..., 0]
    return WeightedSum(jnp.sum(weights * nll), jnp.sum(weights))


def accuracy(logits: jax.Array, targets: checks.AnyArray, weights: checks.AnyArray) -> WeightedSum:
    """Returns the weighted count of positions whose largest logit is the target's.

    Args:
        logits: scores `[..., V]`; of equal scores the first counts as the largest.
        targets: class ids `[...]`, integers in 0 … V - 1.
        weights: weight of each position `[...]`.

    Returns:
        The weighted count, and the sum of the weights.
    """
    logits, targets, weights = _present(logits, targets, weights)
    correct = jnp.argmax(logits, axis=-1) == targets
    return WeightedSum(jnp.sum(weights * correct), jnp.sum(weights))


def mean(value: WeightedSum) -> jax.Array:
    """Returns the weighted mean `[]`; it is 0 where nothing had a weight."""
    return value.total / jnp.maximum(value.weight, jnp.finfo(jnp.float32).tiny)


def perplexity(nll: WeightedSum) -> jax.Array:
    """Returns `exp(mean(nll))` `[]` of a cross entropy: V where all V are equally likely."""
    return jnp.exp(mean(nll))


def _present(
    logits: jax.Array, targets: checks.AnyArray, weights: checks.AnyArray
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Checks the shapes, casts to float32 and blanks what has no weight."""
    chex.assert_equal_shape([targets, weights])
    chex.assert_equal_shape_prefix([logits, targets], targets.ndim)
    chex.assert_rank(logits, targets.ndim + 1)
    chex.assert_type(targets, int)
    present = weights != 0
    logits = jnp.where(present[..., None], logits.astype(jnp.float32), 0)
    return logits, jnp.where(present, targets, 0), jnp.asarray(weights, jnp.float32)
