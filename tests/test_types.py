"""What a type checker knows of a user's program: arrays and states, and nowhere `Any`."""

import os
import pathlib
import subprocess
import sys

import pytest

pytest.importorskip('mypy')

ROOT = pathlib.Path(__file__).resolve().parent.parent
USER = """
from collections.abc import Mapping
from typing import Any, assert_type

from flax import nnx
import haiku as hk
import jax
import jax.numpy as jnp
from launch import nth_farthest as program
from launch.training import experiment
import numpy as np
import relational_rnn
from relational_rnn import equinox, flax, functional, losses, memory
from relational_rnn.baselines import transformer
from relational_rnn.networks import actor_critic, language_model, sequence_classifier
from tasks import base, nth_farthest
from tasks.environments import boxworld, grid, gymnasium_env, mini_pacman

key, inputs = jax.random.key(0), jnp.zeros((7, 3, 16))
resets, lengths = np.zeros((7, 3), bool), np.full(3, 5)


def forward(inputs: jax.Array) -> jax.Array:
    core = relational_rnn.RelationalMemory(mem_slots=4, head_size=32)
    state = assert_type(core.initial_state(3), memory.State)
    assert_type(core(inputs[0], state), tuple[jax.Array, memory.State])
    assert_type(relational_rnn.unroll_inside(core, inputs, state)[2].before, jax.Array)
    other = relational_rnn.Transformer(2, 8, 2)
    start = assert_type(other.initial_state(3), transformer.TransformerState)
    _, start = assert_type(
        relational_rnn.unroll(other, inputs, start),
        tuple[jax.Array, transformer.TransformerState],
    )
    outputs, state = relational_rnn.unroll(core, inputs, state, resets, lengths)
    assert_type(state, memory.State)
    return assert_type(outputs, jax.Array)


def networks(core: hk.RNNCore, words: jax.Array, state: memory.State) -> None:
    language = language_model.LanguageModel(core, 10)
    assert_type(language.next_word(words, state), tuple[jax.Array, memory.State])
    agent = actor_critic.ActorCritic(core, 4)
    output, state = agent.step(inputs, words, state)
    assert_type(output.value, jax.Array)
    assert_type(state, memory.State)
    assert_type(sequence_classifier.SequenceClassifier(core, 3)(inputs), jax.Array)
    assert_type(losses.cross_entropy(inputs, lengths, lengths).total, jax.Array)


def functions() -> None:
    config = memory.MemoryConfig(4, 32)
    params = assert_type(memory.init(key, config, 16), memory.MemoryParams)
    assert_type(params.input.w, jax.Array)
    state = assert_type(memory.initial_memory(config, 3), memory.State)
    step = functional.step(params, config, inputs[0], state)
    assert_type(step, tuple[jax.Array, memory.State])
    cell = flax.RelationalMemoryCell(16, config, rngs=nnx.Rngs(0))
    assert_type(cell(cell.initialize_carry((3, 16)), inputs[0]), tuple[memory.State, jax.Array])
    module = equinox.RelationalMemory(16, config, key=key)
    assert_type(module.unroll(inputs, state, resets), tuple[jax.Array, memory.State])
    assert_type(relational_rnn.params_from_haiku({}, config), memory.MemoryParams)


def environments() -> None:
    levels = boxworld.BoxWorld()
    assert_type(levels.reset(key), tuple[boxworld.State, base.TimeStep])
    maze = mini_pacman.MiniPacman()
    assert_type(maze.step(maze.reset(key)[0], key), tuple[mini_pacman.State, base.TimeStep])
    assert_type(grid.AutoReset(levels).reset(key)[1].reward, jax.Array)
    assert_type(gymnasium_env.GymnasiumEnv(levels).step(1)[1:4], tuple[float, bool, bool])
    assert_type(nth_farthest.sample(key).answers, jax.Array)


def programs() -> None:
    assert_type(program.run(program.Config()), Mapping[str, Any])
    restored = experiment.restore(program.EXPERIMENT, program.Config(), 'runs/x')
    assert_type(restored, experiment.Restored)
"""


@pytest.mark.slow
def test_a_program_of_a_user_gets_arrays_and_states_that_are_typed(tmp_path):
    """Outside of the checkout, and with the checker's own settings in place of ours."""
    path = tmp_path / 'user.py'
    path.write_text(USER)
    environment = {**os.environ, 'MYPYPATH': str(ROOT), 'MYPY_CACHE_DIR': str(tmp_path / 'cache')}
    command = [sys.executable, '-m', 'mypy', '--strict', '--config-file=', path.name]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ('Success: no issues found in 1 source file\n', 0)
