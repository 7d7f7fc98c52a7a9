"""The Differentiable Neural Computer as a Haiku module; the arithmetic is in `dnc_memory`.

Graves et al. 2016, "Hybrid computing using a neural network with dynamic external memory", Nature
538, 471-476, Methods, https://doi.org/10.1038/nature20101. From the authors' code,
https://github.com/google-deepmind/dnc, comes that values are clipped.

Glossary of shapes:
  B: batch; D: input size; Y: output size; N: rows of the memory; W: word size, the width of a row.
  R: read heads; H: write heads.
"""

from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from relational_rnn import checks
from relational_rnn.baselines import dnc_memory

CONTROLLERS = ('lstm', 'feed_forward')


class DNC(hk.RNNCore):
    """A controller with an external memory.

    Takes inputs `[B, D]` and a `DNCState`, or the same without B; returns outputs `[B, Y]` and the
    next state. The controller sees the input and what was read at the step before; the output is a
    linear map of the controller's output and of what is read at this step.

    Memory and controller run in float32 at least. For linear maps in bfloat16 set a jmp policy
    (`hk.mixed_precision`) for `hk.Linear`; the addressing stays in float32.
    """

    def __init__(
        self,
        memory_size: int,
        word_size: int,
        num_reads: int,
        num_writes: int,
        controller_size: int,
        output_size: int | None = None,
        controller: str = 'lstm',
        controller_layers: int = 2,
        clip_value: float | None = 20.0,
        name: str | None = None,
    ):
        """Makes a core.

        Args:
          memory_size: N.
          word_size: W.
          num_reads: R.
          num_writes: H.
          controller_size: units of each of the controller's layers.
          output_size: Y; None for controller_size.
          controller: 'lstm', layers with skip connections from the input and to the memory, or
            'feed_forward', an MLP with ReLU.
          controller_layers: layers of the controller.
          clip_value: the greatest magnitude of the controller's state and output and of the core's
            output; None for no limit.
          name: the module's name.

        Raises:
          ValueError: for a count below 1, an unknown controller, or a clip_value of 0 or less.
        """
        super().__init__(name=name)
        output_size = controller_size if output_size is None else output_size
        checks.check_counts(memory_size=memory_size, word_size=word_size, num_reads=num_reads)
        checks.check_counts(num_writes=num_writes, controller_size=controller_size)
        checks.check_counts(output_size=output_size, controller_layers=controller_layers)
        checks.check_choice('controller', controller, CONTROLLERS)
        if clip_value is not None and not clip_value > 0:
            raise ValueError(f'clip_value is greater than 0, or None, got {clip_value}.')
        self._heads = num_reads, num_writes, word_size
        self._memory_size = memory_size
        self._clip_value = clip_value
        self._controller = _make_controller(controller, controller_size, controller_layers)
        self._interface = hk.Linear(dnc_memory.interface_size(*self._heads), name='interface')
        self._output = hk.Linear(output_size, name='output')

    def __call__(
        self, inputs: jax.Array, state: dnc_memory.DNCState
    ) -> tuple[jax.Array, dnc_memory.DNCState]:
        """Runs one step.

        Args:
          inputs: [B, D]; without B if the state has none.
          state: the state before the step.

        Returns:
          The output [B, Y] or [Y], and the next state.

        Raises:
          ValueError: if the shapes or dtypes of inputs and state do not fit.
        """
        checks.check_inputs(inputs, checks.check_state(state, dnc_memory.DNCState, *self._shapes()))
        checks.check_floating('the state is', *jax.tree.leaves(state))
        inputs = inputs.astype(jnp.promote_types(inputs.dtype, jnp.float32))
        joined = _join(inputs, state.read_vectors)
        hidden, controller = self._clip(self._controller(joined, state.controller))
        # Keeping a step's many [B, H, N, N] for the backward pass costs more time, a third at
        # N = 80 on CPU, than computing them again.
        access = jax.checkpoint(dnc_memory.step, prevent_cse=False)
        after = access(dnc_memory.split_interface(self._interface(hidden), *self._heads), state)
        output = self._clip(self._output(_join(hidden, after.read_vectors)))
        after = after._replace(controller=controller)
        return output, jax.tree.map(lambda new, old: new.astype(old.dtype), after, state)

    def initial_state(self, batch_size: int | None) -> dnc_memory.DNCState:
        """Returns an empty memory of zeros, unread; without B if `batch_size` is None."""
        batch = () if batch_size is None else (batch_size,)
        zeros = [jnp.zeros((*batch, *shape)) for shape in self._shapes()]
        return dnc_memory.DNCState._make([*zeros, self._controller.initial_state(batch_size)])

    def _shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of a state's arrays but the controller's, without B."""
        rows, (reads, writes, word) = self._memory_size, self._heads
        weights = (reads, rows), (writes, rows)
        return (rows, word), (reads, word), *weights, (rows,), (writes, rows, rows), weights[1]

    def _clip(self, values: Any) -> Any:
        """Bounds the magnitude of every number of a tree, if there is a limit."""
        limit = self._clip_value
        if limit is None:
            return values
        return jax.tree.map(lambda x: jnp.clip(x, -limit, limit), values)


def _join(x: jax.Array, read_vectors: jax.Array) -> jax.Array:
    """Concatenates [..., D] and [..., R, W] to [..., D + R W]."""
    words = read_vectors.reshape(*read_vectors.shape[:-2], -1)
    return jnp.concatenate([x, words.astype(x.dtype)], axis=-1)


def _make_controller(kind: str, size: int, num_layers: int) -> hk.RNNCore:
    if kind == 'feed_forward':
        mlp = hk.nets.MLP([size] * num_layers, activate_final=True, name='controller')
        return hk.DeepRNN([mlp])
    layers = [hk.LSTM(size, name=f'controller_{i}') for i in range(num_layers)]
    return hk.deep_rnn_with_skip_connections(layers)
