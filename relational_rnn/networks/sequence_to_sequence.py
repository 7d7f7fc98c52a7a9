"""An encoder-decoder: one core reads a sequence, and its last state starts the decoding core.

Santoro et al. 2018, "Relational recurrent neural networks", section 4.1 and appendix A.2,
https://arxiv.org/abs/1806.01822: the encoder reads a program character by character, the decoder
gives the digits of its result. The paper's best results were with a decoder whose inputs are zeros,
in training as in evaluation, so that the answer comes from the memory alone. Its words on that,
"model predictions only were used during training", may also mean a decoder whose inputs are its own
predictions; both are here.

Glossary of shapes:
  T: time; B: batch; D: input size; A: steps of an answer; Y: output size of a core; V: classes.
"""

from collections.abc import Sequence
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from relational_rnn import checks, unrolling
from relational_rnn.networks import sequence_classifier

# The decoder's inputs: zeros; its own last prediction; in training the true one, else its own.
DECODINGS = ('non_autoregressive', 'autoregressive', 'teacher_forcing')


class SequenceToSequence(hk.Module):
    """Encodes a sequence with one core and decodes another, classes by the paper's MLP."""

    def __init__(
        self,
        encoder: hk.RNNCore,
        decoder: hk.RNNCore,
        num_classes: int,
        layers: Sequence[int] = sequence_classifier.LAYERS,
        name: str | None = None,
    ):
        """Makes a network around two cores, or around one.

        Args:
          encoder: reads the inputs.
          decoder: takes inputs and has states like the encoder, or is the same object, which
            shares the weights.
          num_classes: V, at most D.
          layers: units of the layers between the decoder's output and the logits.
          name: the module's name.

        Raises:
          ValueError: if there are no classes.
        """
        super().__init__(name=name)
        self._encoder = encoder
        self._decoder = decoder
        self._num_classes = num_classes
        self._head = sequence_classifier.ClassifierHead(num_classes, layers, name='head')

    def __call__(
        self,
        inputs: jax.Array,
        lengths: checks.AnyArray,
        targets: checks.AnyArray,
        decoding: str = 'non_autoregressive',
        is_training: bool = False,
    ) -> jax.Array:
        """Returns the logits of every step of the answers.

        Args:
          inputs: [T, B, D]; what they hold past the lengths does not matter.
          lengths: [B] whole numbers, of the sequences to read.
          targets: class ids [A, B]; their values are used only in training with teacher forcing.
          decoding: one of `DECODINGS`. The first input is always zeros; a class is fed as a one-hot
            of size D, and no gradient goes through the choice of a class.
          is_training: only then does teacher forcing use the targets.

        Returns:
          [A, B, V].

        Raises:
          ValueError: for another decoding, and if the shapes, dtypes or states do not fit.
        """
        self._check(inputs, targets, decoding)
        state = self._encoder.initial_state(inputs.shape[1])
        _check_states(state, self._decoder.initial_state(inputs.shape[1]))
        _, state = unrolling.unroll(self._encoder, inputs, state, lengths=lengths)
        if decoding == 'non_autoregressive':
            fed = jnp.zeros((*targets.shape, inputs.shape[-1]), inputs.dtype)
        elif decoding == 'teacher_forcing' and is_training:
            fed = shifted_one_hots(targets, inputs.shape[-1]).astype(inputs.dtype)
        else:
            return self._feed_back(jnp.zeros_like(inputs[0]), state, len(targets))
        outputs, _ = unrolling.unroll(self._decoder, fed, state)
        return self._head(outputs)

    def _feed_back(self, inputs: jax.Array, state: Any, num_steps: int) -> jax.Array:
        """Returns the logits [A, B, V] of a decoder whose inputs are its own predictions."""

        def advance(now: None, carry: tuple) -> tuple[jax.Array, tuple]:
            del now
            fed, state = carry
            output, state = self._decoder(fed, state)
            logits = self._head(output)
            choice = jax.nn.one_hot(jnp.argmax(logits, axis=-1), fed.shape[-1], dtype=fed.dtype)
            return logits, (choice, state)

        return hk.dynamic_unroll(advance, jnp.arange(num_steps), (inputs, state))[0]

    def _check(self, inputs: jax.Array, targets: checks.AnyArray, decoding: str) -> None:
        """Raises where arguments do not fit; `unroll` checks the lengths."""
        checks.check_choice('decoding', decoding, DECODINGS)
        if inputs.ndim != 3 or 0 in inputs.shape or inputs.shape[-1] < self._num_classes:
            raise ValueError(
                f'inputs are [T, B, D], none of them 0, with room for {self._num_classes} classes '
                f'in D, got shape {inputs.shape}.'
            )
        checks.check_floating('inputs are', inputs)
        if targets.ndim != 2 or 0 in targets.shape or targets.shape[1] != inputs.shape[1]:
            raise ValueError(
                f'targets are [A, B] with B = {inputs.shape[1]} as in the inputs and at least one '
                f'step, got shape {targets.shape}.'
            )
        if not jnp.issubdtype(targets.dtype, jnp.integer):
            raise ValueError(f'targets are of an integer dtype, got {targets.dtype}.')


def _check_states(encoded: Any, decoded: Any) -> None:
    """Raises unless the states of both cores are alike."""
    ours, theirs = (jax.tree.map(jnp.shape, state) for state in (encoded, decoded))
    if ours != theirs:
        raise ValueError(
            f"the decoder's state has the shapes of the encoder's, {ours}, got {theirs}."
        )


def shifted_one_hots(ids: checks.AnyArray, size: int) -> jax.Array:
    """Returns the inputs of a decoder with teacher forcing: zeros first, then the class before.

    Args:
      ids: class ids [A, B].
      size: D.

    Returns:
      One-hots [A, B, D].
    """
    one_hots = jax.nn.one_hot(ids[:-1], size)
    return jnp.concatenate([jnp.zeros((1, *one_hots.shape[1:])), one_hots])
