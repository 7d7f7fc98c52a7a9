"""What a person sees who plays or watches, on a terminal whose keys are known."""

import os
import time

import numpy as np
import pytest

from launch.runs import errors
from launch.viewer import environments, episodes, screen
from tests.support import tiny_environments

pytestmark = pytest.mark.usefixtures('compile_quickly')
CORRIDOR = screen.Show('a title', tiny_environments.Corridor(max_steps=3), 7, hide=False)
HELP = 'r starts a new episode, q quits'


class Terminal:
    """Presses keys, and then q, and keeps what is drawn; while it waits for a time, none."""

    def __init__(self, *keys, size=(80, 24)):
        self.keys = [*keys, 'quit']
        self.size = os.terminal_size(size)
        self.views = []

    def draw(self, view):
        self.views.append(view)

    def read(self, seconds):
        if seconds is not None and self.keys[0] != 'at once':
            time.sleep(seconds)
            return ''
        key = self.keys.pop(0)
        return self.keys.pop(0) if key == 'at once' else key


@pytest.fixture(autouse=True)
def scenes(monkeypatch):
    """Shows corridors as 2 x 5 squares, of which the first is visible."""
    picture = np.full((2, 5, 3), 100, np.uint8)
    visible = np.arange(10).reshape(2, 5) == 0

    def scene(environment, state):
        return environments.Scene(picture, visible, f'at {state.place}', picture[0, 0])

    monkeypatch.setattr(environments, 'scene', scene)
    monkeypatch.setattr(screen, '_LINGER', 0.01)


def wanted(*actions, number=0):
    """Returns the step after some actions in the episode of a number."""
    step = episodes.first(CORRIDOR.environment, 7, number)
    for action in actions:
        step = episodes.advance(CORRIDOR.environment, step, action)
    return step


def facts(step):
    return int(step.state.place), step.episode_return, step.length, bool(step.timestep.last)


def test_keys_move_start_anew_and_quit():
    terminal = Terminal('left', 'up', '', 'stay', 'reset', 'stay')
    steps = screen.play(terminal, CORRIDOR)
    assert [facts(step) for step in steps] == [facts(wanted(2, 0)), facts(wanted(0, number=1))]
    assert terminal.views[0].title == 'a title'
    assert terminal.views[0].help == f'arrows or wasd move, space stays, {HELP}'
    place = int(wanted(2).state.place)
    assert terminal.views[1].status == f'return 0   steps 1   at {place}'
    assert len(terminal.views) == 7


def test_after_the_end_keys_do_nothing_but_start_anew():
    terminal = Terminal(*['stay'] * 5, 'reset')
    steps = screen.play(terminal, CORRIDOR)
    assert [facts(step) for step in steps] == [facts(wanted(0, 0, 0)), facts(wanted(number=1))]
    assert terminal.views[5].help.startswith('truncated; arrows')
    assert not terminal.views[6].help.startswith('truncated')


def test_a_policy_is_watched_until_its_last_episode_and_a_key():
    terminal, policy = Terminal(), episodes.uniform(3)
    steps = screen.watch(terminal, CORRIDOR, policy, 2, 1000.0)
    ends = [list(episodes.episode(CORRIDOR.environment, policy, 7, k))[-1] for k in (0, 1)]
    assert [facts(step) for step in steps] == [facts(step) for step in ends]
    statuses = list(dict.fromkeys(view.status.split(' at')[0] for view in terminal.views))
    assert len(statuses) >= 2
    assert terminal.views[0].help == HELP
    assert terminal.views[-1].help.endswith(f'; {HELP}')


def test_a_policy_acts_as_often_as_asked_for():
    begin = time.monotonic()
    (step,) = screen.watch(Terminal(), CORRIDOR, episodes.uniform(3), 1, 10.0)
    assert time.monotonic() - begin >= 0.1 * step.length > 0


def test_watching_stops_at_once_when_a_key_says_so():
    terminal = Terminal('at once', 'reset', 'at once', 'quit')
    steps = screen.watch(terminal, CORRIDOR, episodes.uniform(3), 3, 0.001)
    assert [facts(step) for step in steps] == [facts(wanted()), facts(wanted(number=1))]


@pytest.mark.parametrize(
    ('size', 'scale'), [((80, 24), 4), ((17, 24), 3), ((80, 5), 2), ((80, 4), 1), ((3, 2), 1)]
)
def test_a_picture_is_as_large_as_fits(size, scale):
    view = screen.compose(CORRIDOR, wanted(), 'advice', os.terminal_size(size))
    assert view.picture.shape == (2 * scale, 5 * scale, 3)
    assert (view.picture[:scale, :scale] == 100).all()
    assert (view.picture[scale:] == 35).all()
    assert view.swatch.tolist() == [100, 100, 100]


def test_a_small_terminal_is_refused():
    screen.check_size(CORRIDOR, os.terminal_size((6, 4)))
    for size in [(5, 4), (6, 3)]:
        with pytest.raises(errors.RunError, match='at least 6 columns and 4 lines') as error:
            screen.check_size(CORRIDOR, os.terminal_size(size))
        assert error.value.code == errors.USAGE
