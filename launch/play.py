"""Plays BoxWorld or Mini PacMan: a person in a terminal, or an agent, there or in a GIF.

  python -m launch.play --world=mini_pacman                you play: arrows or wasd, space stays
  python -m launch.play --world=boxworld --hide            you see no more than an agent does
  python -m launch.play --run_dir=RUN                      watch the agent of a run
  python -m launch.play --run_dir=RUN --gif=agent.gif      write a file instead
  python -m launch.play --world=boxworld --gif=random.gif  of the uniformly random policy

r starts a new episode, q quits. The environment is that of `--preset` of the program that trains in
it, or the one that the agent was trained in. What is outside of the window that an agent sees is
dimmed, as in figure 2 of Santoro et al. 2018, "Relational recurrent neural networks",
https://arxiv.org/abs/1806.01822, or hidden. The episodes of a seed are the same for every policy,
and held out from training.
"""

from collections.abc import Sequence
import dataclasses
import os
import pathlib
from typing import Any, Literal

import numpy as np

from launch.runs import directory, errors, flags
from launch.viewer import agents, environments, gif, pictures, screen, terminal
from launch.viewer import episodes as episodes_lib
from tasks import storage

_PRESET = 'cpu'
_OPTIONS = ('viewport', 'game', 'rules')  # flags of the programs that train
_LONGEST_GIF = 1000  # steps of an episode, unless --max_steps says more


@dataclasses.dataclass(frozen=True)
class Config:
    """Plays an environment, or shows how an agent does."""

    world: Literal['boxworld', 'mini_pacman'] | None = flags.flag(None, 'the environment', 'free')
    run_dir: str | None = flags.flag(
        None, 'directory of the run whose agent plays', 'free', path=True
    )
    gif: str | None = flags.flag(None, 'a file NAME.gif to write instead', 'free', path=True)
    preset: str | None = flags.flag(
        None, f'of the program that trains in the environment; {_PRESET} if None', 'free'
    )
    viewport: int | None = flags.flag(
        None,
        'side of the window that an agent sees, odd; 0 for all; None as the preset',
        'free',
        0,
        205,
    )
    game: str | None = flags.flag(None, 'of mini_pacman, see its program', 'free')
    rules: str | None = flags.flag(None, 'of mini_pacman, see its program', 'free')
    hide: bool = flags.flag(False, 'hides what is outside of the window, else dimmed', 'free')
    greedy: bool = flags.flag(False, 'the agent takes the likeliest action, else samples', 'free')
    seed: int = flags.flag(0, 'of episodes and actions', 'free', 0)
    episodes: int = flags.flag(1, 'number of episodes of an agent', 'free', 1, 1000)
    max_steps: int | None = flags.flag(
        None, f'of an episode; None as the environment, in a GIF {_LONGEST_GIF}', 'free', 1, 100_000
    )
    frames_per_second: float = flags.flag(8.0, 'steps of an agent in a second', 'free', 1, 50)

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        flags.check(self)
        directory.check_path('run_dir', self.run_dir)
        directory.check_path('gif', self.gif)
        if self.gif is not None and not self.gif.endswith('.gif'):
            raise ValueError(f'--gif: wanted a name that ends in .gif, got {self.gif!r}')
        if self.run_dir is not None:
            for name in ('preset', *_OPTIONS):
                if getattr(self, name) is not None:
                    raise ValueError(f"--{name}: wanted none with --run_dir, it is the run's")
        elif self.greedy:
            raise ValueError('--greedy: wanted --run_dir=RUN with it, the agent of a run')
        elif self.world is not None:
            self.training_config()

    def training_config(self) -> Any:
        """Returns the flags of the program that trains in the environment."""
        experiment, preset = agents.EXPERIMENTS[self.world or ''], self.preset or _PRESET
        flags.check_choice('preset', preset, experiment.presets)
        options = {name: getattr(self, name) for name in _OPTIONS}
        options = {name: value for name, value in options.items() if value is not None}
        for name in options.keys() - flags.on_resume(experiment.config).keys():
            raise ValueError(f'--{name}: {self.world} has none')
        return dataclasses.replace(experiment.presets[preset], **options)


def run(config: Config) -> dict[str, float]:
    """Plays, and prints how the episodes went; returns 'return' and 'length', their means.

    Raises:
      RunError, DataError: there is no terminal, the run cannot be used, or no file be written.
    """
    _check(config)
    environment, title, policy = _load(config)
    print(title, flush=True)
    show = screen.Show(title, environment, config.seed, config.hide)
    random = episodes_lib.uniform(environment.num_actions)
    if config.gif is None:
        steps = _on_screen(config, show, policy)
    else:
        steps = _write_gif(config, show, policy or random)
    return _report(environment, steps)


def _check(config: Config) -> None:
    """Raises a RunError for what cannot be, before anything is loaded."""
    if config.world is None and config.run_dir is None:
        message = '--world: wanted one of boxworld, mini_pacman, or --run_dir=RUN, got neither'
        raise errors.RunError(errors.USAGE, message)
    if config.gif is None:
        terminal.check()
        return
    folder, wanted = pathlib.Path(config.gif).parent, f'--gif={config.gif}: wanted'
    if not folder.is_dir():
        message = f'{wanted} an existing folder, {folder} is none'
        raise errors.RunError(errors.CANNOT_SAVE, message)
    if os.path.isdir(config.gif) or not os.access(folder, os.W_OK):
        raise errors.RunError(errors.CANNOT_SAVE, f'{wanted} a file that can be written')


def _load(config: Config) -> tuple[environments.Environment, str, episodes_lib.Policy | None]:
    """Returns the environment, its title, and the agent if it is that of a run."""
    if config.run_dir is None:
        training_config, policy = config.training_config(), None
        title = agents.EXPERIMENTS[config.world or ''].title(training_config)
    else:
        experiment = agents.experiment_of(config.run_dir, config.world)
        print(f'{experiment.name}: loads the agent of {config.run_dir}', flush=True)
        training_config, policy, about = agents.load(experiment, config.run_dir, config.greedy)
        title = f'{experiment.title(training_config)}, {about}'
    return _limit(training_config.environment(), config), title, policy


def _limit(environment: environments.Environment, config: Config) -> environments.Environment:
    """Returns an environment whose episodes are no longer than the flags allow."""
    limit = config.max_steps
    if limit is None and config.gif is not None:
        limit = min(environment.max_steps or _LONGEST_GIF, _LONGEST_GIF)
    return environment if limit is None else dataclasses.replace(environment, max_steps=limit)


def _on_screen(
    config: Config, show: screen.Show, policy: episodes_lib.Policy | None
) -> list[episodes_lib.Step]:
    """Returns the last steps of the episodes that a person played, or watched an agent play."""
    screen.check_size(show, terminal.size())
    compiled = policy or episodes_lib.uniform(show.environment.num_actions)
    episodes_lib.warm_up(show.environment, compiled)
    if policy is None:
        return terminal.run(lambda opened: screen.play(opened, show))
    pace = config.episodes, config.frames_per_second
    return terminal.run(lambda opened: screen.watch(opened, show, policy, *pace))


def _write_gif(
    config: Config, show: screen.Show, policy: episodes_lib.Policy
) -> list[episodes_lib.Step]:
    """Writes the GIF and returns the last steps of its episodes."""
    all_pictures: list[list[np.ndarray]] = []
    ends = []
    for number in range(config.episodes):
        all_pictures.append([])
        for step in episodes_lib.episode(show.environment, policy, show.seed, number):
            scene = environments.scene(show.environment, step.state)
            all_pictures[-1].append(pictures.shade(scene.picture, scene.visible, show.hide))
        ends.append(step)
    path = pathlib.Path(config.gif or '')
    data = gif.encode(all_pictures, config.frames_per_second)
    try:
        storage.write(path, data)
    except OSError as error:
        message = f'{path} cannot be written: {error.strerror}'
        raise errors.RunError(errors.CANNOT_SAVE, message) from error
    print(f'gif          {path}, {len(data) / 1000:,.0f} kB')
    return ends


def _report(
    environment: environments.Environment, steps: Sequence[episodes_lib.Step]
) -> dict[str, float]:
    """Prints how each episode went, and returns the means."""
    for number, step in enumerate(steps, 1):
        end = environments.ending(environment, step.timestep) or 'left before its end'
        print(f'episode {number:<4} return {step.episode_return:g}, {step.length} steps; {end}')
    return {
        'return': float(np.mean([step.episode_return for step in steps])),
        'length': float(np.mean([step.length for step in steps])),
    }


if __name__ == '__main__':
    errors.leave(flags.main(Config, run, 'play'))
