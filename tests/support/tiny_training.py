"""A program of a second: it trains a recurrent network of one line, as one of several processes.

With `--act` it sends itself a signal as it makes the batch of step `--at`.
"""

import dataclasses
import os
import signal
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from launch.runs import directory, flags, processes, signals
from launch.training import devices, loop
from launch.training import task as task_lib
from relational_rnn import losses
from tasks import base

T, B, D, H = 2, 8, 3, 5


@dataclasses.dataclass(frozen=True)
class Config(loop.Config, processes.Config):
    """Trains next to nothing."""

    num_steps: int = flags.flag(20, 'updates in all', 'warn')
    batch_size: int = flags.flag(B, 'sequences in a batch', 'fixed')
    log_every: int = flags.flag(1, 'updates between lines of metrics', 'free')
    evaluate_every: int = flags.flag(10, 'updates between evaluations', 'free')
    act: Literal['none', 'SIGTERM', 'SIGKILL'] = flags.flag('none', 'a signal', 'free')
    at: int = flags.flag(0, 'the step at which it comes', 'free')


def _init(key):
    first, second = jax.random.split(key)
    return {'a': jax.random.normal(first, (D, H)), 'b': jax.random.normal(second, (H,))}


def _loss(params, batch, carry, keys):
    noise = jax.vmap(lambda key: jax.random.normal(key, (H,)))(keys)
    total = jnp.zeros(())
    for inputs, targets in zip(batch.inputs, batch.targets, strict=True):
        carry = jnp.tanh(inputs @ params['a'] + 0.5 * carry + 0.1 * noise)
        total += jnp.sum((carry @ params['b'] - targets) ** 2)
    return {'loss': losses.WeightedSum(total, jnp.sum(batch.weights))}, carry


def make_task(config):
    def batch(step):
        if config.act != 'none' and step == config.at:
            os.kill(os.getpid(), signal.Signals[config.act])
        rng, share = np.random.default_rng(step), devices.process_slice(B)
        inputs = rng.normal(size=(T, B, D)).astype(np.float32)[:, share]
        targets = inputs.sum(axis=-1)
        return base.Batch(inputs, targets, np.ones_like(targets), np.zeros(targets.shape, bool))

    return task_lib.Task(
        init=_init,
        initial_carry=np.zeros((B, H), np.float32),
        loss=_loss,
        batch=batch,
        evaluate=lambda params: {'norm': float(np.abs(params['b']).sum())},
        test=lambda params, thorough: {},
        unit='words',
        consumes=('words', T * B),
        core_parameters=0,
    )


def run(config):
    with (
        signals.handled(),
        processes.join(config, config.run_dir) as run_dir,
        directory.owned(run_dir),
    ):
        return loop.train(config, make_task(config), run_dir, {'config': {}})


if __name__ == '__main__':
    processes.leave(flags.main(Config, run, 'tiny_training'))
