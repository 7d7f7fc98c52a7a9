"""Sampling of words from a language model.

Holtzman et al. 2020, "The curious case of neural text degeneration", section 3.1 (top-p or nucleus
sampling), https://arxiv.org/abs/1904.09751.

Glossary of shapes:
  ...: any leading dimensions; V: words.
"""

import jax
import jax.numpy as jnp

_LEAST_TEMPERATURE = 1e-30  # by less, log-probabilities are divided to infinity


def sample(
    key: jax.Array, log_probs: jax.Array, temperature: float = 1.0, top_p: float = 1.0
) -> jax.Array:
    """Samples words from the most likely ones whose probabilities sum to at least `top_p`.

    Args:
      key: the random key.
      log_probs: log-probabilities of the words, [..., V].
      temperature: the log-probabilities are divided by it; 0, and what float32 cannot divide by,
        takes the most likely word.
      top_p: in (0, 1]; 1 keeps all words. The most likely word always stays.

    Returns:
      Word ids, [...].

    Raises:
      ValueError: if temperature or top_p is out of its range.
    """
    if temperature < 0 or not 0 < top_p <= 1:
        raise ValueError(
            f'temperature is at least 0 and top_p in (0, 1], got {temperature} and {top_p}.'
        )
    if temperature < _LEAST_TEMPERATURE:
        return jnp.argmax(log_probs, axis=-1)
    logits = jax.nn.log_softmax(log_probs / temperature)
    if top_p < 1:  # at 1 rounding must not drop the rarest words
        logits = jnp.where(_nucleus(logits, top_p), logits, -jnp.inf)
    return jax.random.categorical(key, logits)


def _nucleus(log_probs: jax.Array, top_p: float) -> jax.Array:
    """Returns which words stay, [..., V] bool: those less likely than top_p of all go."""
    order = jnp.argsort(-log_probs, axis=-1)
    ordered = jnp.exp(jnp.take_along_axis(log_probs, order, axis=-1))
    before = jnp.cumsum(ordered, axis=-1) - ordered  # of all that are more likely
    return jnp.put_along_axis(
        jnp.zeros(log_probs.shape, bool), order, before < top_p, axis=-1, inplace=False
    )
