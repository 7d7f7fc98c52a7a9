"""An agent's network: convolutions, a recurrent core, and a policy and a value of its output.

Santoro et al. 2018, "Relational recurrent neural networks", appendix A.3,
https://arxiv.org/abs/1806.01822: two convolutions of 12 and 24 kernels of 2 x 2, each with ReLU,
two more feature maps of the coordinates x and y, evenly from -1 to 1, and a recurrent core, whose
output a policy and a value read.

Not stated there: padding (here a map keeps its size, for their other core is a "5 x 5 ConvLSTM" on
images of 5 x 5), how the map enters the memory (`cells`), and the heads (here linear). The last
action and reward are no inputs.

Glossary of shapes:
  T: time; B: batch; H, W, C: height, width and channels of an observation; A: actions.
  K: cells of the map, H W; D: features of a cell, 24 + 2.
"""

from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from relational_rnn import checks, unrolling

# How a map enters a core: every cell a row of its own [B, K, D], one vector [B, K D], or as it is.
CELLS = ('rows', 'flat', 'map')
CHANNELS = (12, 24)


class Output(NamedTuple):
    """The network's estimates for an observation."""

    logits: jax.Array  # [..., A], of the policy
    value: jax.Array  # [...], the discounted return from here on


class ActorCritic(hk.Module):
    """The network; `step` and `unroll` give the same numbers."""

    def __init__(
        self, core: hk.RNNCore, num_actions: int, cells: str = 'rows', name: str | None = None
    ):
        """Makes a network around a core.

        Args:
          core: the recurrent core, which takes what `cells` makes of a map; its output may have any
            shape. A ConvLSTM is `hk.Conv2DLSTM`.
          num_actions: A.
          cells: one of `CELLS`; 'rows' only for a `RelationalMemory`, 'map' for a `Conv2DLSTM`.
          name: the module's name.

        Raises:
          ValueError: for unknown `cells` or fewer than 2 actions.
        """
        super().__init__(name=name)
        checks.check_choice('cells', cells, CELLS)
        if num_actions < 2:
            raise ValueError(f'num_actions is at least 2, got {num_actions}.')
        self._core, self._cells = core, cells
        # As products over patches: on CPU the gradient of XLA's convolution takes 10 to 20 times
        # as long on images of 5 x 5 x 3. Numbers and initial values are those of `hk.Conv2D`.
        self._convolutions = [hk.Linear(size, name='convolution') for size in CHANNELS]
        self._policy = hk.Linear(num_actions, name='policy')
        self._value = hk.Linear(1, name='value')

    def initial_state(self, batch_size: int) -> Any:
        """Returns the core's state at the beginning of episodes."""
        return self._core.initial_state(batch_size)

    def step(
        self, observation: jax.Array, reset: jax.Array, state: unrolling.StateT
    ) -> tuple[Output, unrolling.StateT]:
        """Runs one step.

        Args:
          observation: [B, H, W, C].
          reset: [B] bool, whether it is the first of an episode.
          state: the core's, before this step.

        Returns:
          The output, [B, ...], and the core's next state.

        Raises:
          ValueError: if the observation has another rank.
        """
        output, state = self.unroll(observation[None], reset[None], state)
        return jax.tree.map(lambda x: x[0], output), state

    def unroll(
        self, observations: jax.Array, resets: jax.Array, state: unrolling.StateT
    ) -> tuple[Output, unrolling.StateT]:
        """Runs all steps of trajectories.

        Args:
          observations: [T, B, H, W, C].
          resets: [T, B] bool, whether an observation is the first of an episode.
          state: the core's, before the first step.

        Returns:
          The outputs, [T, B, ...], and the core's state after the last step.

        Raises:
          ValueError: if the observations have another rank.
        """
        if observations.ndim != 5:
            shape = observations.shape
            raise ValueError(f'observations are [T, B, H, W, C], got shape {shape}.')
        features = self.features(observations.reshape(-1, *observations.shape[2:]))
        features = features.reshape(*resets.shape, *features.shape[1:])
        outputs, state = unrolling.unroll(self._core, features, state, resets)
        outputs = outputs.reshape(*resets.shape, -1)
        return Output(self._policy(outputs), self._value(outputs)[..., 0]), state

    def features(self, images: jax.Array) -> jax.Array:
        """Returns the core's inputs for images [T B, H, W, C], as in `CELLS`."""
        for convolution in self._convolutions:
            images = jax.nn.relu(convolution(patches(images)))
        features = add_coordinates(images)
        if self._cells == 'map':
            return features
        size, *_, channels = features.shape  # size may be symbolic, as `jax.export` has it
        rows = features.reshape(size, -1, channels)
        return rows if self._cells == 'rows' else rows.reshape(size, -1)


def patches(images: jax.Array) -> jax.Array:
    """Joins every pixel with its right, lower and lower right neighbour, zeros outside.

    Args:
      images: [..., H, W, C].

    Returns:
      [..., H, W, 4 C].
    """
    height, width = images.shape[-3:-1]
    padded = jnp.pad(images, [(0, 0)] * (images.ndim - 3) + [(0, 1), (0, 1), (0, 0)])
    shifted = [padded[..., y : y + height, x : x + width, :] for y in (0, 1) for x in (0, 1)]
    return jnp.concatenate(shifted, axis=-1)


def add_coordinates(images: jax.Array) -> jax.Array:
    """Adds two feature maps, x and y of every cell, evenly in [-1, 1]: C -> C + 2."""
    *batch, height, width, _ = images.shape
    y, x = jnp.meshgrid(jnp.linspace(-1, 1, height), jnp.linspace(-1, 1, width), indexing='ij')
    coordinates = jnp.stack([x, y], axis=-1).astype(images.dtype)
    coordinates = jnp.broadcast_to(coordinates, (*batch, height, width, 2))
    return jnp.concatenate([images, coordinates], axis=-1)
