"""Exports a trained run as files that are served without Haiku and this project.

  python -m launch.export --run_dir=runs/lm-pydoc-rmc --output=served

`launch/trained/exporting.py` describes the files, docs/trained_runs.md a process that serves them.
From Python it is `trained.load(run_dir).export(folder)`.
"""

import dataclasses

from launch import trained
from launch.runs import directory, errors, flags


@dataclasses.dataclass(frozen=True)
class Config:
    """Exports the step of a trained run, or its answer to whole sequences, by `jax.export`."""

    run_dir: str | None = flags.flag(None, 'of a run of any experiment', 'free', path=True)
    output: str | None = flags.flag(None, 'the folder of the files', 'free', path=True)
    batch_size: int = flags.flag(0, 'of the function; 0 leaves it open to each call', 'free', 0)

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        flags.check(self)
        directory.check_path('run_dir', self.run_dir)
        directory.check_path('output', self.output)


def run(config: Config) -> str:
    """Writes the files, prints what they are, and returns their folder.

    Args:
      config: the flags.

    Raises:
      RunError, DataError: the run cannot be loaded, or a file not be written.
    """
    if config.run_dir is None or config.output is None:
        name, what = ('run_dir', 'trained run') if config.run_dir is None else ('output', 'export')
        message = f'--{name}: wanted the directory of a {what}, got none'
        raise errors.RunError(errors.USAGE, message)
    loaded = trained.load(config.run_dir)
    folder = loaded.export(config.output, config.batch_size or None)
    print(f'{loaded.title}\nexported to  {folder}')
    return str(folder)


if __name__ == '__main__':
    errors.leave(flags.main(Config, run, 'export'))
