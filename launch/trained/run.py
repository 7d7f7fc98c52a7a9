"""What trained runs of all programs have in common.

Glossary of shapes:
  B: batch.
"""

import abc
from collections.abc import Callable, Mapping
import dataclasses
import os
import pathlib
from typing import Any

import chex

from launch.trained import exporting
from launch.training import experiment as experiment_lib


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Run(abc.ABC):
    """A trained run: what it was trained with, and the parameters of its newest checkpoint."""

    run_dir: str
    program: str  # of `launch` that trained it
    config: Any  # that program's `Config`, as the run was trained
    metadata: Mapping[str, Any]  # of the checkpoint
    num_updates: int  # after which the parameters were saved
    params: chex.ArrayTree  # Haiku's, on the device

    def __repr__(self) -> str:
        return f'<{type(self).__name__} {self.title}>'

    @property
    def title(self) -> str:
        """Names the program, the core and the number of updates."""
        return f'{self.program}, {self.config.core}, after {self.num_updates:,} updates'

    def export(self, folder: str | os.PathLike[str], batch_size: int | None = None) -> pathlib.Path:
        """Writes the run as files that a process without Haiku and this project can serve.

        Args:
          folder: where to, see `exporting`; it is created where it is missing.
          batch_size: B of the function; None leaves B open to each call.

        Returns:
          The folder.

        Raises:
          RunError: a file cannot be written.
        """
        about = {
            'program': self.program,
            'num_updates': self.num_updates,
            'config': dataclasses.asdict(self.config),
        }
        return exporting.write(
            pathlib.Path(folder), self.servable(), self.params, about, batch_size
        )

    @abc.abstractmethod
    def servable(self) -> exporting.Servable:
        """Returns what `export` writes."""


def load(
    kind: Callable[..., Any],
    experiment: experiment_lib.Experiment,
    run_dir: str,
    make_network: Callable[[Any], Any],
) -> Any:
    """Loads a run whose network its flags determine; raises as `loading.load`.

    Args:
      kind: the `Run`, with `network` as its own field.
      experiment: the program of the run.
      run_dir: its directory.
      make_network: makes of the flags the network, with `init`.
    """
    config, _, metadata = experiment_lib.read(experiment, run_dir)
    network = make_network(config)
    params, step = experiment_lib.load_params(run_dir, network.init)
    return kind(run_dir, experiment.name, config, metadata, step, params, network)
