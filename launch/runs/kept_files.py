"""Files that a run keeps because its checkpoints mean nothing without them, such as a vocabulary.

Their digests stand in the metadata of every checkpoint under `files`, so that a file of another run
is not taken for the run's own.
"""

from collections.abc import Callable, Mapping
import os
import pathlib
from typing import Any

from launch.runs import errors
from tasks import base, storage


def save(
    run_dir: str | os.PathLike[str], files: Mapping[str, Callable[[pathlib.Path], None]]
) -> dict[str, str]:
    """Writes the files of a run.

    Args:
      run_dir: the run's directory, which this process owns.
      files: what writes a file, by its name.

    Returns:
      The SHA-256 of each file, for the metadata of checkpoints.

    Raises:
      RunError: a file cannot be written.
    """
    sums = {}
    for name, write in files.items():
        path = pathlib.Path(run_dir, name)
        try:
            write(path)
            sums[name] = storage.sha256(path)
        except OSError as error:
            message = f'{path} cannot be written: {error.strerror}'
            raise errors.RunError(errors.CANNOT_SAVE, message) from error
    return sums


def find(run_dir: str | os.PathLike[str], metadata: Mapping[str, Any], name: str) -> pathlib.Path:
    """Returns the path of a file that `save` wrote.

    Args:
      run_dir: the run's directory.
      metadata: of its checkpoint.
      name: of the file.

    Raises:
      DataError: the file cannot be read, or is not the one of the checkpoint.
    """
    path = pathlib.Path(run_dir, name)
    remedy = "restore it, or run the training command again, which writes the run's own"
    try:
        found = storage.sha256(path)
    except OSError as error:
        raise base.DataError(f'{path} cannot be read ({error.strerror}): {remedy}') from error
    sums = metadata.get('files')
    if not isinstance(sums, Mapping) or sums.get(name) != found:
        raise base.DataError(f'{path} is not the one that the checkpoint belongs to: {remedy}')
    return path
