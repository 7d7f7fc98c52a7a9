"""What stands around a recurrent core: networks for any `hk.RNNCore`.

`LanguageModel` is the word-level model of Santoro et al. 2018, "Relational recurrent neural
networks", section 4.3 and appendix A.4, https://arxiv.org/abs/1806.01822. The paper ties the output
softmax to the 512-wide embeddings and does not mention how the core's wider output becomes 512
wide; as in the public ports, a linear layer does it.

`SequenceToSequence` is the encoder-decoder of section 4.2 and appendix A.2, which reads a program
character by character and then says the digits of its result.

In bfloat16 the matrix products of core, projection and softmax round their factors; parameters,
their gradients, states, layer norms, gates and all softmaxes stay in float32.

Glossary of shapes:
  T: time; B: batch; V: words of the vocabulary, or classes; E: embedding size.
  D: input size; A: steps of an answer; Y: output size of a core.
"""

from collections.abc import Iterator, Sequence
import contextlib
from typing import Any

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import jmp

from relational_rnn import core as core_lib
from relational_rnn import losses, unrolling
from relational_rnn.networks import softmax

# The modules that multiply by matrices; all cores but the RMC are made of `hk.Linear`.
MULTIPLIERS = (core_lib.RelationalMemory, hk.Linear)
# What a decoder is fed: zeros; its own last prediction; in training the true one, else its own.
DECODINGS = ('non_autoregressive', 'autoregressive', 'teacher_forcing')


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
        dtype: Any = jnp.float32,
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
          dtype: of the matrix products: `jnp.float32`, which leaves all as it is, or
            `jnp.bfloat16`, which holds for a `RelationalMemory`, a `Transformer` and any core whose
            products are those of `hk.Linear`.
          name: the module's name.

        Raises:
          ValueError: for another dtype.
        """
        super().__init__(name=name)
        self._dtype = jnp.dtype(dtype)
        if self._dtype not in (jnp.float32, jnp.bfloat16):
            raise ValueError(f'dtype is float32 or bfloat16, got {self._dtype}.')
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
        with multiplying_in(self._dtype):
            output, state = self._core(embedded, state)
            hidden = self._rounded(self._projection(output))
        return self._softmax.distribution(hidden, self._embeddings()), state

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
        with multiplying_in(self._dtype):
            outputs, state = unrolling.unroll(self._core, embedded, state, resets)
            hidden = self._projection(outputs)
        return self._rounded(drop(hidden, self._output_dropout, keys, salt=1)), state

    def _rounded(self, hidden: chex.Array) -> chex.Array:
        """Casts what the softmax sees, for it computes its products in that dtype."""
        return hidden if self._dtype == jnp.float32 else hidden.astype(self._dtype)

    def _embeddings(self) -> chex.Array:
        """The embeddings, [V, E]; small, for they are the softmax's weights too."""
        init = hk.initializers.TruncatedNormal(self._shape[1] ** -0.5)
        return hk.get_parameter('embeddings', self._shape, init=init)


class SequenceToSequence(hk.Module):
    """Reads a sequence with one core and says another: its end state starts the decoding core.

    Every output of the decoder goes through an MLP, ReLU on all of its layers, and a linear map to
    logits. The paper's best results were with a decoder that is fed zeros, in training as in tests:
    all that it says comes from the memory. Its words on that, "model predictions only were used
    during training", may also mean a decoder that is fed its own predictions; both are here.
    """

    def __init__(
        self,
        encoder: hk.RNNCore,
        decoder: hk.RNNCore,
        num_classes: int,
        mlp_layers: Sequence[int] = (256, 256, 256, 256),
        name: str | None = None,
    ):
        """Makes a network around two cores, or around one.

        Args:
          encoder: reads.
          decoder: answers; takes inputs and has states like the encoder, or is the same object,
            which shares the weights.
          num_classes: V, at most D.
          mlp_layers: units of the layers between a core's output and the logits.
          name: the module's name.

        Raises:
          ValueError: if there are no classes.
        """
        super().__init__(name=name)
        if num_classes < 1:
            raise ValueError(f'num_classes is a whole number of at least 1, got {num_classes}.')
        self._encoder = encoder
        self._decoder = decoder
        self._num_classes = num_classes
        self._mlp = hk.nets.MLP(mlp_layers, activate_final=True, name='mlp')
        self._logits = hk.Linear(num_classes, name='logits')

    def __call__(
        self,
        inputs: chex.Array,
        lengths: chex.Array,
        targets: chex.Array,
        decoding: str = 'non_autoregressive',
        teacher: bool = False,
    ) -> chex.Array:
        """Returns the logits of every step of the answers.

        Args:
          inputs: [T, B, D]; what they hold behind the lengths does not matter.
          lengths: [B] whole numbers, of the sequences to read.
          targets: class ids [A, B]; they tell A, and with teacher forcing in training what the
            decoder is fed. Otherwise their values are not looked at.
          decoding: one of `DECODINGS`. The first step is always fed zeros; a class is fed as a
            one-hot of size D, and no gradient goes through the choice of a class.
          teacher: True in training: only then are targets ever fed.

        Returns:
          [A, B, V].

        Raises:
          ValueError: for another decoding, and if the shapes, dtypes or states do not fit.
        """
        self._check(inputs, targets, decoding)
        state = self._encoder.initial_state(inputs.shape[1])
        self._check_states(state, self._decoder.initial_state(inputs.shape[1]))
        _, state = unrolling.unroll(self._encoder, inputs, state, lengths=lengths)
        if decoding == 'non_autoregressive':
            fed = jnp.zeros((*targets.shape, inputs.shape[-1]), inputs.dtype)
        elif decoding == 'teacher_forcing' and teacher:
            fed = shifted_one_hots(targets, inputs.shape[-1]).astype(inputs.dtype)
        else:
            return self._feed_back(inputs, targets.shape[0], state)
        outputs, _ = unrolling.unroll(self._decoder, fed, state)
        return self._classify(outputs)

    def _feed_back(self, inputs: chex.Array, num_steps: int, state: chex.ArrayTree) -> chex.Array:
        """Returns the logits [A, B, V] of a decoder that is fed what it has just said."""

        def advance(now: chex.Array, before: tuple) -> tuple[chex.Array, tuple]:
            del now
            fed, state = before
            output, state = self._decoder(fed, state)
            logits = self._classify(output)
            choice = jax.nn.one_hot(jnp.argmax(logits, axis=-1), fed.shape[-1], dtype=fed.dtype)
            return logits, (choice, state)

        start = jnp.zeros_like(inputs[0]), state
        return hk.dynamic_unroll(advance, jnp.arange(num_steps), start)[0]

    def _classify(self, outputs: chex.Array) -> chex.Array:
        """Returns logits [..., V] of a core's outputs [..., Y]."""
        return self._logits(self._mlp(outputs))

    def _check(self, inputs: chex.Array, targets: chex.Array, decoding: str) -> None:
        """Raises where arguments do not fit; lengths are looked at by `unroll`."""
        if decoding not in DECODINGS:
            raise ValueError(f'decoding is one of {DECODINGS}, got {decoding!r}.')
        if inputs.ndim != 3 or 0 in inputs.shape or inputs.shape[-1] < self._num_classes:
            raise ValueError(
                f'inputs are [T, B, D], none of them 0, with room for {self._num_classes} classes '
                f'in D, got shape {inputs.shape}.'
            )
        if not jnp.issubdtype(inputs.dtype, jnp.floating):
            raise ValueError(f'inputs are of a floating dtype, got {inputs.dtype}.')
        if targets.ndim != 2 or 0 in targets.shape or targets.shape[1] != inputs.shape[1]:
            raise ValueError(
                f'targets are [A, B] with B = {inputs.shape[1]} as in the inputs and at least one '
                f'step, got shape {targets.shape}.'
            )
        if not jnp.issubdtype(targets.dtype, jnp.integer):
            raise ValueError(f'targets are of an integer dtype, got {targets.dtype}.')

    @staticmethod
    def _check_states(encoded: chex.ArrayTree, decoded: chex.ArrayTree) -> None:
        """Raises unless the states of both cores are alike."""
        ours, theirs = (jax.tree.map(jnp.shape, state) for state in (encoded, decoded))
        if ours != theirs:
            raise ValueError(
                f"the decoder's state has the shapes of the encoder's, {ours}, got {theirs}."
            )


def shifted_one_hots(ids: chex.Array, size: int) -> chex.Array:
    """Returns what a decoder is fed that is told the class before: zeros first, then one-hots.

    Args:
      ids: class ids [A, B].
      size: D.

    Returns:
      [A, B, D].
    """
    one_hots = jax.nn.one_hot(ids[:-1], size)
    return jnp.concatenate([jnp.zeros((1, *one_hots.shape[1:])), one_hots])


@contextlib.contextmanager
def multiplying_in(dtype: Any) -> Iterator[None]:
    """Lets cores and linear layers multiply matrices in a dtype as long as the context lasts.

    What they own, take, keep and give stays float32; other modules do not notice.

    Args:
      dtype: `jnp.bfloat16`; with `jnp.float32` nothing changes.
    """
    with contextlib.ExitStack() as policies:
        if dtype != jnp.float32:
            policy = jmp.Policy(jnp.float32, dtype, jnp.float32)
            for module in MULTIPLIERS:
                policies.enter_context(hk.mixed_precision.push_policy(module, policy))
        yield


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
