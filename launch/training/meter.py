"""What the updates between two lines of a training's log come to, and the time that they took."""

from collections.abc import Iterator
import contextlib
import time

import numpy as np

from launch.runs import display
from launch.training import task as task_lib
from launch.training import update as update_lib


class Meter:
    """Sums the metrics of the updates between two lines of the log, and the time they took."""

    def __init__(self, task: task_lib.Task) -> None:
        """Starts empty."""
        self._task = task
        self.restart()

    def restart(self) -> None:
        """Forgets everything and starts the clock."""
        self.num_updates = 0
        self._sums: dict[str, np.ndarray] = {}  # total and weight
        self._start = time.monotonic()

    def add(self, report: update_lib.Report) -> None:
        """Adds the updates of one call."""
        self.num_updates += int(report.num_updates)
        for name, value in report.metrics.items():
            self._sums[name] = self._sums.get(name, 0) + np.asarray(value, np.float64)

    def read(self) -> dict[str, float]:
        """Returns the means since the last reading, of what had a weight, and restarts."""
        seconds = max(time.monotonic() - self._start, 1e-9)
        means = {name: float(x[0] / x[1]) for name, x in self._sums.items() if x[1]}
        loss, grad_norm = means.pop('loss'), means.pop('grad_norm')
        values = {
            'loss': loss,
            **({'perplexity': display.perplexity(loss)} if self._task.perplexity else {}),
            **means,
            f'{self._task.unit}_per_second': float(self._sums['loss'][1]) / seconds,
            'grad_norm': grad_norm,
            'seconds': seconds,
        }
        self.restart()
        return values

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stops the clock for what is no training."""
        start = time.monotonic()
        yield
        self._start += time.monotonic() - start
