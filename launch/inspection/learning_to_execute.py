"""Programs of `learning_to_execute` for an inspection: the program's characters, then its answer.

A step is a character of a test program, and after the last one a step of the decoder, which
predicts a character of the answer, up to the end of the true answer. If the decoder is a core of
its own (`--shared_core=False`), only the encoder is shown.

Glossary of shapes:
  T: characters of a program; A: characters of its answer; B: programs; D: size of the alphabet;
  V: characters of answers.
"""

from collections.abc import Iterator

import jax
import numpy as np

from launch.executing import configuration
from launch.inspection import tracing
from launch.runs import errors
from launch.trained import learning_to_execute as trained
from launch.training import cores
from relational_rnn.networks import sequence_to_sequence
from tasks.learning_to_execute import batches, setting, writing

_NUM_SAMPLED = 512  # programs, of which the first that are short enough are shown
_SHOWN = {' ': '␣', '\n': '⏎'}
_NOTES = {' ': 'a space', '\n': 'the end of a line'}
_REPEATED = {'copy': 'copied', 'reverse': 'reversed', 'double': 'doubled'}
_ABOUT = (
    'The task: the network reads a text, a character at a time, then gives its answer, a character '
    'at a time: '
)
_SIZE = len(setting.CHARACTERS)  # D


def inspect(request: tracing.Request) -> tracing.Subject:
    """Opens a run of `learning_to_execute`.

    Raises:
      RunError: the run cannot be used, there is a prompt, or no program is short enough.
    """
    if request.prompt:
        raise errors.RunError(errors.USAGE, '--prompt: learning_to_execute reads test programs')
    run = trained.load(request.run_dir)
    config = run.config
    batch = sample(config, request)
    logits = np.asarray(jax.jit(run.network.logits, static_argnums=2)(run.params, batch, False))
    return tracing.Subject(
        f'Learning to Execute, {config.task}, after {run.num_updates:,} updates',
        lambda: cores.make(config, (_SIZE,)),
        run.params,
        tuple(_example(config, batch, logits, index) for index in range(logits.shape[1])),
        about=f'{_ABOUT}{_answer(config)}.',
    )


def sample(config: configuration.Config, request: tracing.Request) -> batches.Batch:
    """Returns test programs of the full difficulty that are short enough with their answers."""
    what = config.setting(), 'baseline', 0, 'test', request.seed, 0
    batch = batches.sample(*what, _NUM_SAMPLED)
    steps = batch.lengths[0] + np.sum(batch.weights > 0, axis=0)
    chosen = np.flatnonzero(steps <= request.max_steps)[: request.num_examples]
    if not len(chosen):
        wanted = f'wanted at least {steps.min()}, the characters of a program and its answer'
        raise errors.RunError(errors.USAGE, f'--max_steps: {wanted}, got {request.max_steps}')
    return jax.tree.map(lambda x: x[:, chosen], batch)


def _example(
    config: configuration.Config,
    batch: batches.Batch,
    logits: np.ndarray,
    index: int,
) -> tracing.Example:
    """Describes the program of an index in B; logits are [A, B, V]."""
    text = batch.inputs[: batch.lengths[0, index], index]
    truth = batch.targets[batch.weights[:, index] > 0, index]
    probabilities = np.asarray(jax.nn.softmax(logits[: len(truth), index]))
    predicted = np.argmax(probabilities, axis=-1)
    is_right = np.array_equal(predicted, truth)
    result = 'right' if is_right else f'but the network predicts {_show(predicted)}'
    inputs = np.eye(_SIZE, dtype=np.float32)[text]
    steps = [tracing.Step(_show([i]), _NOTES.get(setting.CHARACTERS[i], '')) for i in text.tolist()]
    if config.shared_core:
        inputs = np.concatenate([inputs, _decoder_inputs(config, predicted)])
        steps += _decoder_steps(probabilities, truth)
    title = f'{_question(config, _show(text))} {_show(truth)}, {result}'
    return tracing.Example(title, inputs, tuple(steps))


def _answer(config: configuration.Config) -> str:
    """Returns what the answer to a text is."""
    if config.task in setting.MEMORIZATION:
        return f'the text {_REPEATED[config.task]}'
    if config.dialect == 'zaremba':
        return 'what Python prints when it runs the text, and a dot'
    return f'the value of the program modulo {10 ** (config.length + 1):,}, which has no sign'


def _question(config: configuration.Config, text: str) -> str:
    """Returns the beginning of a sentence, to which the answer to a program's text is the end."""
    if config.task in setting.MEMORIZATION:
        return f'{text}, {_REPEATED[config.task]}, is'
    if config.dialect == 'zaremba':
        return f'{text} prints'
    return f'the value of {text} modulo {10 ** (config.length + 1):,} is'


def _decoder_inputs(config: configuration.Config, predicted: np.ndarray) -> np.ndarray:
    """Returns the inputs [A, D] of a decoder that predicted these characters [A]."""
    if config.decoding == 'non_autoregressive':
        return np.zeros((len(predicted), _SIZE), np.float32)
    return np.asarray(sequence_to_sequence.shifted_one_hots(predicted[:, None], _SIZE))[:, 0]


def _decoder_steps(probabilities: np.ndarray, true: np.ndarray) -> Iterator[tracing.Step]:
    """Yields the steps of the decoder; probabilities are [A, V], true characters [A]."""
    for t, truth in enumerate(true.tolist()):
        answers = tracing.rank_answers(probabilities[t], lambda i: _show([i]), truth)
        text = answers[0].text
        correction = '' if text == _show([truth]) else f', but it is {_show([truth])}'
        yield tracing.Step(
            f'→{text}',
            f'character {t + 1} of the answer: the network predicts {text}{correction}',
            '' if t else 'the answer begins',
            answers,
            _show([truth]),
        )


def _show(ids: np.ndarray | list[int]) -> str:
    return ''.join(_SHOWN.get(character, character) for character in writing.decode(ids))
