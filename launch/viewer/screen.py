"""A person plays in a terminal, or watches who plays."""

import functools
import os
import time
from typing import NamedTuple

from launch.runs import errors
from launch.viewer import environments, episodes, keyboard, pictures
from launch.viewer import terminal as terminal_lib

_LARGEST = 4  # columns of text that a square may take
_TEXTS = 3  # lines beside the picture
_LINGER = 1.5  # seconds that the last picture of an episode stays


class Show(NamedTuple):
    """What is shown, and how."""

    title: str
    world: environments.World
    game: episodes.Game
    seed: int
    hide: bool  # whether what is not seen is hidden, instead of dimmed


def play(terminal: terminal_lib.Terminal, show: Show) -> list[episodes.Moment]:
    """Lets a person play until he or she quits.

    Args:
      terminal: this process's.
      show: the world.

    Returns:
      Where each episode was when it was left.
    """
    moments = [_first(show, 0)]
    while True:
        terminal.draw(paint(show, moments[-1], _help(show), terminal.size))
        for name in terminal.read(None):
            if name == keyboard.QUIT:
                return moments
            if name == keyboard.ANEW:
                moments.append(_first(show, len(moments)))
            elif name in show.world.action_names and not moments[-1].seen.last:
                action = show.world.action_names.index(name)
                moments[-1] = episodes.advance(show.game, moments[-1], action)


def watch(
    terminal: terminal_lib.Terminal,
    show: Show,
    policy: episodes.Policy,
    num_episodes: int,
    frames_per_second: float,
) -> list[episodes.Moment]:
    """Lets a person watch until he or she quits.

    Args:
      terminal: this process's.
      show: the world.
      policy: who plays.
      num_episodes: after how many the show stops, and waits for a key.
      frames_per_second: the speed.

    Returns:
      Where each episode was when it was left.
    """
    moments: list[episodes.Moment] = []
    pause = 1 / frames_per_second
    while True:
        number, key = len(moments), ''
        for moment in episodes.episode(show.game, policy, show.seed, number):
            moments[number:] = [moment]
            key = _present(terminal, show, moment, _LINGER if moment.seen.last else pause)
            if key:
                break
        if not key and number + 1 >= num_episodes:
            key = _present(terminal, show, moments[-1], None)
        if key == keyboard.QUIT:
            return moments


def paint(show: Show, moment: episodes.Moment, advice: str, size: os.terminal_size) -> list[str]:
    """Returns the lines that show a moment, as large as fits; what does not fit is cut off.

    Args:
      show: the world.
      moment: of an episode in it.
      advice: what keys do.
      size: columns and lines of the terminal.
    """
    scene = environments.look(show.world, moment.state)
    height, width = scene.picture.shape[:2]
    columns, rows = size.columns - 1, 2 * (size.lines - _TEXTS)
    scale = max(1, min(columns // width, rows // height, _LARGEST))
    shaded = pictures.shade(scene.picture, scene.seen, show.hide)
    picture = pictures.enlarge(shaded, scale)[: max(0, rows), :columns]
    end = environments.ending(show.world, moment.seen)
    status = f'score {moment.returned:g}   steps {moment.length}   {scene.status}'
    mark = '' if scene.color is None else f'{pictures.swatch(scene.color)} '
    status = mark + status[: columns - (3 if mark else 0)]
    advice = f'{end}; {advice}' if end else advice
    return [show.title[:columns], *pictures.half_blocks(picture), status, advice[:columns]]


def check_size(show: Show, size: os.terminal_size) -> None:
    """Raises a RunError if a terminal is too small for the world."""
    height, width = environments.look(show.world, _first(show, 0).state).picture.shape[:2]
    columns, lines = width + 1, (height + 1) // 2 + _TEXTS
    if size.columns < columns or size.lines < lines:
        wanted = f'wanted a terminal of at least {columns} columns and {lines} lines'
        got = f'got {size.columns} and {size.lines}; --gif=FILE.gif writes a file'
        raise errors.RunError(errors.USAGE, f'{wanted}, {got}')


def _first(show: Show, number: int) -> episodes.Moment:
    """Returns the begin of an episode, by its number."""
    return episodes.begin(show.game, episodes.keys(show.seed, number)[0])


def _present(
    terminal: terminal_lib.Terminal,
    show: Show,
    moment: episodes.Moment,
    seconds: float | None,
) -> str:
    """Shows a moment for some seconds, None for without end; returns QUIT, ANEW or ''."""
    draw = functools.partial(paint, show, moment, 'r begins anew, q quits')
    end = None if seconds is None else time.monotonic() + seconds
    while end is None or time.monotonic() < end:
        terminal.draw(draw(terminal.size))
        for name in terminal.read(None if end is None else max(0.0, end - time.monotonic())):
            if name in (keyboard.QUIT, keyboard.ANEW):
                return name
    return ''


def _help(show: Show) -> str:
    """Returns what keys do when a person plays."""
    stay = ', space stays' if 'stay' in show.world.action_names else ''
    return f'arrows or wasd move{stay}, r begins anew, q quits'
