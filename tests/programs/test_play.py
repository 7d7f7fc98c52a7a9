"""The program `launch.play`: what it writes, and how it complains."""

import io
import os

import numpy as np
from PIL import Image
import pytest

from launch import play
from launch.runs import errors, flags
from launch.viewer import agents, environments, episodes, screen, terminal

pytestmark = pytest.mark.usefixtures('compile_quickly')
TINY = ('--world=mini_pacman', '--viewport=3', '--max_steps=4', '--hide')


def main(*words):
    return flags.main(play.Config, play.run, 'play', args=words)


def read(path):
    with Image.open(io.BytesIO(path.read_bytes())) as file:
        for number in range(file.n_frames):
            file.seek(number)
            yield np.asarray(file.convert('RGB'))


def test_the_uniform_policy_is_written_as_a_gif(tmp_path, capsys):
    path = tmp_path / 'random.gif'
    assert main(*TINY, f'--gif={path}') == 0
    title, gif, episode = capsys.readouterr().out.splitlines()
    assert title == 'Mini PacMan, regular, paper rules, window of 3 x 3'
    assert gif == f'gif          {path}, {len(path.read_bytes()) / 1000:,.0f} kB'
    pictures = list(read(path))
    assert 1 < len(pictures) <= 5
    assert pictures[0].shape == (16 * 15, 19 * 15, 3)
    config = play.Config(world='mini_pacman', viewport=3, max_steps=4)
    environment = play._limit(config.training_config().environment(), config)
    scene = environments.scene(environment, episodes.first(environment, 0, 0).state)
    squares = pictures[0][7::15, 7::15]
    np.testing.assert_array_equal(squares[scene.visible], scene.picture[scene.visible])
    assert (squares[~scene.visible] == 40).all()
    assert episode.startswith('episode 1    return ')
    assert episode.endswith('4 steps; truncated') or 'eaten' in episode


def test_the_same_command_writes_the_same_bytes(tmp_path):
    paths = [tmp_path / f'{name}.gif' for name in 'abc']
    for path, seed in zip(paths, (4, 4, 5), strict=True):
        assert main(*TINY, f'--gif={path}', f'--seed={seed}', '--episodes=2') == 0
    one, same, other = (path.read_bytes() for path in paths)
    assert one == same != other


def test_means_are_of_all_episodes(capsys):
    steps = [episodes.Step(None, None, float(k), 10 * k) for k in (1, 2, 6)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(environments, 'ending', lambda environment, timestep: '')
        assert play._report(None, steps) == {'return': 3.0, 'length': 30.0}
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == 'episode 3    return 6, 60 steps; left before its end'


def test_a_person_plays_and_an_agent_is_watched(monkeypatch):
    called = []
    monkeypatch.setattr(screen, 'check_size', lambda *a: None)
    monkeypatch.setattr(episodes, 'warm_up', lambda environment, policy: called.append(policy))
    monkeypatch.setattr(terminal, 'run', lambda function: function('a terminal'))
    monkeypatch.setattr(screen, 'play', lambda *a: a)
    monkeypatch.setattr(screen, 'watch', lambda *a: a)
    environment = play.Config(world='boxworld').training_config().environment()
    show = screen.Show('', environment, 0, False)
    assert play._on_screen(play.Config(), show, None) == ('a terminal', show)
    config = play.Config(episodes=3, frames_per_second=2.5)
    assert play._on_screen(config, show, 'agent') == ('a terminal', show, 'agent', 3, 2.5)
    assert called[1] == 'agent'


def test_the_environment_is_that_of_its_programs_preset():
    easy = play.Config(world='boxworld').training_config().environment()
    assert (easy.size, easy.viewport) == (9, 5)
    paper = play.Config(world='boxworld', preset='paper', viewport=7).training_config()
    assert (paper.environment().size, paper.environment().viewport) == (14, 7)
    maze = play.Config(world='mini_pacman', game='hunt', rules='released', viewport=0)
    environment = maze.training_config().environment()
    assert (environment.mode, environment.rules, environment.viewport) == ('hunt', 'released', None)


def test_an_episode_is_no_longer_than_asked_for_and_a_gif_not_endless():
    def limit(world, **values):
        config = play.Config(world=world, **values)
        return play._limit(config.training_config().environment(), config).max_steps

    assert limit('boxworld') == limit('boxworld', gif='a.gif') == 120
    assert limit('mini_pacman') is None
    assert limit('mini_pacman', gif='a.gif') == 1000
    assert limit('mini_pacman', gif='a.gif', max_steps=3000) == 3000


@pytest.mark.parametrize(
    ('words', 'code', 'message'),
    [
        ('', 'USAGE', '--world: wanted one of boxworld, mini_pacman, or --run_dir=RUN'),
        ('--world=chess', 'USAGE', '--world: wanted one of boxworld, mini_pacman'),
        ('--world=boxword', 'USAGE', 'did you mean boxworld?'),
        ('--world=boxworld --preset=gpu', 'USAGE', '--preset: wanted one of cpu, paper'),
        ('--world=boxworld --viewport=4', 'USAGE', 'wanted an odd viewport'),
        ('--world=boxworld --game=hunt', 'USAGE', '--game: boxworld has none'),
        ('--world=boxworld --greedy', 'USAGE', '--greedy: wanted --run_dir=RUN'),
        ('--world=mini_pacman --game=chess', 'USAGE', '--game: wanted one of regular'),
        ('--world=mini_pacman --rules=mine', 'USAGE', 'rules: wanted one of paper'),
        ('--world=mini_pacman --gif=a.png', 'USAGE', 'a name that ends in .gif'),
        ('--world=mini_pacman --seed=-1', 'USAGE', '--seed: wanted at least 0'),
        ('--world=mini_pacman --frames_per_second=0', 'USAGE', 'wanted at least 1, got 0'),
        ('--run_dir=/nowhere --viewport=3', 'USAGE', '--viewport: wanted none with --run_dir'),
        ('--run_dir=/nowhere --gif=/tmp/a.gif', 'BAD_DATA', 'the directory of a trained run'),
        ('--world=boxworld --gif=/no/a.gif', 'CANNOT_SAVE', 'an existing folder, /no is none'),
        ('--run_dir=/nowhere --gif=/no/a.gif', 'CANNOT_SAVE', 'wanted an existing folder'),
        ('--world=boxworld', 'USAGE', 'wanted a terminal, the input is none'),
    ],
)
def test_a_mistake_gets_one_line_before_any_work(words, code, message, capsys, monkeypatch):
    monkeypatch.setattr(agents, 'load', None)
    monkeypatch.setattr(episodes, 'first', None)
    assert main(*words.split()) == getattr(errors, code)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('play: ')
    assert message in line


def test_a_gif_that_is_a_folder_is_refused(tmp_path, capsys):
    (tmp_path / 'a.gif').mkdir()
    assert main('--world=boxworld', f'--gif={tmp_path}/a.gif') == errors.CANNOT_SAVE
    assert 'wanted a file that can be written' in capsys.readouterr().err


def test_a_disk_that_fails_gets_one_line(tmp_path, capsys, monkeypatch):
    def fail(descriptor):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', fail)
    assert main(*TINY, f'--gif={tmp_path}/a.gif') == errors.CANNOT_SAVE
    assert 'a.gif cannot be written: No space left on device' in capsys.readouterr().err
