"""Agents of runs that no update has touched, and runs that are none."""

import dataclasses
import json
import pathlib
from typing import NamedTuple

import jax
import numpy as np
import pytest

from launch import boxworld, play
from launch.agents import network as network_lib
from launch.runs import checkpoint, directory, errors
from launch.viewer import agents, episodes

pytestmark = pytest.mark.usefixtures('compile_quickly')
SIZES = {
    'size': 7,
    'num_colors': 4,
    'max_solution': 1,
    'max_distractors': 0,
    'viewport': 3,
    'max_steps': 4,
    'core': 'lstm',
    'lstm_size': 8,
    'batch_size': 2,
    'unroll': 2,
    'seed': 5,
}


class State(NamedTuple):
    """What of a training's state play reads."""

    params: dict


@pytest.fixture(scope='module')
def trained(tmp_path_factory, compile_quickly):
    """Returns the directory of a run, its network and its parameters."""
    run_dir = tmp_path_factory.mktemp('runs') / 'run'
    run_dir.mkdir()
    config = boxworld.Config(**SIZES)
    network = network_lib.make(config, config.environment())
    params = jax.tree.map(lambda leaf: 3 * np.asarray(leaf), network.init(jax.random.key(5)))
    metadata = {'config': dataclasses.asdict(config)}
    checkpoint.Checkpointer(run_dir).save(1200, State(params), metadata)
    directory.describe(run_dir, 'boxworld', metadata['config'], 1, 'frames', 4, 'success')
    return str(run_dir), network, params


def test_environment_and_agent_are_those_of_the_run(trained):
    run_dir, network, params = trained
    assert agents.experiment_of(run_dir, None) == boxworld.EXPERIMENT
    assert agents.experiment_of(run_dir, 'boxworld') == boxworld.EXPERIMENT
    config, policy, about = agents.load(boxworld.EXPERIMENT, run_dir, greedy=True)
    assert about == 'lstm after 1,200 updates'
    assert {name: getattr(config, name) for name in SIZES} == SIZES
    environment = config.environment()
    steps = list(episodes.episode(environment, policy, 0, 0))
    state, act = network.initial_state(1), jax.jit(network.step)
    step = steps[0]
    for number, wanted in enumerate(steps[1:]):
        reset = np.array([number == 0])
        output, state = act(params, step.timestep.observation[None], reset, state)
        step = episodes.advance(environment, step, np.argmax(output.logits[0]))
        np.testing.assert_array_equal(step.timestep.observation, wanted.timestep.observation)
    assert step.timestep.last


def test_the_program_writes_an_agents_gif(trained, tmp_path, capsys):
    path = tmp_path / 'agent.gif'
    results = play.run(play.Config(run_dir=trained[0], gif=str(path), episodes=2, max_steps=4))
    assert results['length'] <= 4
    assert path.read_bytes().startswith(b'GIF89a')
    lines = capsys.readouterr().out.splitlines()
    title = 'BoxWorld, 7 x 7 squares, 1 box, no distractors, window of 3 x 3'
    assert lines[0] == f'boxworld: loads the agent of {trained[0]}'
    assert lines[1] == f'{title}, lstm after 1,200 updates'
    assert lines[2].startswith(f'gif          {path}, ')
    assert [line[:10] for line in lines[3:]] == ['episode 1 ', 'episode 2 ']


def test_a_run_that_is_training_can_be_watched(trained):
    with directory.owned(trained[0]):
        _, _, about = agents.load(boxworld.EXPERIMENT, trained[0], greedy=False)
    assert about == 'lstm after 1,200 updates'


def test_another_environment_than_the_runs_is_refused(trained):
    message = '--world=mini_pacman: the run of .* is one of boxworld'
    with pytest.raises(errors.RunError, match=message) as error:
        agents.experiment_of(trained[0], 'mini_pacman')
    assert error.value.code == errors.MISMATCH


def test_what_is_no_run_of_an_agent_is_refused(trained, tmp_path):
    def refusal():
        with pytest.raises(errors.RunError) as error:
            agents.experiment_of(str(tmp_path), None)
        assert error.value.code == errors.BAD_DATA
        return str(error.value)

    assert 'wanted the directory of a trained run, it has no run.json' in refusal()
    description = json.loads(pathlib.Path(trained[0], 'run.json').read_text())
    (tmp_path / 'run.json').write_text(json.dumps({**description, 'program': 'lm'}))
    assert 'wanted a run of boxworld or mini_pacman, got one of lm' in refusal()


def test_a_run_without_a_checkpoint_is_refused(tmp_path):
    (tmp_path / 'checkpoints').mkdir()
    with pytest.raises(errors.RunError, match='it has none yet') as error:
        agents.load(boxworld.EXPERIMENT, str(tmp_path), greedy=False)
    assert error.value.code == errors.BAD_DATA
