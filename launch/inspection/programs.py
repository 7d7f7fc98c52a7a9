"""The programs whose runs can be inspected; each has a file in this folder."""

from collections.abc import Callable, Mapping

from launch.inspection import learning_to_execute, lm, nth_farthest, subjects
from launch.runs import directory, errors

INSPECTORS: Mapping[str, Callable[[subjects.Request], subjects.Subject]] = {
    'learning_to_execute': learning_to_execute.inspect,
    'lm': lm.inspect,
    'nth_farthest': nth_farthest.inspect,
}


def open_run(request: subjects.Request) -> subjects.Subject:
    """Opens a run of any program and chooses its examples.

    Args:
      request: the flags; the caller owns the run's directory.

    Returns:
      The core and its sequences.

    Raises:
      RunError, DataError: the run cannot be used: it has no checkpoint, another core than the RMC,
        or its program is none of `INSPECTORS`.
    """
    description = directory.read_description(request.run_dir)
    if not description:
        raise _bad_data(request, f'wanted a run with {directory.DESCRIPTION}, it has none')
    core, program = description['config'].get('core', 'rmc'), description['program']
    if core != 'rmc':
        raise _bad_data(request, f'wanted a run with --core=rmc, which has a memory, got {core}')
    if program not in INSPECTORS:
        raise _bad_data(request, f'wanted a run of {" or ".join(INSPECTORS)}, got one of {program}')
    return INSPECTORS[program](request)


def _bad_data(request: subjects.Request, message: str) -> errors.RunError:
    return errors.RunError(errors.BAD_DATA, f'--run_dir={request.run_dir}: {message}')
