"""Loads a trained run, whichever program trained it."""

from collections.abc import Callable, Mapping
import functools
import os
from typing import Any

from launch import boxworld, mini_pacman
from launch.runs import directory
from launch.trained import agent, language_model, learning_to_execute, nth_farthest

_LOADERS: Mapping[str, Callable[[str], Any]] = {
    'boxworld': functools.partial(agent.load, boxworld.EXPERIMENT),
    'learning_to_execute': learning_to_execute.load,
    'lm': language_model.load,
    'mini_pacman': functools.partial(agent.load, mini_pacman.EXPERIMENT),
    'nth_farthest': nth_farthest.load,
}


def load(run_dir: str | os.PathLike[str]) -> Any:
    """Loads the newest whole checkpoint of a run, also of one that is being trained.

    Args:
      run_dir: the run's directory; nothing is written into it.

    Returns:
      A `LanguageModel`, `NthFarthest`, `LearningToExecute` or `Agent`, by the run's program.

    Raises:
      RunError, DataError: it is no run, has no whole checkpoint yet, or cannot be used.
    """
    program = directory.require_description(run_dir, _LOADERS)['program']
    return _LOADERS[program](os.fspath(run_dir))
