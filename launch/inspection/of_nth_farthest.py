"""What a run of `nth_farthest` shows of its inside: vectors, and which is held for the answer.

Labels are told as in the paper, from 1; n is 0 for the farthest. After every step the network is
asked as if the sequence ended there, which it was trained for after the last step only. Of several
networks trained side by side the first is shown.

Glossary of shapes:
  N: vectors of a sequence, its steps; D: dimensions.
"""

import jax
import numpy as np

from launch.inspection import subjects
from launch.runs import errors
from launch.training import cores, loop, nth_farthest_config, nth_farthest_model, saved_run, seeds
from tasks import nth_farthest

NUM_ANSWERS = 5
_SALT = 4  # tells apart the keys of what is shown from those of evaluations


def inspect(request: subjects.Request) -> subjects.Subject:
    """Opens a run of `nth_farthest`.

    Args:
      request: what is asked.

    Returns:
      Its core and sequences.

    Raises:
      RunError: the run cannot be used, or there is a prompt.
    """
    if request.prompt:
        raise errors.RunError(errors.USAGE, '--prompt: nth_farthest reads vectors, no text')
    asked = nth_farthest_config.Config(run_dir=request.run_dir)
    config, (step, metadata) = saved_run.as_trained(
        asked, nth_farthest_config.PRESETS, request.run_dir
    )
    if config.num_objects > request.max_steps:
        wanted = f'wanted at least {config.num_objects}, the vectors of a sequence'
        raise errors.RunError(errors.USAGE, f'--max_steps: {wanted}, got {request.max_steps}')
    model = nth_farthest_model.make_model(config)
    state = loop.restore(config, model.init, (), request.run_dir).replicated
    params = seeds.split(state.params, config.num_seeds)[0]
    seed = metadata['config']['seed']
    which = '' if config.num_seeds == 1 else f', seed {seed}, the first of {config.num_seeds}'
    keys = jax.random.split(
        jax.random.fold_in(jax.random.key(request.seed), _SALT), request.num_examples
    )
    questions = nth_farthest.sample(keys, config.num_objects, config.num_dims)
    inputs = np.asarray(nth_farthest_model.scale(config, questions.inputs))
    probabilities = np.stack(
        [
            np.asarray(jax.nn.softmax(model.logits(params, inputs[:length])))
            for length in range(1, config.num_objects + 1)
        ]
    )
    return subjects.Subject(
        f'nth_farthest, after {step:,} updates{which}',
        lambda: cores.make(config, inputs.shape[-1]),
        params,
        tuple(
            _example(questions, inputs, probabilities[:, row], row)
            for row in range(request.num_examples)
        ),
    )


def _example(
    questions: nth_farthest.Questions, inputs: np.ndarray, probabilities: np.ndarray, row: int
) -> subjects.Example:
    """Tells one sequence in words; probabilities are [N steps, N labels]."""
    labels, m = np.asarray(questions.labels)[:, row], int(questions.m[row])
    question = f'n = {int(questions.n[row])}, m = {m + 1}'
    shown = int(np.argmax(labels == m)) + 1
    last = len(labels) - 1
    steps = []
    for t, label in enumerate(labels.tolist()):
        likeliest = np.argsort(-probabilities[t], kind='stable')[:NUM_ANSWERS].tolist()
        answer = int(questions.answers[row])
        if answer not in likeliest:
            likeliest.append(answer)
        steps.append(
            subjects.Step(
                _name(label),
                f'{_name(label)}; the question: {question}',
                'm is shown' if label == m else '',
                tuple(subjects.Answer(_name(i), float(probabilities[t, i])) for i in likeliest),
                _name(answer) if t == last else '',
            )
        )
    title = f'sequence {row + 1}: {question}, m is shown at step {shown}'
    return subjects.Example(title, inputs[:, row], tuple(steps))


def _name(label: int) -> str:
    return f'vector {label + 1}'
