"""A trained agent, of `boxworld` or `mini_pacman`.

Glossary of shapes:
  B: batch; H, W, C: height, width and channels of an observation; A: actions. Where B is 1, its
  axis may be left out.
"""

import dataclasses
import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from launch.agents import network as network_lib
from launch.trained import exporting
from launch.trained import run as run_lib
from launch.training import experiment as experiment_lib
from relational_rnn.networks import actor_critic


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Agent(run_lib.Run):
    """A trained agent."""

    environment: Any  # in which it was trained, a `tasks.base.Environment`
    network: network_lib.Network  # as pure functions of the parameters

    def initial_state(self, batch_size: int = 1) -> Any:
        """Returns the memory at the start of B episodes, [B, ...]."""
        return self.network.initial_state(batch_size)

    def step(
        self, observation: Any, state: Any, reset: Any = False
    ) -> tuple[actor_critic.Output, Any]:
        """Observes one time step of each episode.

        Args:
          observation: [B, H, W, C] or [H, W, C].
          state: the memory [B, ...], of `initial_state` or of the step before.
          reset: [B] or [] bool, whether it is the first step of an episode, for which the memory
            is reset to its initial state.

        Returns:
          `logits` of the actions and `value`, [B, ...] or [...], and the memory after this step.
        """
        observation = jnp.asarray(observation, jnp.float32)
        batch = observation if observation.ndim == 4 else observation[None]
        resets = np.broadcast_to(np.asarray(reset, bool), batch.shape[:1])
        output, state = self._step(self.params, batch, resets, state)
        return output if observation.ndim == 4 else jax.tree.map(lambda x: x[0], output), state

    def servable(self) -> exporting.Servable:
        """Returns `step`: 'observation' [B, H, W, C] and 'reset' [B] to 'logits' and 'value'."""

        def call(params: chex.ArrayTree, inputs: dict, state: Any) -> tuple:
            output, state = self.network.step(params, inputs['observation'], inputs['reset'], state)
            return output._asdict(), state

        shape = ', '.join(map(str, ('b', *self.environment.observation_spec.shape)))
        inputs = {'observation': ('float32', shape), 'reset': ('bool', 'b')}
        about = {'actions': list(self.environment.action_names)}
        return exporting.Servable(call, inputs, self.initial_state(), about)

    @functools.cached_property
    def _step(self) -> Any:
        return jax.jit(self.network.step)


def load(experiment: experiment_lib.Experiment, run_dir: str) -> Agent:
    """Loads a run of an experiment with an agent; raises as `loading.load`."""
    config, _, metadata = experiment_lib.read(experiment, run_dir)
    environment = config.environment()
    network = network_lib.make(config, environment)
    params, step = experiment_lib.load_params(run_dir, network.init)
    return Agent(run_dir, experiment.name, config, metadata, step, params, environment, network)
