"""Text of `lm` for an inspection: words, and the words that the model expects next.

A word is a token of any kind; those that are pieces of text show spaces as `␣`.

The text is the prompt and its continuation by the model, or without a prompt passages of the run's
own validation text if the encoded corpus is still in the cache, else text that the model samples.

Glossary of shapes:
  T: words of a passage; N: words of the validation text; V: vocabulary size.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from launch.inspection import tracing
from launch.language import corpus as corpus_lib
from launch.language import model as model_lib
from launch.trained import language_model
from launch.training import cores
from tasks.text import streams
from tasks.text import vocabulary as vocabulary_lib

_TEMPERATURE, _TOP_P = 0.8, 0.9  # of sampled text
_SHOWN = {vocabulary_lib.EOS: '⏎', vocabulary_lib.UNK: '<unk>'}
_SPACES = str.maketrans(' \t', '␣⇥')
_NOTES = {
    vocabulary_lib.EOS: 'the end of a line',
    vocabulary_lib.UNK: 'a word outside the vocabulary',
}


class _Passage(NamedTuple):
    """A piece of text that starts with an `<eos>`."""

    title: str
    ids: np.ndarray  # [T + 1] int32; the last is a target only
    num_given: int  # words that are given; the model has sampled those that follow


def inspect(request: tracing.Request) -> tracing.Subject:
    """Opens a run of `lm`.

    Raises:
      RunError, DataError: the run or its vocabulary cannot be used.
    """
    run = language_model.load(request.run_dir)
    config = run.config
    return tracing.Subject(
        f'Language model on {config.dataset}, after {run.num_updates:,} updates',
        lambda: cores.make(config, (config.embedding_size,)),
        run.params,
        tuple(_example(run, passage) for passage in _passages(run, request)),
        config.dtype,
        'The task: the network reads a text, a word at a time, and predicts after each word which '
        'one comes next.',
    )


def _passages(run: language_model.LanguageModel, request: tracing.Request) -> list[_Passage]:
    """Returns the prompt and its continuations, or validation text, or sampled text."""
    valid = None if request.prompt else _validation(run)
    if valid is not None:
        return list(_cut(run, request, valid))
    prompt = corpus_lib.read_prompt(request.prompt, run.tokenizer, run.vocabulary)
    if len(prompt) >= request.max_steps:
        ids = run.vocabulary.encode([vocabulary_lib.EOS, *prompt[: request.max_steps]])
        return [_Passage('the prompt', ids, len(ids))]
    seeds = range(request.seed, request.seed + request.num_examples)
    return [_sample(run, prompt, request.max_steps, seed) for seed in seeds]


def _validation(run: language_model.LanguageModel) -> np.ndarray | None:
    """Returns the ids of the run's validation text [N], None if they are not in the cache."""
    data = str(run.metadata.get('data', ''))
    corpus = streams.cached(run.config.dataset, data, run.config.cache_dir)
    if corpus is None or corpus.vocabulary.words != run.vocabulary.words or len(corpus.valid) < 2:
        return None
    return corpus.valid.astype(np.int32)


def _cut(
    run: language_model.LanguageModel, request: tracing.Request, valid: np.ndarray
) -> Iterator[_Passage]:
    """Yields passages of a text [N], each from the end of a line on."""
    starts = np.flatnonzero(valid == run.vocabulary.eos)
    starts = starts[starts + request.max_steps < len(valid)]
    if not len(starts):
        starts = np.array([0])
    count = min(request.num_examples, len(starts))
    chosen = np.random.default_rng(request.seed).choice(starts, count, replace=False)
    for start in sorted(chosen.tolist()):
        ids = valid[start : start + request.max_steps + 1]
        first = ' '.join(_show(run, word) for word in run.vocabulary.decode(ids[1:6]))
        place = f'{run.tokenizer.unit} {start + 1:,}'
        yield _Passage(f'{place} of the validation text: {first} …', ids, len(ids))


def _sample(
    run: language_model.LanguageModel, prompt: list[str], num_steps: int, seed: int
) -> _Passage:
    """Samples a continuation of a prompt."""
    sizes = num_steps - len(prompt), _TEMPERATURE, _TOP_P, seed
    words = model_lib.generate(run.model, run.params, run.vocabulary, prompt, *sizes)
    ids = run.vocabulary.encode([vocabulary_lib.EOS, *words])
    title = f'sampled with seed {seed}: {run.tokenizer.join(words)[:40]} …'
    return _Passage(title, ids, len(prompt) + 1)


def _example(run: language_model.LanguageModel, passage: _Passage) -> tracing.Example:
    """Describes a passage, and after every word which words the model expects next."""
    words = run.vocabulary.decode(passage.ids.tolist())
    state, steps = run.initial_state(), []
    for t, word in enumerate(words[:-1]):
        log_probs, state = run.step(passage.ids[t], state)
        is_given = t + 1 < passage.num_given
        answers = tracing.rank_answers(
            np.exp(log_probs),
            lambda i: _show(run, *run.vocabulary.decode([i])),
            int(passage.ids[t + 1]) if is_given else None,
        )
        mark = 'the model continues the text' if t == passage.num_given else ''
        truth = _show(run, words[t + 1]) if is_given else ''
        steps.append(tracing.Step(_show(run, word), _NOTES.get(word, ''), mark, answers, truth))
    embeddings = np.asarray(run.params['language_model']['embeddings'])[passage.ids[:-1]]
    return tracing.Example(passage.title, embeddings.astype(np.float32), tuple(steps))


def _show(run: language_model.LanguageModel, word: str) -> str:
    """Returns a word as a label; parts of a character as they stand in the vocabulary."""
    if word in _SHOWN:
        return _SHOWN[word]
    text = run.tokenizer.join([word])
    return word if '\ufffd' in text else text.translate(_SPACES)
