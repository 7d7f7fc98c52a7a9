"""Agents of runs that no update has touched, and runs that are none."""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest

from launch import play
from launch.agents import acting, agent_model, boxworld_config
from launch.runs import checkpoint, directory, errors
from launch.training import loop
from launch.viewer import agents, episodes

pytestmark = pytest.mark.usefixtures('compile_quickly', 'compile_once')
SIZES = {
    'size': 7,
    'num_colors': 4,
    'max_solution': 1,
    'max_distractors': 0,
    'viewport': 3,
    'max_steps': 12,
    'core': 'lstm',
    'lstm_size': 8,
    'batch_size': 2,
    'unroll': 2,
    'seed': 5,
}


@pytest.fixture(scope='module')
def trained(tmp_path_factory, compile_quickly, compile_once):
    """Returns the directory of a run, its model and its parameters."""
    run_dir = tmp_path_factory.mktemp('runs') / 'run'
    run_dir.mkdir()
    config = boxworld_config.Config(**SIZES)
    world = boxworld_config.make_world(config)
    model = agent_model.make_model(config, world.environment)
    row = acting.initial_row(config, world, model)
    state = loop.initial_state(config, model.init, row)
    replicated = state.replicated._replace(
        params=jax.tree.map(lambda leaf: 3 * leaf, state.replicated.params),
        step=np.array(1200, np.int32),
    )
    metadata = {'config': dataclasses.asdict(config)}
    state = state._replace(replicated=replicated)
    checkpoint.Checkpointer(run_dir).save(1200, state, metadata)
    description = 'boxworld', metadata['config'], 1, 'frames', 4, 'solved'
    directory.describe(run_dir, *description)
    return str(run_dir), model, replicated.params


def test_world_and_agent_are_those_of_the_run(trained):
    run_dir, model, params = trained
    assert agents.world_of(run_dir, None) == 'boxworld'
    assert agents.world_of(run_dir, 'boxworld') == 'boxworld'
    config, policy, about = agents.load(run_dir, 'boxworld', greedy=True)
    assert about == 'lstm after 1,200 updates'
    assert {name: getattr(config, name) for name in SIZES} == SIZES
    game = episodes.make_game(config.environment())
    moments = list(episodes.episode(game, policy, 0, 0))
    core, step = model.initial_state(1), jax.jit(model.step)
    moment = moments[0]
    for number, wanted in enumerate(moments[1:]):
        first = np.array([number == 0])
        output, core = step(params, moment.seen.observation[None], first, core)
        moment = episodes.advance(game, moment, np.argmax(output.logits[0]))
        np.testing.assert_array_equal(moment.seen.observation, wanted.seen.observation)
    assert moment.seen.last


def test_the_program_writes_an_agents_gif(trained, tmp_path, capsys):
    path = tmp_path / 'agent.gif'
    flags = {'run_dir': trained[0], 'gif': str(path), 'episodes': 2, 'max_steps': 4}
    results = play.run(play.Config(**flags))
    assert results['length'] <= 4
    assert path.read_bytes().startswith(b'GIF89a')
    lines = capsys.readouterr().out.splitlines()
    title = 'BoxWorld 7 x 7, 1 to 1 boxes, 0 to 0 distractors, window of 3'
    assert lines[1] == f'{title}, lstm after 1,200 updates'
    assert lines[2].startswith(f'gif          {path}, ')
    assert [line[:10] for line in lines[3:]] == ['episode 1 ', 'episode 2 ']


def test_a_run_in_use_is_refused(trained):
    with (
        directory.owned(trained[0]),
        pytest.raises(errors.RunError, match='in use by') as error,
    ):
        agents.load(trained[0], 'boxworld', greedy=False)
    assert error.value.code == errors.IN_USE


def test_another_world_than_the_runs_is_refused(trained):
    message = '--world=mini_pacman: the run of .* is one of boxworld'
    with pytest.raises(errors.RunError, match=message) as error:
        agents.world_of(trained[0], 'mini_pacman')
    assert error.value.code == errors.MISMATCH


def test_what_is_no_run_of_an_agent_is_refused(trained, tmp_path):
    def refusal():
        with pytest.raises(errors.RunError) as error:
            agents.world_of(str(tmp_path), None)
        assert error.value.code == errors.BAD_DATA
        return str(error.value)

    assert 'wanted the directory of a trained run, it has none' in refusal()
    (tmp_path / 'checkpoints').mkdir()
    assert 'wanted a run with run.json, it has none' in refusal()
    description = json.loads(pathlib.Path(trained[0], 'run.json').read_text())
    (tmp_path / 'run.json').write_text(json.dumps({**description, 'program': 'lm'}))
    assert 'wanted a run of boxworld or mini_pacman, got one of lm' in refusal()


def test_a_run_without_a_checkpoint_is_refused(tmp_path):
    (tmp_path / 'checkpoints').mkdir()
    with pytest.raises(errors.RunError, match='it has none yet') as error:
        agents.load(str(tmp_path), 'boxworld', greedy=False)
    assert error.value.code == errors.BAD_DATA
