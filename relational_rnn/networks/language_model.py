"""A word-level language model around any `hk.RNNCore`.

Santoro et al. 2018, "Relational recurrent neural networks", section 4.3 and appendix A.4,
https://arxiv.org/abs/1806.01822. The paper ties the output softmax to the 512-wide embeddings and
does not mention how the core's wider output becomes 512 wide; as in the public ports, a linear
layer does it. Two options are of Gal and Ghahramani 2016, "A theoretically grounded application of
dropout in recurrent neural networks", https://arxiv.org/abs/1512.05287, in the form of AWD-LSTM
(Merity, Keskar and Socher 2018, https://arxiv.org/abs/1708.02182): masks that stay the same for a
window, and dropout of words.

Glossary of shapes:
  T: time; B: batch; V: words of the vocabulary; E: embedding size.
"""

from typing import Any

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from relational_rnn import losses, unrolling
from relational_rnn.networks import precision, softmax


class LanguageModel(hk.Module):
    """Predicts each word from those before it: embeddings, core, projection, softmax."""

    def __init__(
        self,
        core: hk.RNNCore,
        vocab_size: int,
        embedding_size: int = 512,
        dropout: float = 0.5,
        output_dropout: float = 0.0,
        output_layer: softmax.FullSoftmax | softmax.AdaptiveSoftmax | None = None,
        dtype: Any = jnp.float32,
        embedding_dropout: float = 0.0,
        variational_dropout: bool = False,
        name: str | None = None,
    ):
        """Makes a model around a core.

        Args:
          core: the recurrent core.
          vocab_size: V; ids in the order of frequency if the softmax is adaptive.
          embedding_size: E.
          dropout: the dropout rate of the embeddings in training.
          output_dropout: the dropout rate of the projected output in training.
          output_layer: makes the parameters of the softmax, a `softmax.FullSoftmax` by default.
          dtype: of the matrix products, float32 or bfloat16; see `precision.multiplying_in`.
          embedding_dropout: the share of the words that are dropped in training, wherever they are
            inputs in a window; each batch element drops words of its own.
          variational_dropout: whether the masks of `dropout` and `output_dropout` are the same at
            all steps of a window.
          name: the module's name.

        Raises:
          ValueError: for another dtype.
        """
        super().__init__(name=name)
        self._dtype = precision.check(dtype)
        self._core = core
        self._shape = (vocab_size, embedding_size)
        self._dropout = dropout
        self._output_dropout = output_dropout
        self._embedding_dropout = embedding_dropout
        self._variational = variational_dropout
        self._softmax = output_layer or softmax.FullSoftmax()
        self._projection = hk.Linear(embedding_size, name='projection')

    def initial_state(self, batch_size: int) -> Any:
        """Returns the core's state before the first word, [B, ...]."""
        return self._core.initial_state(batch_size)

    def cross_entropy(
        self,
        inputs: jax.Array,
        targets: jax.Array,
        weights: jax.Array,
        resets: jax.Array,
        state: unrolling.StateT,
        keys: jax.Array | None = None,
    ) -> tuple[losses.WeightedSum, unrolling.StateT]:
        """Returns the cross entropy of the words of a window, and the state after it.

        Args:
          inputs: word ids [T, B].
          targets: word ids [T, B].
          weights: [T, B]; 0 where there is no word to predict.
          resets: [T, B] bool, True where the state is reset to the initial one.
          state: the core's state, [B, ...].
          keys: random keys [B] for dropout, one for each batch element, so that masks do not depend
            on how a batch is split; None for no dropout.

        Returns:
          The weighted sum of the negative log-probabilities in nats, and the next state.
        """
        hidden, state = self._hidden(inputs, resets, state, keys)
        return softmax.cross_entropy(hidden, targets, weights, self._output()), state

    def log_probs(
        self,
        inputs: jax.Array,
        targets: jax.Array,
        resets: jax.Array,
        state: unrolling.StateT,
    ) -> tuple[jax.Array, unrolling.StateT]:
        """Returns the log-probability of each target, [T, B], and the next state."""
        hidden, state = self._hidden(inputs, resets, state, None)
        return softmax.log_probs(hidden, targets, self._output()), state

    def next_word(
        self, words: jax.Array, state: unrolling.StateT
    ) -> tuple[jax.Array, unrolling.StateT]:
        """Returns log-probabilities [B, V] of the words after `words`, ids [B], and the state."""
        embedded = jnp.take(self._embeddings(), words, axis=0)
        with precision.multiplying_in(self._dtype):
            output, state = self._core(embedded, state)
            hidden = self._rounded(self._projection(output))
        return softmax.distribution(hidden, self._output()), state

    def _hidden(
        self,
        inputs: jax.Array,
        resets: jax.Array,
        state: unrolling.StateT,
        keys: jax.Array | None,
    ) -> tuple[jax.Array, unrolling.StateT]:
        """Returns the inputs of the softmax, [T, B, E], and the next state."""
        chex.assert_rank([inputs, resets], 2)
        chex.assert_equal_shape([inputs, resets])
        embedded = jnp.take(self._embeddings(), inputs, axis=0)
        embedded = word_dropout(embedded, inputs, self._embedding_dropout, keys, salt=2)
        embedded = dropout(embedded, self._dropout, keys, 0, self._variational)
        with precision.multiplying_in(self._dtype):
            outputs, state = unrolling.unroll(self._core, embedded, state, resets)
            hidden = self._projection(outputs)
        hidden = dropout(hidden, self._output_dropout, keys, 1, self._variational)
        return self._rounded(hidden), state

    def _rounded(self, hidden: jax.Array) -> jax.Array:
        """Casts the inputs of the softmax, which computes its products in their dtype."""
        return hidden if self._dtype == jnp.float32 else hidden.astype(self._dtype)

    def _output(self) -> softmax.Params:
        """Returns the parameters of the softmax, tied to the embeddings."""
        return self._softmax(self._embeddings())

    def _embeddings(self) -> jax.Array:
        """The embeddings, [V, E]; small, for they are the softmax's weights too."""
        init = hk.initializers.TruncatedNormal(self._shape[1] ** -0.5)
        return hk.get_parameter('embeddings', self._shape, init=init)


def dropout(
    x: jax.Array, rate: float, keys: jax.Array | None, salt: int, variational: bool = False
) -> jax.Array:
    """Dropout whose mask of a batch element depends on its own key alone.

    Args:
      x: [T, B, E].
      rate: the share of the elements that is set to 0; the others are scaled by 1 / (1 - rate).
      keys: random keys [B], or None to return `x` as it is.
      salt: distinguishes the places of a network that share the keys.
      variational: whether the mask is the same at all T steps.

    Returns:
      [T, B, E].
    """
    if keys is None or rate == 0:
        return x
    shape = (1 if variational else x.shape[0], *x.shape[2:])

    def mask(key: jax.Array) -> jax.Array:
        return jax.random.bernoulli(jax.random.fold_in(key, salt), 1 - rate, shape)

    kept = jax.vmap(mask, out_axes=1)(keys)
    return jnp.where(kept, x / (1 - rate), 0)


def word_dropout(
    x: jax.Array, words: jax.Array, rate: float, keys: jax.Array | None, salt: int
) -> jax.Array:
    """Dropout of whole words: a word is dropped wherever a batch element has it, or nowhere.

    Args:
      x: [T, B, E].
      words: ids [T, B] of what `x` stands for.
      rate: as for `dropout`, a share of the words.
      keys: as for `dropout`.
      salt: as for `dropout`.

    Returns:
      [T, B, E].
    """
    if keys is None or rate == 0:
        return x

    def is_kept(word: jax.Array, key: jax.Array) -> jax.Array:
        key = jax.random.fold_in(jax.random.fold_in(key, salt), word)
        return jax.random.bernoulli(key, 1 - rate)

    kept = jax.vmap(jax.vmap(is_kept), in_axes=(0, None))(words, keys)  # [T, B]
    return jnp.where(kept[..., None], x / (1 - rate), 0)
