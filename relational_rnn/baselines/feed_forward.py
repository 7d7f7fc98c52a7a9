"""A core without memory, as a baseline.

Glossary of shapes:
  B: batch; D: input size.
"""

import haiku as hk
import jax


class FeedForward(hk.RNNCore):
    """A layer with ReLU: inputs [B, D], outputs [B, num_units], and a state without arrays."""

    def __init__(self, num_units: int, name: str | None = None):
        super().__init__(name=name)
        self._layer = hk.Linear(num_units)

    def __call__(self, inputs: jax.Array, state: tuple[()]) -> tuple[jax.Array, tuple[()]]:
        """Returns the output [B, num_units] and the state."""
        return jax.nn.relu(self._layer(inputs)), state

    def initial_state(self, batch_size: int | None) -> tuple[()]:
        """Returns a state without arrays."""
        del batch_size
        return ()
