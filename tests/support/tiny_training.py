"""A program of a second: it trains `toy_task`, as one of several processes.

With `--act` it sends itself a signal as it makes the batch of step `--at`.
"""

import dataclasses
import os
import signal
from typing import Literal

import jax

from launch.runs import directory, errors, flags, processes, signals
from launch.training import devices, loop
from tests.support import toy_task


@dataclasses.dataclass(frozen=True)
class Config(loop.Config, processes.Config):
    """Trains next to nothing."""

    num_steps: int = flags.flag(20, 'updates in all', 'warn')
    batch_size: int = flags.flag(toy_task.B, 'sequences in a batch', 'fixed')
    log_every: int = flags.flag(1, 'updates between lines of metrics', 'free')
    evaluate_every: int = flags.flag(10, 'updates between evaluations', 'free')
    act: Literal['none', 'SIGTERM', 'SIGKILL'] = flags.flag('none', 'a signal', 'free')
    at: int = flags.flag(0, 'the step at which it comes', 'free')


def make_task(config):
    task = toy_task.make()

    def batch(step):
        if config.act != 'none' and step == config.at:
            os.kill(os.getpid(), signal.Signals[config.act])
        share = devices.process_slice(config.batch_size)
        return jax.tree.map(lambda x: x[:, share], task.batch(step))

    return task._replace(batch=batch)


def run(config, finish=lambda run_dir: None):
    """Trains, and calls `finish` while the processes are still connected."""
    with (
        signals.handled(),
        processes.join(dataclasses.replace(config, act='none', at=0), config.run_dir) as run_dir,
        directory.owned(run_dir),
    ):
        state = loop.train(config, make_task(config), run_dir, {'config': {}})
        finish(run_dir)
        return state


if __name__ == '__main__':
    errors.leave(flags.main(Config, run, 'tiny_training'))
