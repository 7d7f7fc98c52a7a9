"""Agents of runs that no update has touched, and runs that are none."""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest

from launch import (
    _boxworld_config,
    _checkpoint,
    _errors,
    _play_agent,
    _play_game,
    _reinforcement,
    _reinforcement_model,
    _run_directory,
    _supervised,
    play,
)

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
    config = _boxworld_config.Config(**SIZES)
    world = _boxworld_config.make_world(config)
    model = _reinforcement_model.make_model(config, world.environment)
    row = _reinforcement.initial_row(config, world, model)
    state = _supervised.initial_state(config, model.init, row)
    replicated = state.replicated._replace(
        params=jax.tree.map(lambda leaf: 3 * leaf, state.replicated.params),
        step=np.array(1200, np.int32),
    )
    metadata = {'config': dataclasses.asdict(config)}
    state = state._replace(replicated=replicated)
    _checkpoint.Checkpointer(run_dir).save(1200, state, metadata)
    description = 'boxworld', metadata['config'], 1, 'frames', 4, 'solved'
    _run_directory.describe(run_dir, *description)
    return str(run_dir), model, replicated.params


def test_world_and_agent_are_those_of_the_run(trained):
    run_dir, model, params = trained
    assert _play_agent.world_of(run_dir, None) == 'boxworld'
    assert _play_agent.world_of(run_dir, 'boxworld') == 'boxworld'
    config, policy, about = _play_agent.load(run_dir, 'boxworld', greedy=True)
    assert about == 'lstm after 1,200 updates'
    assert {name: getattr(config, name) for name in SIZES} == SIZES
    game = _play_game.make_game(config.environment())
    moments = list(_play_game.episode(game, policy, 0, 0))
    core, step = model.initial_state(1), jax.jit(model.step)
    moment = moments[0]
    for number, wanted in enumerate(moments[1:]):
        first = np.array([number == 0])
        output, core = step(params, moment.seen.observation[None], first, core)
        moment = _play_game.advance(game, moment, np.argmax(output.logits[0]))
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
        _run_directory.RunDirectory(trained[0]),
        pytest.raises(_errors.RunError, match='in use by') as error,
    ):
        _play_agent.load(trained[0], 'boxworld', greedy=False)
    assert error.value.code == _errors.IN_USE


def test_another_world_than_the_runs_is_refused(trained):
    message = '--world=mini_pacman: the run of .* is one of boxworld'
    with pytest.raises(_errors.RunError, match=message) as error:
        _play_agent.world_of(trained[0], 'mini_pacman')
    assert error.value.code == _errors.MISMATCH


def test_what_is_no_run_of_an_agent_is_refused(trained, tmp_path):
    def refusal():
        with pytest.raises(_errors.RunError) as error:
            _play_agent.world_of(str(tmp_path), None)
        assert error.value.code == _errors.BAD_DATA
        return str(error.value)

    assert 'wanted the directory of a trained run, it has none' in refusal()
    (tmp_path / 'checkpoints').mkdir()
    assert 'wanted a run with run.json, it has none' in refusal()
    description = json.loads(pathlib.Path(trained[0], 'run.json').read_text())
    (tmp_path / 'run.json').write_text(json.dumps({**description, 'program': 'lm'}))
    assert 'wanted a run of boxworld or mini_pacman, got one of lm' in refusal()


def test_a_run_without_a_checkpoint_is_refused(tmp_path):
    (tmp_path / 'checkpoints').mkdir()
    with pytest.raises(_errors.RunError, match='it has none yet') as error:
        _play_agent.load(str(tmp_path), 'boxworld', greedy=False)
    assert error.value.code == _errors.BAD_DATA
