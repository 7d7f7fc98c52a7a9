"""A person plays through a pseudo-terminal, with real key presses."""

import contextlib
import os
import threading
import time

import pytest

from launch.runs import errors
from launch.viewer import episodes, screen
from launch.viewer import terminal as terminal_lib
from tasks.environments import boxworld, mini_pacman

pytestmark = pytest.mark.usefixtures('compile_quickly')
SIZE = os.terminal_size((80, 24))


class Keyboard:
    """The other side of a pseudo-terminal: what is shown, and keys."""

    def __init__(self):
        self.side, self.terminal = os.openpty()
        self._shown = b''
        self._thread = threading.Thread(target=self._drain)
        self._thread.start()

    def press(self, keys):
        os.write(self.side, keys)

    def press_after(self, text, keys):
        """Presses keys some time after a text is shown."""

        def wait():
            while text not in self._shown:
                time.sleep(0.01)
            time.sleep(0.5)
            self.press(keys)

        threading.Thread(target=wait, daemon=True).start()

    def close(self):
        """Returns all that was shown."""
        os.close(self.terminal)
        self._thread.join()
        os.close(self.side)
        return self._shown.decode()

    def _drain(self):
        with contextlib.suppress(OSError):
            while data := os.read(self.side, 4096):
                self._shown += data


def show(world, hide=False):
    return screen.Show('a title', world, episodes.make_game(world), 7, hide)


@pytest.fixture(scope='module')
def maze(compile_quickly):
    return show(mini_pacman.MiniPacman(max_steps=3, rules='released'))


def test_keys_move_begin_anew_and_quit(maze):
    keyboard = Keyboard()
    with terminal_lib.Terminal(keyboard.terminal, keyboard.terminal) as terminal:
        keyboard.press(b' \x1b[Cr.q.')
        moments = screen.play(terminal, maze)
    shown = keyboard.close()
    assert [moment.length for moment in moments] == [2, 1]
    wanted = episodes.begin(maze.game, episodes.keys(7, 0)[0])
    for name in ('stay', 'right'):
        action = maze.world.action_names.index(name)
        wanted = episodes.advance(maze.game, wanted, action)
    assert int(moments[0].state.pacman) == int(wanted.state.pacman)
    assert moments[0].returned == wanted.returned
    assert 'a title' in shown
    assert 'arrows or wasd move, space stays, r begins anew, q quits' in shown


def test_after_the_end_keys_do_nothing_but_begin_anew(maze):
    keyboard = Keyboard()
    with terminal_lib.Terminal(keyboard.terminal, keyboard.terminal) as terminal:
        keyboard.press(b'.......')
        keyboard.press_after(b'; arrows', b'rq')
        moments = screen.play(terminal, maze)
    assert 'the time is up; arrows' in keyboard.close() or moments[0].seen.discount == 0
    assert [moment.length for moment in moments] == [3, 0]


def test_a_policy_is_watched_until_its_last_episode_and_a_key(maze, monkeypatch):
    monkeypatch.setattr(screen, '_LINGER', 0.1)
    keyboard = Keyboard()
    pace = episodes.dice(5), 1, 40.0
    episodes.warm_up(maze.game, pace[0])
    with terminal_lib.Terminal(keyboard.terminal, keyboard.terminal) as terminal:
        keyboard.press_after(b'; r begins anew', b'q')  # the end is told before that
        moments = screen.watch(terminal, maze, *pace)
    wanted = list(episodes.episode(maze.game, pace[0], 7, 0))[-1]
    (last,) = moments
    assert (last.length, last.returned) == (wanted.length, wanted.returned)
    assert 'steps 1 ' in keyboard.close()


def test_watching_stops_at_once_when_told_to(maze):
    keyboard = Keyboard()
    with terminal_lib.Terminal(keyboard.terminal, keyboard.terminal) as terminal:
        keyboard.press(b'r')
        threading.Timer(0.5, keyboard.press, [b'q']).start()
        moments = screen.watch(terminal, maze, episodes.dice(5), 3, 1.0)
    keyboard.close()
    assert [moment.length for moment in moments] == [0, 0]


def test_a_picture_is_as_large_as_fits():
    world = boxworld.BoxWorld(size=7, num_colors=4, solution_length=(1, 1), num_distractors=(0, 0))
    boxes = show(world, hide=True)
    moment = screen._first(boxes, 0)
    for size, scale in [((80, 24), 4), ((80, 18), 3), ((19, 24), 2), ((10, 8), 1)]:
        lines = screen.paint(boxes, moment, 'advice', os.terminal_size(size))
        rows = lines[1:-2]
        assert len(rows) == (9 * scale + 1) // 2
        assert rows[0].count('▀') == 9 * scale
        assert lines[0] == 'a title'
        assert lines[-2:] == [
            'score 0   steps 0   no key in hand'[: size[0] - 1],
            'advice',
        ]
    cut = screen.paint(boxes, moment, 'advice', os.terminal_size((6, 5)))
    assert [line.count('▀') for line in cut] == [0, 5, 5, 0, 0]


def test_a_small_terminal_is_refused(maze):
    screen.check_size(maze, os.terminal_size((20, 11)))
    for size in [(19, 24), (80, 10)]:
        with pytest.raises(errors.RunError, match='at least 20 columns and 11 lines') as error:
            screen.check_size(maze, os.terminal_size(size))
        assert error.value.code == errors.USAGE
