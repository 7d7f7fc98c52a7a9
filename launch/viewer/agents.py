"""The agent of a trained run, whichever of the programs trained it."""

from typing import Any

from launch import boxworld, mini_pacman
from launch.agents import network as network_lib
from launch.runs import directory, errors
from launch.training import experiment as experiment_lib
from launch.viewer import episodes

EXPERIMENTS = {each.name: each for each in (boxworld.EXPERIMENT, mini_pacman.EXPERIMENT)}


def experiment_of(run_dir: str, wanted: str | None) -> experiment_lib.Experiment:
    """Returns the program that trained a run, without loading the run.

    Raises:
      RunError, DataError: it is no run, or not one of the program that is wanted, if one is.
    """
    description = directory.read_description(run_dir)
    if not description:
        message = f'--run_dir={run_dir}: wanted the directory of a trained run, it has none'
        raise errors.RunError(errors.BAD_DATA, message)
    program, known = description['program'], EXPERIMENTS
    if program not in known:
        message = f'--run_dir={run_dir}: wanted a run of {" or ".join(known)}, got one of {program}'
        raise errors.RunError(errors.BAD_DATA, message)
    if wanted not in (None, program):
        message = f'--world={wanted}: the run of --run_dir={run_dir} is one of {program}'
        raise errors.RunError(errors.MISMATCH, message)
    return known[program]


def load(
    experiment: experiment_lib.Experiment, run_dir: str, greedy: bool
) -> tuple[Any, episodes.Policy, str]:
    """Returns the flags of a run, its agent, and a line about it.

    Raises:
      RunError: there is no whole checkpoint.
    """
    config = experiment.config(mode='evaluate', run_dir=run_dir)
    with experiment_lib.opened(config, run_dir):
        config = experiment_lib.restore(experiment, config, run_dir).config
        network = network_lib.make(config, config.environment())
        params, step = experiment_lib.load_params(run_dir, network.init)
    about = f'{config.core} after {step:,} updates'
    return config, episodes.agent(network, params, greedy), about
