"""The agent of a trained run, whichever of the programs trained it."""

from typing import Any

from launch import boxworld, mini_pacman
from launch.runs import directory, errors
from launch.trained import agent
from launch.training import experiment as experiment_lib
from launch.viewer import episodes

EXPERIMENTS = {each.name: each for each in (boxworld.EXPERIMENT, mini_pacman.EXPERIMENT)}


def experiment_of(run_dir: str, wanted: str | None) -> experiment_lib.Experiment:
    """Returns the program that trained a run, without loading the run.

    Raises:
      RunError, DataError: it is no run, or not one of the program that is wanted, if one is.
    """
    program = directory.require_description(run_dir, EXPERIMENTS)['program']
    if wanted not in (None, program):
        message = f'--world={wanted}: the run of --run_dir={run_dir} is one of {program}'
        raise errors.RunError(errors.MISMATCH, message)
    return EXPERIMENTS[program]


def load(
    experiment: experiment_lib.Experiment, run_dir: str, greedy: bool
) -> tuple[Any, episodes.Policy, str]:
    """Returns the flags of a run, its agent, and a line about it.

    Raises:
      RunError: there is no whole checkpoint.
    """
    run = agent.load(experiment, run_dir)
    about = f'{run.config.core} after {run.num_updates:,} updates'
    return run.config, episodes.agent(run.network, run.params, greedy), about
