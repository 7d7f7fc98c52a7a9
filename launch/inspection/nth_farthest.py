"""Sequences of `nth_farthest` for an inspection: vectors, and which of them is the answer.

Labels count from 1 as in the paper; n is 0 for the farthest. The network is queried after every
step as if the sequence ended there, although it was trained for the answer after the last step.

Glossary of shapes:
  N: vectors of a sequence, its steps; D: dimensions; B: sequences.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from launch.farthest import configuration, learning
from launch.inspection import tracing
from launch.runs import errors
from launch.trained import nth_farthest as trained
from launch.training import cores
from tasks import nth_farthest

_SALT = 4  # separates the keys of these sequences from those of evaluations


def inspect(request: tracing.Request) -> tracing.Subject:
    """Opens a run of `nth_farthest`.

    Raises:
      RunError: the run cannot be used, there is a prompt, or `max_steps` is too small.
    """
    if request.prompt:
        raise errors.RunError(errors.USAGE, '--prompt: nth_farthest reads vectors, no text')
    run = trained.load(request.run_dir)
    config = run.config
    if config.num_objects > request.max_steps:
        wanted = f'wanted at least {config.num_objects}, the vectors of a sequence'
        raise errors.RunError(errors.USAGE, f'--max_steps: {wanted}, got {request.max_steps}')
    key = jax.random.fold_in(jax.random.key(request.seed), _SALT)
    keys = jax.random.split(key, request.num_examples)
    questions = nth_farthest.sample(keys, config.num_objects, config.num_dims)
    inputs = np.asarray(learning.scale(config, questions.inputs))

    @jax.jit
    def answer(params: chex.ArrayTree) -> chex.Array:
        prefixes = [inputs[: t + 1] for t in range(config.num_objects)]
        logits = [run.network.apply(params, prefix)[0][0] for prefix in prefixes]
        return jax.nn.softmax(jnp.stack(logits))

    probabilities = np.asarray(answer(run.params))  # [N steps, B, N labels]
    return tracing.Subject(
        f'Nth Farthest, after {run.num_updates:,} updates',
        lambda: cores.make(config, (config.input_size,)),
        run.params,
        tuple(
            _example(questions, inputs, probabilities[:, index], index)
            for index in range(request.num_examples)
        ),
        about=_about(config),
    )


def _about(config: configuration.Config) -> str:
    dimensions = f'{config.num_dims} dimension{"" if config.num_dims == 1 else "s"}'
    return (
        f'The task: {config.num_objects} vectors of {dimensions} come one after the other, each '
        'with its own number and the question, which vector is the nth farthest from vector m? '
        'm is the number of one of them, which may come at any step; n = 0 is the farthest, '
        f'n = {config.num_objects - 1} vector m itself. The answer counts after the last vector.'
    )


def _example(
    questions: nth_farthest.Questions, inputs: np.ndarray, probabilities: np.ndarray, index: int
) -> tracing.Example:
    """Describes one sequence.

    Args:
      questions: of all sequences.
      inputs: [N, B, D + 3 N].
      probabilities: [N steps, N labels], of this sequence.
      index: of this sequence in B.
    """
    labels = np.asarray(questions.labels)[:, index].tolist()
    m, answer = int(questions.m[index]), int(questions.answers[index])
    question = f'n = {int(questions.n[index])}, m = {m + 1}'
    last = len(labels) - 1
    steps = tuple(
        tracing.Step(
            _name(label),
            f'{_name(label)}; the question: {question}',
            'm is shown' if label == m else '',
            tracing.rank_answers(probabilities[t], _name, answer),
            _name(answer) if t == last else '',
        )
        for t, label in enumerate(labels)
    )
    title = f'sequence {index + 1}: {question}, m is shown at step {labels.index(m) + 1}'
    vectors = np.asarray(questions.inputs)[:, index, : inputs.shape[2] - 3 * len(labels)]  # [N, D]
    points = vectors if vectors.shape[1] < 3 else None
    return tracing.Example(title, inputs[:, index], steps, points)


def _name(label: int) -> str:
    return f'vector {label + 1}'
