"""Classifies a sequence by the output of a core after its last step.

Santoro et al. 2018, "Relational recurrent neural networks", appendix A.1,
https://arxiv.org/abs/1806.01822: after the core an MLP of 4 x 256 units, ReLU on all of its layers,
and a linear map to logits. Their encoder-decoder (appendix A.2) has the same MLP.

Glossary of shapes:
  T: time; B: batch; D: input size; Y: output size of the core; V: classes.
"""

from collections.abc import Sequence

import haiku as hk
import jax

from relational_rnn import checks, unrolling

LAYERS = (256, 256, 256, 256)


class SequenceClassifier(hk.Module):
    """Gives the logits of a sequence's class."""

    def __init__(
        self,
        core: hk.RNNCore,
        num_classes: int,
        layers: Sequence[int] = LAYERS,
        name: str | None = None,
    ):
        """Makes a network around a core.

        Args:
          core: the recurrent core.
          num_classes: V.
          layers: units of the layers between the core's output and the logits.
          name: the module's name.

        Raises:
          ValueError: if there are no classes.
        """
        super().__init__(name=name)
        self._core = core
        self._head = ClassifierHead(num_classes, layers, name='head')

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Returns the logits [B, V] of sequences [T, B, D]."""
        outputs, _ = unrolling.unroll(self._core, inputs, self._core.initial_state(inputs.shape[1]))
        return self._head(outputs[-1])


class ClassifierHead(hk.Module):
    """The MLP from a core's output to logits, [..., Y] -> [..., V]."""

    def __init__(self, num_classes: int, layers: Sequence[int] = LAYERS, name: str | None = None):
        """Makes a head of `layers` with ReLU and a linear map to `num_classes` logits."""
        super().__init__(name=name)
        checks.check_counts(num_classes=num_classes)
        self._mlp = hk.nets.MLP(layers, activate_final=True, name='mlp')
        self._logits = hk.Linear(num_classes, name='logits')

    def __call__(self, outputs: jax.Array) -> jax.Array:
        """Returns the logits [..., V] of a core's outputs [..., Y]."""
        return self._logits(self._mlp(outputs))
