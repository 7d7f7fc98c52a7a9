"""What a run of `learning_to_execute` shows of its inside: a program's characters, then its answer.

A step is a character of a test program, and after the last one a step of the decoder, which says a
character of the answer; no step is shown behind the true answer's end. Where the decoder is a core
of its own (`--shared_core=False`), the core that reads is shown.

Glossary of shapes:
  T: characters of a program; A: characters of its answer; B: programs; D: characters that there
  are; V: those of answers.
"""

from collections.abc import Iterator

import jax
import numpy as np

from launch.inspection import subjects
from launch.runs import errors
from launch.training import (
    cores,
    learning_to_execute_config,
    learning_to_execute_model,
    loop,
    saved_run,
)
from relational_rnn.networks import sequence_networks
from tasks.learning_to_execute import batches, writing
from tasks.learning_to_execute import setting as setting_lib

NUM_ANSWERS = 5
_NUM_DRAWN = 512  # programs, of which the first are taken that are short enough
_SHOWN = {' ': '␣', '\n': '⏎'}  # characters that cannot be seen
_NOTES = {' ': 'a space', '\n': 'the end of a line'}


def inspect(request: subjects.Request) -> subjects.Subject:
    """Opens a run of `learning_to_execute`.

    Args:
      request: what is asked.

    Returns:
      Its core and programs.

    Raises:
      RunError: the run cannot be used, there is a prompt, or no program is short enough.
    """
    if request.prompt:
        raise errors.RunError(errors.USAGE, '--prompt: learning_to_execute reads test programs')
    asked = learning_to_execute_config.Config(run_dir=request.run_dir)
    presets = learning_to_execute_config.PRESETS
    config, (step, _) = saved_run.as_trained(asked, presets, request.run_dir)
    model = learning_to_execute_model.make_model(config)
    params = loop.restore(
        config, model.init, (), request.run_dir, has_levels=True
    ).replicated.params
    batch = _draw(config, request)
    logits = learning_to_execute_model.answer(model, params, batch)
    rows = range(batch.inputs.shape[1])
    return subjects.Subject(
        f'learning_to_execute, {config.task}, after {step:,} updates',
        lambda: cores.make(config, learning_to_execute_model.NUM_CHARACTERS),
        params,
        tuple(_example(config, batch, logits, row) for row in rows),
    )


def _draw(config: learning_to_execute_config.Config, request: subjects.Request) -> batches.Batch:
    """Returns test programs of the full difficulty that are short enough with their answers."""
    what = config.setting(), 'baseline', 0, 'test', request.seed, 0, _NUM_DRAWN
    batch = batches.sample(*what)
    steps = batch.lengths[0] + np.sum(batch.weights > 0, axis=0)
    chosen = np.flatnonzero(steps <= request.max_steps)[: request.num_examples]
    if not len(chosen):
        wanted = f'wanted at least {steps.min()}, the characters of a program and its answer'
        raise errors.RunError(errors.USAGE, f'--max_steps: {wanted}, got {request.max_steps}')
    return jax.tree.map(lambda x: x[:, chosen], batch)


def _example(
    config: learning_to_execute_config.Config,
    batch: batches.Batch,
    logits: np.ndarray,
    row: int,
) -> subjects.Example:
    """Tells one program in words; logits are [A, B, V]."""
    text = batch.inputs[: batch.lengths[0, row], row]
    true = batch.targets[batch.weights[:, row] > 0, row]
    probabilities = np.asarray(jax.nn.softmax(logits[: len(true), row]))
    said = np.argmax(probabilities, axis=-1)
    right = 'right' if np.array_equal(said, true) else f'but the network says {_show(said)}'
    title = f'{_show(text)} prints {_show(true)}, {right}'
    inputs = np.eye(learning_to_execute_model.NUM_CHARACTERS, dtype=np.float32)[text]
    steps = [
        subjects.Step(_show([i]), _NOTES.get(setting_lib.CHARACTERS[i], '')) for i in text.tolist()
    ]
    if config.shared_core:
        inputs = np.concatenate([inputs, _fed(config, said)])
        steps += _answering(probabilities, true)
    return subjects.Example(title, inputs, tuple(steps))


def _fed(config: learning_to_execute_config.Config, said: np.ndarray) -> np.ndarray:
    """Returns what a decoder was fed that said these characters [A], [A, D]."""
    size = learning_to_execute_model.NUM_CHARACTERS
    if config.decoding == 'non_autoregressive':
        return np.zeros((len(said), size), np.float32)
    return np.asarray(sequence_networks.shifted_one_hots(said[:, None], size))[:, 0]


def _answering(probabilities: np.ndarray, true: np.ndarray) -> Iterator[subjects.Step]:
    """Yields the steps of the decoder; probabilities are [A, V], true characters [A]."""
    for t, truth in enumerate(true.tolist()):
        likeliest = np.argsort(-probabilities[t], kind='stable')[:NUM_ANSWERS].tolist()
        said = likeliest[0]
        if truth not in likeliest:
            likeliest.append(truth)
        wanted = '' if said == truth else f', but it is {_show([truth])}'
        yield subjects.Step(
            f'→{_show([said])}',
            f'character {t + 1} of the answer: the network says {_show([said])}{wanted}',
            '' if t else 'the answer begins',
            tuple(subjects.Answer(_show([i]), float(probabilities[t, i])) for i in likeliest),
            _show([truth]),
        )


def _show(ids: np.ndarray | list[int]) -> str:
    return ''.join(_SHOWN.get(character, character) for character in writing.decode(ids))
