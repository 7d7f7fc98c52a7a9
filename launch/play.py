"""Plays BoxWorld or Mini PacMan: a person in a terminal, or an agent, there or in a GIF.

  python -m launch.play --world=mini_pacman                you play: arrows or wasd, space stays
  python -m launch.play --world=boxworld --hide            you see no more than an agent does
  python -m launch.play --run_dir=RUN                      watch the agent of a run
  python -m launch.play --run_dir=RUN --gif=agent.gif      write a file instead
  python -m launch.play --world=boxworld --gif=dice.gif    of a policy that rolls dice

r begins anew, q quits. A world is that of `--preset` of the program that trains in it, an agent's
is the one that it was trained in. What is outside of the window that an agent sees is dimmed, as in
figure 2 of Santoro et al. 2018, "Relational recurrent neural networks",
https://arxiv.org/abs/1806.01822, or hidden. The episodes of a seed are the same for all who play,
and none is one that a run trains on.
"""

from collections.abc import Sequence
import dataclasses
import os
import pathlib
import sys
from typing import Any, Literal

import numpy as np

from launch.runs import errors
from launch.runs import flags as flags_lib
from launch.viewer import agents, environments, screen
from launch.viewer import episodes as episodes_lib
from launch.viewer import gif as gif_lib
from launch.viewer import pictures as pictures_lib
from launch.viewer import terminal as terminal_lib

_PRESET = 'cpu'
_OF_A_WORLD = ('viewport', 'game', 'rules')
_LONGEST_GIF = 1000  # steps of an episode, unless --max_steps says more


@dataclasses.dataclass(frozen=True)
class Config:
    """Plays a world, or shows how an agent does."""

    world: Literal['boxworld', 'mini_pacman'] | None = flags_lib.flag(None, 'where to play', 'free')
    run_dir: str | None = flags_lib.flag(None, 'of a trained agent, which plays', 'free')
    gif: str | None = flags_lib.flag(None, 'a file, NAME.gif, to be written instead', 'free')
    preset: str | None = flags_lib.flag(None, f"of the world's program; default {_PRESET}", 'free')
    viewport: int | None = flags_lib.flag(
        None, 'squares of a side that an agent sees, odd; 0 for all; default as the preset', 'free'
    )
    game: str | None = flags_lib.flag(None, 'of mini_pacman: as its program says', 'free')
    rules: str | None = flags_lib.flag(None, 'of mini_pacman: as its program says', 'free')
    hide: bool = flags_lib.flag(False, 'hides what is outside of the window, else dimmed', 'free')
    greedy: bool = flags_lib.flag(False, 'the agent takes the likeliest action, else draws', 'free')
    seed: int = flags_lib.flag(0, 'of episodes, and of what an agent does', 'free', minimum=0)
    episodes: int = flags_lib.flag(1, 'that an agent plays', 'free', 1, 1000)
    max_steps: int | None = flags_lib.flag(
        None, f'of an episode; default as the world, in a GIF {_LONGEST_GIF} at most', 'free', 1
    )
    frames_per_second: float = flags_lib.flag(8, 'steps that an agent makes', 'free', 1, 50)

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        flags_lib.check(self)
        if self.gif is not None and not self.gif.endswith('.gif'):
            raise ValueError(f'--gif: wanted a name that ends in .gif, got {self.gif!r}')
        if self.run_dir is not None:
            for name in ('preset', *_OF_A_WORLD):
                if getattr(self, name) is not None:
                    raise ValueError(f"--{name}: wanted none beside --run_dir, it is the run's")
        elif self.greedy:
            raise ValueError('--greedy: wanted --run_dir=RUN beside it, dice like all actions')
        elif self.world is not None:
            self.trainer()

    def trainer(self) -> Any:
        """Returns the flags of the program that trains in the world that is asked for."""
        module, preset = environments.WORLDS[self.world or ''], self.preset or _PRESET
        flags_lib.check_choice('preset', preset, module.PRESETS)
        known = {field.name for field in dataclasses.fields(module.Config)}
        flags = {name: getattr(self, name) for name in _OF_A_WORLD}
        flags = {name: value for name, value in flags.items() if value is not None}
        for name in flags.keys() - known:
            raise ValueError(f'--{name}: {self.world} has none')
        return dataclasses.replace(module.PRESETS[preset], **flags)


def run(config: Config) -> dict[str, float]:
    """Plays, and prints what came of it.

    Args:
      config: the flags.

    Returns:
      'return' and 'length', means over the episodes.

    Raises:
      RunError, DataError: there is no terminal, the run cannot be used, or no file be written.
    """
    _check(config)
    policy = None
    if config.run_dir is not None:
        name = agents.world_of(config.run_dir, config.world)
        print(f'{name}: loads the agent of {config.run_dir}', flush=True)
        flags, policy, about = agents.load(config.run_dir, name, config.greedy)
    else:
        flags, name, about = config.trainer(), config.world or '', ''
    title = ', '.join(filter(None, [environments.WORLDS[name].title(flags), about]))
    print(title, flush=True)
    world = _limit(flags.environment(), config)
    game = episodes_lib.make_game(world)
    show = screen.Show(title, world, game, config.seed, config.hide)
    if config.gif is None:
        moments = _on_screen(config, show, policy)
    else:
        moments = _write(config, show, policy or episodes_lib.dice(world.num_actions))
    return _report(world, moments)


def _check(config: Config) -> None:
    """Raises a RunError for what cannot be, before anything is loaded."""
    if config.world is None and config.run_dir is None:
        message = '--world: wanted one of boxworld, mini_pacman, or --run_dir=RUN, got neither'
        raise errors.RunError(errors.USAGE, message)
    if config.gif is None:
        for file, name in ((sys.stdin, 'input'), (sys.stdout, 'output')):
            if not file.isatty():
                message = f'wanted a terminal, the {name} is none; --gif=FILE.gif writes a file'
                raise errors.RunError(errors.USAGE, message)
        return
    folder, wanted = pathlib.Path(config.gif).parent, f'--gif={config.gif}: wanted'
    if not folder.is_dir():
        message = f'{wanted} a folder that is there, {folder} is not'
        raise errors.RunError(errors.CANNOT_SAVE, message)
    if os.path.isdir(config.gif) or not os.access(folder, os.W_OK):
        raise errors.RunError(errors.CANNOT_SAVE, f'{wanted} a file that can be written')


def _limit(world: environments.World, config: Config) -> environments.World:
    """Returns a world whose episodes are no longer than asked for."""
    limit = config.max_steps
    if limit is None and config.gif is not None:
        limit = min(world.max_steps or _LONGEST_GIF, _LONGEST_GIF)
    return world if limit is None else dataclasses.replace(world, max_steps=limit)


def _on_screen(
    config: Config, show: screen.Show, policy: episodes_lib.Policy | None
) -> list[episodes_lib.Moment]:
    """Returns where episodes were left that a person played, or an agent if there is one."""
    terminal = terminal_lib.Terminal()
    screen.check_size(show, terminal.size)
    if policy is not None:
        episodes_lib.warm_up(show.game, policy)
    with terminal:
        if policy is None:
            return screen.play(terminal, show)
        pace = config.episodes, config.frames_per_second
        return screen.watch(terminal, show, policy, *pace)


def _write(
    config: Config, show: screen.Show, policy: episodes_lib.Policy
) -> list[episodes_lib.Moment]:
    """Writes the GIF and returns the ends of its episodes."""
    pictures: list[list[np.ndarray]] = []
    ends = []
    for number in range(config.episodes):
        pictures.append([])
        for moment in episodes_lib.episode(show.game, policy, show.seed, number):
            scene = environments.look(show.world, moment.state)
            pictures[-1].append(pictures_lib.shade(scene.picture, scene.seen, show.hide))
        ends.append(moment)
    path = pathlib.Path(config.gif or '')
    data = gif_lib.encode(pictures, config.frames_per_second)
    try:
        path.write_bytes(data)
    except OSError as error:
        message = f'{path} cannot be written: {error.strerror}'
        raise errors.RunError(errors.CANNOT_SAVE, message) from error
    print(f'gif          {path}, {len(data) / 1000:,.0f} kB')
    return ends


def _report(world: environments.World, moments: Sequence[episodes_lib.Moment]) -> dict[str, float]:
    """Prints how each episode went, and returns the means."""
    for number, moment in enumerate(moments, 1):
        end = environments.ending(world, moment.seen) or 'left before its end'
        numbers = f'return {moment.returned:g}, {moment.length} steps'
        print(f'episode {number:<4} {numbers}; {end}')
    return {
        'return': float(np.mean([moment.returned for moment in moments])),
        'length': float(np.mean([moment.length for moment in moments])),
    }


if __name__ == '__main__':
    sys.exit(flags_lib.main(Config, run, 'play'))
