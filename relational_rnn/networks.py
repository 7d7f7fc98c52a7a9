"""What stands around a recurrent core: networks for any `hk.RNNCore`.

`LanguageModel` is the word-level model of Santoro et al. 2018, "Relational recurrent neural
networks", section 4.3 and appendix A.4, https://arxiv.org/abs/1806.01822. The paper ties the output
softmax to the 512-wide embeddings and does not mention how the core's wider output becomes 512
wide; as in the public ports, a linear layer does it.

Glossary of shapes:
  T: time; B: batch; V: words of the vocabulary; E: embedding size.
"""

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from relational_rnn import losses, softmax, unrolling


class LanguageModel(hk.Module):
    """Predicts each word from those before it: embeddings, core, projection, softmax."""

    def __init__(
        self,
        core: hk.RNNCore,
        vocab_size: int,
        embedding_size: int = 512,
        dropout: float = 0.5,
        output_dropout: float = 0.0,
        output_layer: softmax.FullSoftmax | None = None,
        name: str | None = None,
    ):
        """Makes a model around a core.

        Args:
          core: the recurrent core.
          vocab_size: V; ids in the order of frequency if the softmax is adaptive.
          embedding_size: E.
          dropout: the share of the embeddings' elements that is dropped in training.
          output_dropout: the share of the projected output that is dropped in training.
          output_layer: the softmax, a `softmax.FullSoftmax` by default.
          name: the module's name.
        """
        super().__init__(name=name)
        self._core = core
        self._shape = (vocab_size, embedding_size)
        self._dropout = dropout
        self._output_dropout = output_dropout
        self._softmax = output_layer or softmax.FullSoftmax()
        self._projection = hk.Linear(embedding_size, name='projection')

    def initial_state(self, batch_size: int) -> chex.ArrayTree:
        """Returns the core's state before the first word, [B, ...]."""
        return self._core.initial_state(batch_size)

    def cross_entropy(
        self,
        inputs: chex.Array,
        targets: chex.Array,
        weights: chex.Array,
        resets: chex.Array,
        state: chex.ArrayTree,
        keys: chex.Array | None = None,
    ) -> tuple[losses.WeightedSum, chex.ArrayTree]:
        """Returns how badly the words of a window are predicted, and the state behind it.

        Args:
          inputs: word ids [T, B].
          targets: word ids [T, B].
          weights: [T, B]; 0 where there is no word to predict.
          resets: [T, B] bool, True where the state starts anew.
          state: the core's state, [B, ...].
          keys: random keys [B] for dropout, one a row, so that rows do not depend on how a batch
            is split; None for no dropout.

        Returns:
          The weighted sum of the negative log-probabilities in nats, and the next state.
        """
        hidden, state = self._hidden(inputs, resets, state, keys)
        total = self._softmax.cross_entropy(hidden, targets, weights, self._embeddings())
        return total, state

    def log_probs(
        self, inputs: chex.Array, targets: chex.Array, resets: chex.Array, state: chex.ArrayTree
    ) -> tuple[chex.Array, chex.ArrayTree]:
        """Returns the log-probability of each target, [T, B], and the next state."""
        hidden, state = self._hidden(inputs, resets, state, None)
        return self._softmax.log_probs(hidden, targets, self._embeddings()), state

    def next_word(
        self, words: chex.Array, state: chex.ArrayTree
    ) -> tuple[chex.Array, chex.ArrayTree]:
        """Returns log-probabilities [B, V] of the words after `words`, ids [B], and the state."""
        embedded = jnp.take(self._embeddings(), words, axis=0)
        output, state = self._core(embedded, state)
        return self._softmax.distribution(self._projection(output), self._embeddings()), state

    def _hidden(
        self,
        inputs: chex.Array,
        resets: chex.Array,
        state: chex.ArrayTree,
        keys: chex.Array | None,
    ) -> tuple[chex.Array, chex.ArrayTree]:
        """Returns what the softmax sees, [T, B, E], and the next state."""
        chex.assert_rank([inputs, resets], 2)
        chex.assert_equal_shape([inputs, resets])
        embedded = jnp.take(self._embeddings(), inputs, axis=0)
        embedded = drop(embedded, self._dropout, keys, salt=0)
        outputs, state = unrolling.unroll(self._core, embedded, state, resets)
        return drop(self._projection(outputs), self._output_dropout, keys, salt=1), state

    def _embeddings(self) -> chex.Array:
        """The embeddings, [V, E]; small, for they are the softmax's weights too."""
        init = hk.initializers.TruncatedNormal(self._shape[1] ** -0.5)
        return hk.get_parameter('embeddings', self._shape, init=init)


def drop(x: chex.Array, rate: float, keys: chex.Array | None, salt: int) -> chex.Array:
    """Dropout whose mask of a row depends on the row's key alone.

    Args:
      x: [T, B, E].
      rate: the share of the elements set to 0; the others are scaled by 1 / (1 - rate).
      keys: random keys [B], or None to return `x` as it is.
      salt: tells apart the places of a network that share the keys.

    Returns:
      [T, B, E].
    """
    if keys is None or rate == 0:
        return x
    shape = (x.shape[0], *x.shape[2:])

    def mask(key: chex.Array) -> chex.Array:
        return jax.random.bernoulli(jax.random.fold_in(key, salt), 1 - rate, shape)

    kept = jax.vmap(mask, out_axes=1)(keys)
    return jnp.where(kept, x / (1 - rate), 0)
