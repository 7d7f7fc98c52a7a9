"""A person plays in a terminal, or watches an agent."""

import os
import time
from typing import NamedTuple

from launch.runs import errors
from launch.viewer import environments, episodes, pictures
from launch.viewer import terminal as terminal_lib

_LARGEST = 4  # columns of text that a square may take
_NUM_TEXTS = 3  # lines above and below the picture
_LINGER = 1.5  # seconds that the last picture of an episode stays
_HELP = 'r starts a new episode, q quits'


class Show(NamedTuple):
    """What is shown, and how."""

    title: str
    environment: environments.Environment
    seed: int
    hide: bool  # whether what is not visible is hidden, instead of dimmed


def play(terminal: terminal_lib.Terminal, show: Show) -> list[episodes.Step]:
    """Lets a person play until he or she quits; returns the last step of each episode."""
    steps = [episodes.first(show.environment, show.seed, 0)]
    names = show.environment.action_names
    advice = f'arrows or wasd move{", space stays" if "stay" in names else ""}, {_HELP}'
    while True:
        terminal.draw(compose(show, steps[-1], advice, terminal.size))
        key = terminal.read(None)
        if key == terminal_lib.QUIT:
            return steps
        if key == terminal_lib.RESET:
            steps.append(episodes.first(show.environment, show.seed, len(steps)))
        elif key in names and not steps[-1].timestep.last:
            steps[-1] = episodes.advance(show.environment, steps[-1], names.index(key))


def watch(
    terminal: terminal_lib.Terminal,
    show: Show,
    policy: episodes.Policy,
    num_episodes: int,
    steps_per_second: float,
) -> list[episodes.Step]:
    """Shows episodes of a policy until a person quits; returns the last step of each.

    From `num_episodes` on, the last picture of an episode stays until a key is pressed.
    """
    steps: list[episodes.Step] = []
    while True:
        number, key = len(steps), ''
        for step in episodes.episode(show.environment, policy, show.seed, number):
            steps[number:] = [step]
            seconds = _LINGER if step.timestep.last else 1 / steps_per_second
            key = _present(terminal, show, step, seconds)
            if key:
                break
        if not key and number + 1 >= num_episodes:
            key = _present(terminal, show, steps[-1], None)
        if key == terminal_lib.QUIT:
            return steps


def compose(
    show: Show, step: episodes.Step, advice: str, size: os.terminal_size
) -> terminal_lib.View:
    """Returns what a terminal shows of a step, as large as fits; the advice says what keys do."""
    scene = environments.scene(show.environment, step.state)
    height, width = scene.picture.shape[:2]
    rows = 2 * (size.lines - _NUM_TEXTS)
    scale = max(1, min((size.columns - 1) // width, rows // height, _LARGEST))
    picture = pictures.enlarge(pictures.shade(scene.picture, scene.visible, show.hide), scale)
    end = environments.ending(show.environment, step.timestep)
    status = f'return {step.episode_return:g}   steps {step.length}   {scene.status}'
    advice = f'{end}; {advice}' if end else advice
    return terminal_lib.View(show.title, picture, scene.color, status, advice)


def check_size(show: Show, size: os.terminal_size) -> None:
    """Raises a RunError if a terminal is too small for the environment."""
    state = episodes.first(show.environment, show.seed, 0).state
    height, width = environments.scene(show.environment, state).picture.shape[:2]
    columns, lines = width + 1, (height + 1) // 2 + _NUM_TEXTS
    if size.columns < columns or size.lines < lines:
        wanted = f'wanted a terminal of at least {columns} columns and {lines} lines'
        got = f'got {size.columns} and {size.lines}; --gif=FILE.gif writes a file'
        raise errors.RunError(errors.USAGE, f'{wanted}, {got}')


def _present(
    terminal: terminal_lib.Terminal, show: Show, step: episodes.Step, seconds: float | None
) -> str:
    """Shows a step for some seconds, None for without end; returns QUIT, RESET or ''."""
    end = None if seconds is None else time.monotonic() + seconds
    while end is None or time.monotonic() < end:
        terminal.draw(compose(show, step, _HELP, terminal.size))
        key = terminal.read(None if end is None else max(0.0, end - time.monotonic()))
        if key in (terminal_lib.QUIT, terminal_lib.RESET):
            return key
    return ''
