"""The program `launch.play`: what it writes, and how it complains."""

import io
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
from PIL import Image
import pytest

from launch import play
from launch.runs import errors
from launch.runs import flags as flags_lib
from launch.viewer import agents, environments, episodes

pytestmark = pytest.mark.usefixtures('compile_quickly', 'compile_once')


def _main(*flags):
    return flags_lib.main(play.Config, play.run, 'play', args=flags)


def _pictures(path):
    with Image.open(io.BytesIO(path.read_bytes())) as file:
        count = file.n_frames
        for number in range(count):
            file.seek(number)
            yield np.asarray(file.convert('RGB'))


def test_dice_are_written_as_a_gif(tmp_path, capsys):
    path = tmp_path / 'dice.gif'
    flags = '--world=mini_pacman', '--viewport=3', f'--gif={path}', '--max_steps=9', '--hide'
    assert _main(*flags) == 0
    title, gif, episode = capsys.readouterr().out.splitlines()
    assert title == 'Mini PacMan regular, rules paper, window of 3'
    assert gif == f'gif          {path}, {len(path.read_bytes()) / 1000:,.0f} kB'
    pictures = list(_pictures(path))
    assert 1 < len(pictures) <= 10
    assert pictures[0].shape == (16 * 15, 19 * 15, 3)
    world = play.Config(world='mini_pacman', viewport=3).trainer().environment()
    state, _ = jax.jit(world.reset)(episodes.keys(0, 0)[0])
    scene = environments.look(world, state)
    squares = pictures[0][7::15, 7::15]
    np.testing.assert_array_equal(squares[scene.seen], scene.picture[scene.seen])
    assert (squares[~scene.seen] == 40).all()
    assert episode.startswith('episode 1    return ')
    assert episode.endswith('; the time is up') or 'eaten' in episode


def test_the_same_command_writes_the_same_bytes(tmp_path):
    paths = [tmp_path / f'{name}.gif' for name in 'abc']
    for path, seed in zip(paths, (4, 4, 5), strict=True):
        flags = {'world': 'mini_pacman', 'gif': str(path), 'max_steps': 4, 'seed': seed}
        play.run(play.Config(**flags, episodes=2))
    one, same, other = (path.read_bytes() for path in paths)
    assert one == same != other


def test_a_world_is_that_of_its_programs_preset():
    easy = play.Config(world='boxworld').trainer().environment()
    assert (easy.size, easy.viewport) == (9, 5)
    paper = play.Config(world='boxworld', preset='paper', viewport=7).trainer().environment()
    assert (paper.size, paper.viewport) == (14, 7)
    maze = play.Config(world='mini_pacman', game='hunt', rules='released', viewport=0)
    world = maze.trainer().environment()
    assert (world.mode, world.rules, world.viewport) == ('hunt', 'released', None)


def test_an_episode_is_no_longer_than_asked_for_and_a_gif_not_endless():
    def limit(world, **flags):
        config = play.Config(world=world, **flags)
        return play._limit(config.trainer().environment(), config).max_steps

    assert limit('boxworld') == limit('boxworld', gif='a.gif') == 120
    assert limit('mini_pacman') is None
    assert limit('mini_pacman', gif='a.gif') == 1000
    assert limit('mini_pacman', gif='a.gif', max_steps=3000) == 3000


@pytest.mark.parametrize(
    ('flags', 'code', 'message'),
    [
        (
            '',
            'USAGE',
            '--world: wanted one of boxworld, mini_pacman, or --run_dir=RUN, got neither',
        ),
        ('--world=chess', 'USAGE', '--world: wanted one of boxworld, mini_pacman'),
        ('--world=boxword', 'USAGE', 'did you mean boxworld?'),
        ('--world=boxworld --preset=gpu', 'USAGE', '--preset: wanted one of cpu, paper'),
        ('--world=boxworld --viewport=4', 'USAGE', 'wanted an odd viewport'),
        ('--world=boxworld --game=hunt', 'USAGE', '--game: boxworld has none'),
        ('--world=boxworld --greedy', 'USAGE', '--greedy: wanted --run_dir=RUN'),
        ('--world=mini_pacman --game=chess', 'USAGE', '--game: wanted one of regular'),
        ('--world=mini_pacman --rules=mine', 'USAGE', '--rules: wanted one of paper, released'),
        ('--world=mini_pacman --gif=a.png', 'USAGE', 'a name that ends in .gif'),
        ('--world=mini_pacman --seed=-1', 'USAGE', '--seed: wanted at least 0'),
        ('--world=mini_pacman --frames_per_second=0', 'USAGE', 'wanted at least 1, got 0'),
        ('--run_dir=/nowhere --viewport=3', 'USAGE', '--viewport: wanted none beside --run_dir'),
        ('--run_dir=/nowhere --gif=/tmp/a.gif', 'BAD_DATA', 'the directory of a trained run'),
        ('--world=boxworld --gif=/no/a.gif', 'CANNOT_SAVE', 'a folder that is there, /no is not'),
        ('--run_dir=/nowhere --gif=/no/a.gif', 'CANNOT_SAVE', 'wanted a folder that is there'),
    ],
)
def test_a_mistake_gets_one_line_before_any_work(flags, code, message, capsys, monkeypatch):
    monkeypatch.setattr(agents, 'load', None)
    monkeypatch.setattr(episodes, 'make_game', None)
    assert _main(*flags.split()) == getattr(errors, code)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('play: ')
    assert message in line


def test_a_gif_that_is_a_folder_is_refused(tmp_path, capsys):
    (tmp_path / 'a.gif').mkdir()
    assert _main('--world=boxworld', f'--gif={tmp_path}/a.gif') == errors.CANNOT_SAVE
    assert 'wanted a file that can be written' in capsys.readouterr().err


@pytest.mark.parametrize('missing', ['input', 'output'])
def test_without_a_terminal_it_says_so(missing):
    side, inner = os.openpty()
    streams = {'stdin': inner, 'stdout': inner}
    streams['stdin' if missing == 'input' else 'stdout'] = subprocess.DEVNULL
    command = [sys.executable, '-m', 'launch.play', '--world=boxworld']
    done = subprocess.run(command, **streams, stderr=subprocess.PIPE, text=True, check=False)
    os.close(side)
    os.close(inner)
    message = f'play: wanted a terminal, the {missing} is none; --gif=FILE.gif writes a file\n'
    assert (done.returncode, done.stderr) == (errors.USAGE, message)


def test_a_disk_that_fails_gets_one_line(tmp_path, capsys, monkeypatch):
    def fail(path, data):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(pathlib.Path, 'write_bytes', fail)
    flags = '--world=mini_pacman', f'--gif={tmp_path}/a.gif', '--max_steps=2'
    assert _main(*flags) == errors.CANNOT_SAVE
    assert 'a.gif cannot be written: No space left on device' in capsys.readouterr().err
