"""A trained run of `nth_farthest`.

Glossary of shapes:
  N: vectors of a sequence; D: dimensions; B: sequences.
"""

import dataclasses
import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp

from launch import nth_farthest as program
from launch.farthest import learning
from launch.trained import exporting
from launch.trained import run as run_lib
from tasks import nth_farthest


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class NthFarthest(run_lib.Run):
    """A network that was trained to answer which vector is the nth farthest from vector m."""

    network: learning.Network  # as pure functions of the parameters

    def logits(self, vectors: Any, labels: Any, n: Any, m: Any) -> chex.Array:
        """Returns the logits [B, N] of each label to be the answer.

        Args:
          vectors: [N, B, D] in [-1, 1), in the order in which they are shown.
          labels: [N, B] from 0 to N - 1, of the vectors.
          n: [B], 0 for the farthest.
          m: [B], a label.

        Raises:
          ValueError: the run was trained on other sizes.
        """
        vectors, labels, n, m = map(jnp.asarray, (vectors, labels, n, m))
        sizes = self.config.num_objects, self.config.num_dims
        if vectors.ndim != 3 or vectors.shape[::2] != sizes:
            wanted = f'wanted [{sizes[0]}, B, {sizes[1]}] as in training'
            raise ValueError(f'vectors: {wanted}, got {vectors.shape}')
        questions = nth_farthest.make_questions(vectors, labels, n, m)
        return self._logits(self.params, questions.inputs)

    def predict(self, vectors: Any, labels: Any, n: Any, m: Any) -> chex.Array:
        """Returns the answers, labels [B]; the arguments are those of `logits`."""
        return jnp.argmax(self.logits(vectors, labels, n, m), axis=-1)

    def servable(self) -> exporting.Servable:
        """Returns the network, of 'inputs' [N, B, D + 3 N] of `tasks.nth_farthest` to 'logits'."""

        def call(params: chex.ArrayTree, inputs: dict, state: tuple) -> tuple:
            return {'logits': self._apply(params, inputs['inputs'])}, state

        shape = f'{self.config.num_objects}, b, {self.config.input_size}'
        return exporting.Servable(call, {'inputs': ('float32', shape)}, ())

    def _apply(self, params: chex.ArrayTree, inputs: chex.Array) -> chex.Array:
        return self.network.apply(params, learning.scale(self.config, inputs))[0][0]

    @functools.cached_property
    def _logits(self) -> Any:
        return jax.jit(self._apply)


def load(run_dir: str) -> NthFarthest:
    """Loads a run of `nth_farthest`; raises as `loading.load`."""
    loaded: NthFarthest = run_lib.load(
        NthFarthest, program.EXPERIMENT, run_dir, learning.make_network
    )
    return loaded
