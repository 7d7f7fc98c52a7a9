"""A task for the tests of training: a recurrent network of one line, with noise for dropout.

Glossary of shapes:
  T, B: time steps and batch size; D, H: sizes of the inputs and of the state.
"""

import os
import signal

import jax
import jax.numpy as jnp
import numpy as np

from launch.training import task
from relational_rnn import losses
from tasks import base

T, B, D, H = 2, 8, 3, 5


def init(key):
    first, second = jax.random.split(key)
    return {
        'a': {'w': jax.random.normal(first, (D, H))},
        'b': {'w': jax.random.normal(second, (H,))},
    }


def loss(params, batch, carry, keys):
    """Returns the squared error; a reset makes the gradient NaN."""
    noise = jax.vmap(lambda key: jax.random.normal(key, (H,)))(keys)
    total = jnp.zeros(())
    for inputs, targets, weights in zip(*batch[:3], strict=True):
        carry = jnp.tanh(inputs @ params['a']['w'] + 0.5 * carry + 0.1 * noise)
        total += jnp.sum(
            weights * (_fragile(params['b']['w'], batch.resets) @ carry.T - targets) ** 2
        )
    return {'loss': losses.WeightedSum(total, jnp.sum(batch.weights))}, carry


@jax.custom_vjp
def _fragile(x, resets):
    """Returns x; its gradient is NaN if there is a reset."""
    del resets
    return x


_fragile.defvjp(
    lambda x, resets: (x, resets), lambda resets, g: (jnp.where(resets.any(), jnp.nan, g), None)
)


def batch(step, on_step=None, bad_inputs=(), bad_gradients=()):
    """Returns the batch of a step, with NaN at some steps, after calling `on_step`."""
    if on_step:
        on_step(step)
    rng = np.random.default_rng(step)
    inputs = rng.normal(size=(T, B, D)).astype(np.float32)
    targets = rng.normal(size=(T, B)).astype(np.float32)
    weights = rng.uniform(0.5, 1, (T, B)).astype(np.float32)
    if step in bad_inputs:
        targets[1, 2] = np.nan
    return base.Batch(inputs, targets, weights, np.full((T, B), step in bad_gradients))


def sample(params, carry, keys):
    """Samples a batch on the device."""
    del params

    def element(key):
        values = jax.random.normal(key, (T, D + 2))
        return values[:, :D], values[:, D], jnp.square(values[:, D + 1])

    inputs, targets, weights = jax.vmap(element, out_axes=1)(keys)
    return base.Batch(inputs, targets, weights, jnp.zeros(weights.shape, bool)), carry + 1


def make(evaluate=None, **options):
    """Returns the task; `options` are those of `batch`."""
    return task.Task(
        init=init,
        initial_carry=lambda: np.zeros((B, H), np.float32),
        loss=loss,
        batch=lambda step: batch(step, **options),
        evaluate=evaluate or (lambda params: {'norm': float(np.abs(params['b']['w']).sum())}),
        test=lambda params, thorough: {},
        unit='words',
        consumes=('words', T * B),
        core_parameters=0,
        perplexity=True,
    )


def make_sampled():
    """Returns the task with batches that are sampled on the device."""
    return make()._replace(batch=None, sample=sample)


def kill_at(*steps):
    """Returns an `on_step` that sends SIGTERM to this process."""
    return lambda step: os.kill(os.getpid(), signal.SIGTERM) if step in steps else None
