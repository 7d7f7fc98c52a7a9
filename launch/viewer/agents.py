"""The agent of a trained run, whichever of the programs trained it."""

import pathlib
from typing import Any

from launch.agents import agent_run
from launch.runs import directory, errors
from launch.viewer import environments, episodes


def program_of(run_dir: str, wanted: str | None) -> str:
    """Returns the name of the program that trained a run, without loading the run.

    Args:
      run_dir: its directory.
      wanted: the program that it has to be, None for any.

    Raises:
      RunError, DataError: it is no run, or one of another program.
    """
    folder, known = pathlib.Path(run_dir), environments.PROGRAMS
    if not (folder / 'checkpoints').is_dir():
        raise _bad_data(run_dir, 'wanted the directory of a trained run, it has none')
    description = directory.read_description(folder)
    if not description:
        raise _bad_data(run_dir, f'wanted a run with {directory.DESCRIPTION}, it has none')
    program = description['program']
    if program not in known:
        raise _bad_data(run_dir, f'wanted a run of {" or ".join(known)}, got one of {program}')
    if wanted not in (None, program):
        message = f'--world={wanted}: the run of --run_dir={run_dir} is one of {program}'
        raise errors.RunError(errors.MISMATCH, message)
    return program


def load(run_dir: str, program: str, greedy: bool) -> tuple[Any, episodes.Policy, str]:
    """Returns the flags of a run, its agent, and a line about it.

    Args:
      run_dir: its directory, which is owned while it is read.
      program: that trained it.
      greedy: whether the agent takes the likeliest action.

    Raises:
      RunError: there is no whole checkpoint, or another process owns the directory.
    """
    module = environments.PROGRAMS[program]
    with directory.RunDirectory(run_dir):
        asked = module.Config(run_dir=run_dir)
        config, _, model, state = agent_run.load(asked, module.PROGRAM, run_dir)
    about = f'{config.core} after {int(state.step):,} updates'
    return config, episodes.agent(model, state.params, greedy), about


def _bad_data(run_dir: str, message: str) -> errors.RunError:
    return errors.RunError(errors.BAD_DATA, f'--run_dir={run_dir}: {message}')
