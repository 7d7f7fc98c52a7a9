"""The network of `nth_farthest`, its loss, and what it is trained on.

Core, then after the last step an MLP of 4 x 256 units, ReLU on all of them, and one logit a label:
Santoro et al. 2018, appendix A.1, https://arxiv.org/abs/1806.01822.

Two things can help training, neither of them in the paper nor in any evaluation. An auxiliary loss
asks after every step for the squared distance of every vector seen so far from vector m, once m has
been seen; it is a linear function of the first layer of that MLP. The plateau of the bare task is
that of a network that has not yet learned to compare, and the answer can only be learned of
distances that its own layers see: read by an MLP of their own, they left it on the plateau. And a
curriculum begins with vectors of which one dimension is not 0, and doubles.

Glossary of shapes:
  N: vectors of a sequence, its steps; D: dimensions; B: sequences.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from launch import _cores, _nth_farthest_config
from relational_rnn import losses, unrolling
from tasks import nth_farthest

LAYERS = (256, 256, 256, 256)
_HELD_OUT = 2018  # the seed of the sequences of evaluations, whatever the run's
_CHUNK = 400  # sequences of an evaluation at a time
# Of (x - y)^2 with x and y uniform in [-1, 1): by them distances are brought to mean 0, variance 1.
_MEAN, _VARIANCE = 2 / 3, 28 / 45


# Parameters and a number of sequences -> what `make_evaluation` says.
Evaluation = Callable[[chex.ArrayTree, int], dict[str, float]]


class Batch(NamedTuple):
    """Sequences to train on, with B as the second axis of all, as the training loop wants it."""

    inputs: chex.Array  # [N, B, D + 3 N], vectors scaled
    answers: chex.Array  # [1, B] int32
    distances: chex.Array  # [N, B] by label, mean 0 and variance 1; of vector m itself unused
    seen: chex.Array  # [N steps, B, N labels] bool: this vector and m have been shown


class Model(NamedTuple):
    """The functions of the network; `params` are Haiku's."""

    init: Callable[[chex.PRNGKey], chex.ArrayTree]
    logits: Callable[[chex.ArrayTree, chex.Array], chex.Array]  # inputs -> [B, N]
    # inputs -> logits and distances after every step [N steps, B, N labels]; None without them
    apply: Callable[[chex.ArrayTree, chex.Array], tuple[chex.Array, chex.Array | None]]


def make_model(config: _nth_farthest_config.Config) -> Model:
    """Returns the network of a configuration."""
    size = config.num_dims + 3 * config.num_objects

    def forward(inputs: chex.Array) -> tuple[chex.Array, chex.Array | None]:
        core = _cores.make(config, size)
        state = core.initial_state(inputs.shape[1])
        outputs, _ = unrolling.unroll(core, inputs, state)
        answered = outputs if config.distance_weight else outputs[-1:]
        first = jax.nn.relu(hk.Linear(LAYERS[0], name='first')(answered))
        hidden = hk.nets.MLP(LAYERS[1:], activate_final=True, name='others')(first[-1])
        logits = hk.Linear(config.num_objects, name='answer')(hidden)
        if not config.distance_weight:
            return logits, None
        return logits, hk.Linear(config.num_objects, name='distances')(first)

    network = hk.transform(forward)
    shape = config.num_objects, 1, size
    return Model(
        jax.jit(lambda key: network.init(key, jnp.zeros(shape))),
        lambda params, inputs: network.apply(params, None, inputs)[0],
        lambda params, inputs: network.apply(params, None, inputs),
    )


def sample(
    config: _nth_farthest_config.Config, keys: chex.PRNGKey, step: chex.Array | None = None
) -> Batch:
    """Draws sequences on the device.

    Args:
      config: the flags.
      keys: [B].
      step: finished updates, which the curriculum goes by; None for the full task.
    """
    questions = nth_farthest.sample(keys, config.num_objects, config.num_dims)
    dims = jnp.full((), config.num_dims)
    starts = config.curriculum_updates()
    if step is not None and starts:
        doubled = 2 ** jnp.sum(step >= jnp.array(starts))
        dims = jnp.where(step < starts[-1], jnp.minimum(doubled, config.num_dims), config.num_dims)
        vectors = questions.vectors * (jnp.arange(config.num_dims) < dims)
        questions = nth_farthest.ask(vectors, questions.labels, questions.n, questions.m)
    return _batch(config, questions, dims)


def _batch(
    config: _nth_farthest_config.Config, questions: nth_farthest.Questions, dims: chex.Array
) -> Batch:
    """Returns the inputs as the network sees them, and what is asked of it."""
    inputs = scale(config, questions.inputs)
    distances = nth_farthest.squared_distances(questions.vectors, questions.labels, questions.m)
    distances = (distances.T - dims * _MEAN) / jnp.sqrt(dims * _VARIANCE)
    shown = jnp.cumsum(jax.nn.one_hot(questions.labels, config.num_objects), axis=0) > 0
    is_m = jax.nn.one_hot(questions.m, config.num_objects) > 0  # [B, N]
    m_shown = jnp.any(shown & is_m, axis=-1, keepdims=True)
    return Batch(inputs, questions.answers[None], distances, shown & m_shown & ~is_m)


def scale(config: _nth_farthest_config.Config, inputs: chex.Array) -> chex.Array:
    """Multiplies the vectors of inputs [N, B, D + 3 N] as the network wants them."""
    vectors, rest = jnp.split(inputs, [config.num_dims], axis=-1)
    return jnp.concatenate([config.input_scale * vectors, rest], axis=-1)


def loss(
    config: _nth_farthest_config.Config,
    model: Model,
    params: chex.ArrayTree,
    batch: Batch,
) -> tuple[losses.WeightedSum, Mapping[str, chex.Array]]:
    """Returns the loss, summed over sequences, and sums of what is shown beside it.

    Args:
      config: the flags.
      model: the network.
      params: its parameters.
      batch: what to learn.

    Returns:
      The cross entropy in nats with the auxiliary loss, and sums over the sequences:
      'training_accuracy' counts right answers, 'distance_error' adds mean squared errors in units
      of the variance.
    """
    logits, distances = model.apply(params, batch.inputs)
    answers, weights = batch.answers[0], jnp.ones(batch.answers.shape[1])
    total, weight = losses.cross_entropy(logits, answers, weights)
    sums = {'training_accuracy': losses.accuracy(logits, answers, weights).total}
    if distances is not None:
        squares = jnp.square(distances - batch.distances.T) * batch.seen
        count = jnp.sum(batch.seen, axis=(0, 2))  # at least N - 1, after the last step
        errors = jnp.sum(jnp.sum(squares, axis=(0, 2)) / count)
        total += config.distance_weight * errors
        sums['distance_error'] = errors
    return losses.WeightedSum(total, weight), sums


def make_evaluation(config: _nth_farthest_config.Config, model: Model) -> Evaluation:
    """Returns what measures a network on the full task.

    Returns:
      Parameters and a number of sequences to 'accuracy' and 'eval_loss', the cross entropy in nats.
      The sequences are always the same ones, and no run trains on their keys.
    """

    def score(params: chex.ArrayTree, first: chex.Array) -> tuple[chex.Array, chex.Array]:
        numbers = first + jnp.arange(_CHUNK)
        key = jax.random.key(_HELD_OUT)
        batch = sample(config, jax.vmap(jax.random.fold_in, (None, 0))(key, numbers))
        logits, answers = model.logits(params, batch.inputs), batch.answers[0]
        nats = -jnp.take_along_axis(jax.nn.log_softmax(logits), answers[:, None], axis=1)[:, 0]
        return jnp.argmax(logits, axis=1) == answers, nats

    run = jax.jit(score)

    def evaluate(params: chex.ArrayTree, size: int) -> dict[str, float]:
        parts = [run(params, first) for first in range(0, size, _CHUNK)]
        right, nats = (jnp.concatenate(values)[:size] for values in zip(*parts, strict=True))
        return {'accuracy': float(jnp.mean(right)), 'eval_loss': float(jnp.mean(nats))}

    return evaluate
