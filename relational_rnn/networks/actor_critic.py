"""An agent's network: it sees pictures, remembers, and says what to do and how good things are.

Santoro et al. 2018, "Relational recurrent neural networks", appendix A.3,
https://arxiv.org/abs/1806.01822: two convolutions of 12 and 24 kernels of 2 x 2, each with ReLU,
two more feature maps that tell a cell's place, x and y, evenly from -1 to 1, and a recurrent core,
whose output a policy and a value read.

Not stated there: padding (here a map keeps its size, for their other core is a "5 x 5 ConvLSTM" on
pictures of 5 x 5), how the map enters the memory (`cells`), and the heads (here linear). The last
action and reward are no inputs.

Glossary of shapes:
  T: time; B: batch; H, W, C: height, width and channels of an observation; A: actions.
  K: cells of the map, H W; D: what is known of a cell, 24 + 2.
"""

from typing import Any, NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from relational_rnn import unrolling

# How a map enters a core: every cell a row of its own [B, K, D], one vector [B, K D], or as it is.
CELLS = ('rows', 'flat', 'map')
CHANNELS = (12, 24)


class Output(NamedTuple):
    """What an agent says of an observation."""

    logits: chex.Array  # [..., A], of the policy
    value: chex.Array  # [...], of all rewards to come


class FeedForward(hk.RNNCore):
    """A core that remembers nothing: a layer with ReLU, inputs [B, D], outputs [B, units]."""

    def __init__(self, num_units: int, name: str | None = None):
        super().__init__(name=name)
        self._layer = hk.Linear(num_units)

    def __call__(self, inputs: chex.Array, state: tuple[()]) -> tuple[chex.Array, tuple[()]]:
        """Returns the output [B, units] and the state, which holds nothing."""
        return jax.nn.relu(self._layer(inputs)), state

    def initial_state(self, batch_size: int | None) -> tuple[()]:
        """Returns a state without arrays."""
        del batch_size
        return ()


class ActorCritic(hk.Module):
    """The network; `step` and `unroll` give the same numbers."""

    def __init__(
        self, core: hk.RNNCore, num_actions: int, cells: str = 'rows', name: str | None = None
    ):
        """Makes a network around a core.

        Args:
          core: what remembers, fit for what `cells` makes of a map; its output may have any shape.
          num_actions: A.
          cells: one of `CELLS`; 'rows' only for a `RelationalMemory`, 'map' for a `Conv2DLSTM`.
          name: the module's name.

        Raises:
          ValueError: for unknown `cells` or fewer than 2 actions.
        """
        super().__init__(name=name)
        if cells not in CELLS:
            raise ValueError(f'cells is one of {", ".join(CELLS)}, got {cells!r}.')
        if num_actions < 2:
            raise ValueError(f'num_actions is at least 2, got {num_actions}.')
        self._core, self._cells = core, cells
        self._convolutions = [_Convolution(channels) for channels in CHANNELS]
        self._policy = hk.Linear(num_actions, name='policy')
        self._value = hk.Linear(1, name='value')

    def initial_state(self, batch_size: int) -> Any:
        """Returns the core's state at the beginning of episodes."""
        return self._core.initial_state(batch_size)

    def step(self, observation: chex.Array, reset: chex.Array, state: Any) -> tuple[Output, Any]:
        """Says what to do now.

        Args:
          observation: [B, H, W, C].
          reset: [B] bool, whether it is the first of an episode.
          state: the core's, before this step.

        Returns:
          What the network says, [B, ...], and the core's next state.

        Raises:
          ValueError: if the observation has another rank.
        """
        output, state = self.unroll(observation[None], reset[None], state)
        return jax.tree.map(lambda x: x[0], output), state

    def unroll(
        self, observations: chex.Array, resets: chex.Array, state: Any
    ) -> tuple[Output, Any]:
        """Says what to do at every step of trajectories.

        Args:
          observations: [T, B, H, W, C].
          resets: [T, B] bool, whether an observation is the first of an episode.
          state: the core's, before the first step.

        Returns:
          What the network says, [T, B, ...], and the core's state after the last step.

        Raises:
          ValueError: if the observations have another rank.
        """
        if observations.ndim != 5:
            shape = observations.shape
            raise ValueError(f'observations are [T, B, H, W, C], got shape {shape}.')
        seen = self._look(observations.reshape(-1, *observations.shape[2:]))
        seen = seen.reshape(*resets.shape, *seen.shape[1:])
        outputs, state = unrolling.unroll(self._core, seen, state, resets)
        outputs = outputs.reshape(*resets.shape, -1)
        return Output(self._policy(outputs), self._value(outputs)[..., 0]), state

    def _look(self, pictures: chex.Array) -> chex.Array:
        """Returns what the core sees of pictures [T B, H, W, C], in the shape of `CELLS`."""
        for convolution in self._convolutions:
            pictures = jax.nn.relu(convolution(pictures))
        cells = add_places(pictures)
        if self._cells == 'map':
            return cells
        rows = cells.reshape(cells.shape[0], -1, cells.shape[-1])
        return rows if self._cells == 'rows' else rows.reshape(rows.shape[0], -1)


class _Convolution(hk.Module):
    """A convolution of 2 x 2, stride 1, as a product over neighbours, [..., H, W, C] -> channels.

    The numbers and the initial values are those of `hk.Conv2D(channels, 2)`; on CPU the gradient
    of XLA's convolution took 10 to 20 times as long on pictures of 5 x 5 x 3.
    """

    def __init__(self, channels: int, name: str | None = None):
        super().__init__(name=name or 'convolution')
        self._layer = hk.Linear(channels, name='neighbours')

    def __call__(self, pictures: chex.Array) -> chex.Array:
        return self._layer(neighbours(pictures))


def neighbours(pictures: chex.Array) -> chex.Array:
    """Puts every pixel, right, lower and lower right neighbour side by side, zeros outside.

    Args:
      pictures: [..., H, W, C].

    Returns:
      [..., H, W, 4 C].
    """
    height, width = pictures.shape[-3:-1]
    padded = jnp.pad(pictures, [(0, 0)] * (pictures.ndim - 3) + [(0, 1), (0, 1), (0, 0)])
    shifted = [padded[..., y : y + height, x : x + width, :] for y in (0, 1) for x in (0, 1)]
    return jnp.concatenate(shifted, axis=-1)


def add_places(pictures: chex.Array) -> chex.Array:
    """Adds two feature maps, x and y of every cell, evenly in [-1, 1]: C -> C + 2."""
    *batch, height, width, _ = pictures.shape
    y, x = jnp.meshgrid(jnp.linspace(-1, 1, height), jnp.linspace(-1, 1, width), indexing='ij')
    places = jnp.stack([x, y], axis=-1).astype(pictures.dtype)
    places = jnp.broadcast_to(places, (*batch, height, width, 2))
    return jnp.concatenate([pictures, places], axis=-1)
