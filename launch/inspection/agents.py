"""Episodes of an agent for an inspection: the world at every step, and what the agent does there.

A step is an observation, and its answers are the actions with their probabilities. The action that
is taken, which names the step, is sampled from them, as in training.

Glossary of shapes:
  T: steps of an episode; H, W, C: height, width and channels of an observation; A: actions.
"""

from typing import Any

import jax
import numpy as np

from launch.agents import network as network_lib
from launch.inspection import tracing
from launch.runs import errors
from launch.trained import agent as agent_lib
from launch.viewer import agents, environments, episodes, pictures

_ABOUT = (
    'An agent acts to collect rewards. The map shows the whole world; bright is what the agent '
    'observes at this step, all that it knows besides its memory. '
)
_CELLS = (
    'Each square of what it observes is an input to which slots attend: square 2, 3 is in row 2, '
    'column 3.'
)


def inspect(request: tracing.Request) -> tracing.Subject:
    """Opens a run of `boxworld` or `mini_pacman`.

    Raises:
      RunError, DataError: the run cannot be used, or there is a prompt.
    """
    experiment = agents.experiment_of(request.run_dir, None)
    if request.prompt:
        raise errors.RunError(errors.USAGE, f'--prompt: {experiment.name} reads no text')
    run = agent_lib.load(experiment, request.run_dir)
    height, width, _ = run.environment.observation_spec.shape
    squares = [f'square {row + 1}, {column + 1}' for row, column in np.ndindex(height, width)]
    rows = run.config.cells == 'rows'
    return tracing.Subject(
        f'{experiment.title(run.config)}, after {run.num_updates:,} updates',
        lambda: network_lib.make_core(run.config, run.environment),
        run.params,
        tuple(_example(run, request, number) for number in range(request.num_examples)),
        about=_ABOUT + (_CELLS if rows else 'It is one input.'),
        answers='Actions and value',
        inputs=tuple(squares) if rows else ('window',),
        input_columns=width if rows else 0,
    )


def _example(run: agent_lib.Agent, request: tracing.Request, number: int) -> tracing.Example:
    """Plays an episode, by its number, from its reset on, and describes it."""
    step = episodes.first(run.environment, request.seed, number)
    key = jax.random.fold_in(jax.random.key(request.seed), number)
    memory, observations, maps = run.initial_state(), [], []
    steps: list[tracing.Step] = []
    while not step.timestep.last and len(steps) < request.max_steps:
        observations.append(step.timestep.observation)
        scene = environments.scene(run.environment, step.state)
        maps.append(pictures.shade(scene.picture, scene.visible, hide=False))
        output, memory = run.step(observations[-1], memory)
        action = int(jax.random.categorical(jax.random.fold_in(key, len(steps)), output.logits))
        steps.append(_describe(run.environment, step, scene.status, output, action))
        step = episodes.advance(run.environment, step, action)
    end = environments.ending(run.environment, step.timestep) or 'not over yet'
    title = f'episode {number + 1}: {step.length} steps, return {step.episode_return:g}; {end}'
    inputs = np.asarray(run.network.features(run.params, np.stack(observations)))
    return tracing.Example(title, inputs, tuple(steps), pictures=np.stack(maps))


def _describe(
    environment: Any, step: episodes.Step, status: str, output: Any, action: int
) -> tracing.Step:
    """Describes a step, whose output has logits [A] and a value []."""
    names = environment.action_names
    reward = float(step.timestep.reward)
    return tracing.Step(
        names[action],
        f'the agent takes {names[action]}; return so far {step.episode_return:g}; {status}',
        f'reward {reward:+g}' if reward else '',
        tracing.rank_answers(np.asarray(jax.nn.softmax(output.logits)), lambda i: names[i]),
        value=float(output.value),
    )
