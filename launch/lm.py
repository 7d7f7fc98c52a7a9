"""Word-level language modelling with the Relational Memory Core.

  python -m launch.lm                                        train on Python's own documentation
  python -m launch.lm --dataset=text --data_dir=DIR          train on your own text
  python -m launch.lm --mode=evaluate --run_dir=RUN          perplexity of validation and test
  python -m launch.lm --mode=generate --run_dir=RUN --prompt="a list of"

The same command goes on where it was stopped. Santoro et al. 2018, "Relational recurrent neural
networks", section 4.3 and appendix A.4, https://arxiv.org/abs/1806.01822; its settings are
`--preset=paper`.

Glossary of shapes:
  T: words of a window; B: streams; V: words of the vocabulary.
"""

from collections.abc import Callable, Mapping
import dataclasses
import math
import os
import sys
from typing import Any

import chex
import jax
import numpy as np

from launch import (
    _checkpoint,
    _cli,
    _cores,
    _errors,
    _language_model,
    _report,
    _run_directory,
    _signals,
    _supervised,
)
from relational_rnn import losses
from tasks import base, corpora, language_modeling, ngrams, vocabulary

PYDOC_WORDS = 10_000  # words that occur once could not be learned from 380,000 words
VOCABULARY = 'vocabulary.txt'
Measure = Callable[[chex.ArrayTree, np.ndarray], float]  # parameters, ids [N] -> nats a word
MAX_NGRAM_TOKENS = 20_000_000  # the n-gram models of longer texts would take longer than they tell

# What a run is by name: the paper's appendix A.4, and a size that 2 cores train in minutes.
PRESETS: dict[str, dict[str, Any]] = {
    'paper': {
        'total_units': 2500,
        'num_heads': 4,
        'mem_slots': 1,
        'attention_mlp_layers': 5,
        'embedding_size': 512,
        'dropout': 0.5,
        'output_dropout': 0.0,
        'softmax': 'full',
        'batch_size': 384,
        'unroll_length': 100,
        'learning_rate': 1e-3,
        'schedule': 'constant',
        'warmup_steps': 0,
        'clip_norm': 0.1,
        'num_steps': 234_000,
        'evaluate_every': 2000,
        'save_every': 1000,
    },
    'cpu': {
        'total_units': 256,
        'num_heads': 4,
        'mem_slots': 1,
        'attention_mlp_layers': 2,
        'embedding_size': 256,
        'dropout': 0.2,
        'output_dropout': 0.3,
        'softmax': 'adaptive',
        'batch_size': 32,
        'unroll_length': 32,
        'learning_rate': 3e-3,
        'schedule': 'cosine',
        'warmup_steps': 50,
        'clip_norm': 1.0,
        'num_steps': 1200,
        'evaluate_every': 300,
        'save_every': 300,
    },
}


@dataclasses.dataclass(frozen=True)
class Config(_cores.Config, _supervised.Config):
    """Word-level language modelling; see --preset=paper for Santoro et al. 2018, appendix A.4."""

    preset: str = _cli.flag('cpu', 'defaults of the other flags: cpu or paper', 'free')
    mode: str = _cli.flag('train', 'train, evaluate or generate', 'free')
    dataset: str = _cli.flag('pydoc', 'pydoc (the docs inside Python) or text', 'identity')
    data_dir: str | None = _cli.flag(None, 'text: where its three splits are', 'free')
    tokenizer: str | None = _cli.flag(None, 'text: whitespace or words', 'identity')
    vocab_size: int = _cli.flag(
        0, 'words to know; 0 for all (pydoc: 10,000 most frequent)', 'identity', minimum=0
    )
    cache_dir: str | None = _cli.flag(None, 'of encoded corpora; default ~/.cache', 'free')
    unroll_length: int = _cli.flag(100, 'words of a window of BPTT', 'identity', minimum=1)
    embedding_size: int = _cli.flag(512, 'of the tied embeddings', 'identity', minimum=1)
    dropout: float = _cli.flag(0.5, 'of the embeddings', 'identity', 0, 0.99)
    output_dropout: float = _cli.flag(0.0, 'of what the softmax sees', 'identity', 0, 0.99)
    softmax: str = _cli.flag('full', 'full or adaptive', 'identity')
    evaluation_batch: int = _cli.flag(16, 'streams of an evaluation', 'free', minimum=1)
    prompt: str = _cli.flag('', 'generate: the words to go on from', 'free')
    num_words: int = _cli.flag(40, 'generate: how many words', 'free', minimum=1)
    temperature: float = _cli.flag(0.8, 'generate: 0 takes the likeliest word', 'free', minimum=0)
    top_p: float = _cli.flag(0.9, 'generate: share of the likeliest words', 'free', 0.001, 1)

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        _cores.Config.__post_init__(self)
        _supervised.Config.__post_init__(self)
        _cli.choose('mode', self.mode, MODES)
        _cli.choose('dataset', self.dataset, corpora.NAMES)
        _cli.choose('softmax', self.softmax, ('full', 'adaptive'))
        if self.tokenizer is not None:
            _cli.choose('tokenizer', self.tokenizer, corpora.TOKENIZERS)
        if self.dataset == 'text' and self.mode == 'train' and self.data_dir is None:
            raise ValueError('--dataset=text: wanted --data_dir=DIR with your texts, got none')
        if self.dataset == 'pydoc' and self.data_dir is not None:
            raise ValueError(f'--dataset=pydoc: wanted no --data_dir, got {self.data_dir!r}')
        if self.mode != 'train' and self.run_dir is None:
            raise ValueError(f'--mode={self.mode}: wanted --run_dir=DIR of a trained run, got none')
        if 0 < self.vocab_size < 3:
            raise ValueError(f'--vocab_size: wanted 0 (all) or at least 3, got {self.vocab_size}')
        if self.softmax == 'adaptive' and self.embedding_size < 16:
            wanted = 'wanted at least 16 for --softmax=adaptive'
            raise ValueError(f'--embedding_size: {wanted}, got {self.embedding_size}')


def run(config: Config) -> dict[str, float]:
    """Trains, evaluates or samples.

    Args:
      config: the flags.

    Returns:
      What was measured: in training and evaluation the perplexities of validation and test.
    """
    run_dir = config.run_dir or f'runs/lm-{config.dataset}-{config.core}'
    if config.mode != 'train' and not os.path.isdir(os.path.join(run_dir, 'checkpoints')):
        message = f'--run_dir={run_dir}: wanted the directory of a trained run, it has none'
        raise _errors.RunError(_errors.BAD_DATA, message)
    with _signals.Interrupts() as interrupts, _run_directory.RunDirectory(run_dir):
        return MODES[config.mode](config, run_dir, interrupts)


def _train(config: Config, run_dir: str, interrupts: _signals.Interrupts) -> dict[str, float]:
    """Trains from where the run is, measures, and shows what came of it."""
    checkpointer = _checkpoint.Checkpointer(run_dir)
    saved = checkpointer.newest_metadata()
    if saved:
        classes = _cli.field_classes(Config)
        for line in _run_directory.check_config(
            saved[1]['config'], dataclasses.asdict(config), classes
        ):
            print(f'changed since the checkpoint: {line}')
    streams = _prepare(config, saved)
    words = streams.vocabulary
    words.save(os.path.join(run_dir, VOCABULARY))
    model = _make_model(config, words)
    measure = _make_measure(config, model, words, interrupts)
    task = _make_task(config, model, streams, measure)
    _describe(config, streams, task)
    interrupts.check()
    metadata = {'config': dataclasses.asdict(config), 'corpus': streams.key}
    state = _supervised.train(config, task, run_dir, interrupts, metadata)
    params = state.replicated.params
    results = _results(config, measure, params, streams)
    sample = _sample(config, model, params, words)
    picture = _draw(config, run_dir, results)
    print(f'\na sample: {sample}\n')
    print(f'checkpoints  {os.path.join(run_dir, "checkpoints")}')
    print(f'metrics      {os.path.join(run_dir, "metrics.jsonl")}, and for TensorBoard')
    print(f'curve        {picture}')
    print(f'all {config.num_steps} updates are done; a larger --num_steps trains on from here')
    return results


def _evaluate(config: Config, run_dir: str, interrupts: _signals.Interrupts) -> dict[str, float]:
    """Measures the newest checkpoint on validation and test."""
    config, saved = _as_trained(config, run_dir)
    streams = _prepare(config, saved)
    model = _make_model(config, streams.vocabulary)
    params = _restore(config, model, run_dir)
    measure = _make_measure(config, model, streams.vocabulary, interrupts)
    return _results(config, measure, params, streams)


def _generate(config: Config, run_dir: str, interrupts: _signals.Interrupts) -> dict[str, float]:
    """Prints a sample of the newest checkpoint; needs no corpus."""
    config, _ = _as_trained(config, run_dir)
    words = vocabulary.load(os.path.join(run_dir, VOCABULARY))
    model = _make_model(config, words)
    params = _restore(config, model, run_dir)
    interrupts.check()
    prompt = corpora.tokenize(config.prompt, config.dataset, config.tokenizer)
    unknown = ', '.join(repr(word) for word in dict.fromkeys(prompt) if word not in words.index)
    if unknown:
        _checkpoint.warn(f'lm: --prompt: the model does not know {unknown}, read as <unk>')
    print(_sample(config, model, params, words))
    return {}


MODES = {'train': _train, 'evaluate': _evaluate, 'generate': _generate}


def _as_trained(config: Config, run_dir: str) -> tuple[Config, tuple[int, dict[str, Any]]]:
    """Returns the configuration with what the checkpoint was trained with, and its metadata.

    Raises:
      RunError: there is no checkpoint, or a flag asks for something else than it was trained with.
    """
    saved = _checkpoint.Checkpointer(run_dir).newest_metadata()
    if saved is None:
        message = f'--run_dir={run_dir}: wanted a run with a checkpoint, it has none yet'
        raise _errors.RunError(_errors.BAD_DATA, message)
    trained, classes = saved[1]['config'], _cli.field_classes(Config)
    defaults = [Config(), Config(**PRESETS[config.preset])]  # what a flag is if nobody gave it
    taken = [name for name in trained if classes.get(name) == 'identity' or name == 'data_dir']
    taken.remove('seed')  # here it is of the sampling
    given = {
        name
        for name in taken
        if getattr(config, name) not in [getattr(default, name) for default in defaults]
    }
    asked = {name: getattr(config, name) for name in given if classes[name] == 'identity'}
    _run_directory.check_config({name: trained[name] for name in asked}, asked, classes)
    values = {name: trained[name] for name in taken if name != 'data_dir' or name not in given}
    return dataclasses.replace(config, **values), saved


def _prepare(config: Config, saved: tuple[int, dict[str, Any]] | None) -> language_modeling.Streams:
    """Opens the corpus, and checks that it is the one of the checkpoint."""
    corpus = corpora.load(config.dataset, config.data_dir, config.tokenizer, config.cache_dir)
    size = config.vocab_size or (PYDOC_WORDS if config.dataset == 'pydoc' else 0)
    streams = language_modeling.prepare(corpus, config.cache_dir, size, progress=print)
    if saved and saved[1]['corpus'] != streams.key:
        raise base.DataError(
            f'{config.dataset} has changed since the checkpoint of step {saved[0]}: '
            'put the old text back or take another --run_dir'
        )
    return streams


def _make_model(config: Config, words: vocabulary.Vocabulary) -> _language_model.Model:
    if config.softmax == 'adaptive' and len(words) < 16:
        message = f'{config.dataset}: wanted at least 16 different words for --softmax=adaptive'
        raise base.DataError(f'{message}, got {len(words)}; take --softmax=full or add text')
    return _language_model.make_model(
        lambda: _cores.make(config, config.embedding_size),
        len(words),
        config.embedding_size,
        config.dropout,
        config.output_dropout,
        adaptive=config.softmax == 'adaptive',
    )


def _make_task(
    config: Config,
    model: _language_model.Model,
    streams: language_modeling.Streams,
    measure: Measure,
) -> _supervised.Task:
    """Returns what the training loop needs."""
    sizes = config.batch_size, config.unroll_length
    needed = config.batch_size * config.unroll_length + 1
    if len(streams.train) < needed:
        raise base.DataError(
            f'{config.dataset}: the train split has {len(streams.train):,} words, --batch_size x '
            f'--unroll_length need {needed:,}; lower them or add text'
        )

    def loss(
        params: chex.ArrayTree, batch: base.Batch, carry: chex.ArrayTree, keys: chex.Array
    ) -> tuple[losses.WeightedSum, chex.ArrayTree]:
        return model.cross_entropy(params, *batch, carry, keys)

    def batch(step: int) -> base.Batch:
        known = len(streams.vocabulary)
        return language_modeling.window(streams.train, step, *sizes, vocab_size=known)

    def evaluate(params: chex.ArrayTree) -> Mapping[str, float]:
        value = measure(params, streams.valid)
        return {'valid_loss': value, 'valid_perplexity': _report.perplexity(value)}

    carry = model.initial_state(config.batch_size)
    return _supervised.Task(model.init, carry, loss, batch, evaluate, 'words')


def _make_measure(
    config: Config,
    model: _language_model.Model,
    words: vocabulary.Vocabulary,
    interrupts: _signals.Interrupts,
) -> Measure:
    sizes = config.evaluation_batch, config.unroll_length
    return _language_model.make_measure(model, words, *sizes, interrupts.check)


def _restore(config: Config, model: _language_model.Model, run_dir: str) -> chex.ArrayTree:
    carry = model.initial_state(config.batch_size)
    return _supervised.restore(config, model.init, carry, run_dir).replicated.params


def _results(
    config: Config,
    measure: Measure,
    params: chex.ArrayTree,
    streams: language_modeling.Streams,
) -> dict[str, float]:
    """Measures perplexities of validation and test, beside those of n-gram models, and prints."""
    splits = {'valid': streams.valid, 'test': streams.test}
    results = _ngram_results(streams, splits)
    for split, tokens in splits.items():
        results[f'{config.core}_{split}'] = _report.perplexity(measure(params, tokens))
    print(f'\nperplexity per word   {"validation":>10} {"test":>10}')
    for name in dict.fromkeys(key.rsplit('_', 1)[0] for key in results):
        print(f'{name:<21} {results[f"{name}_valid"]:>10.2f} {results[f"{name}_test"]:>10.2f}')
    return results


def _ngram_results(
    streams: language_modeling.Streams, splits: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Returns the perplexities of smoothed unigram and bigram models of the training text."""
    if len(streams.train) > MAX_NGRAM_TOKENS:
        return {}
    known, eos = len(streams.vocabulary), streams.vocabulary.eos
    bigram = ngrams.fit_bigram(streams.train, known, eos)
    results = {}
    for split, tokens in splits.items():
        results[f'unigram_{split}'] = ngrams.unigram_perplexity(streams.train, tokens, known)
        results[f'bigram_{split}'] = ngrams.perplexity(bigram, tokens)
    return results


def _sample(
    config: Config,
    model: _language_model.Model,
    params: chex.ArrayTree,
    words: vocabulary.Vocabulary,
) -> str:
    return _language_model.generate(
        model,
        params,
        words,
        corpora.tokenize(config.prompt, config.dataset, config.tokenizer),
        config.num_words,
        config.temperature,
        config.top_p,
        config.seed,
    )


def _draw(config: Config, run_dir: str, results: Mapping[str, float]) -> str:
    """Draws the curve of the run and returns where it is."""
    picture = os.path.join(run_dir, 'perplexity.png')
    lines = {name: results.get(f'{name}_valid') for name in ('unigram', 'bigram')}
    _report.plot_curves(
        _report.read_metrics(os.path.join(run_dir, 'metrics.jsonl')),
        picture,
        curves={'perplexity': 'training', 'valid_perplexity': 'validation'},
        title=f'{config.core} on {config.dataset}',
        baselines={f'{name}, validation': line for name, line in lines.items() if line},
    )
    return picture


def _describe(config: Config, streams: language_modeling.Streams, task: _supervised.Task) -> None:
    """Prints what is about to be trained on what."""
    sizes = ' / '.join(f'{len(tokens):,}' for tokens in streams[1:4])
    known = len(streams.vocabulary)
    print(f'{config.dataset}: {sizes} words of train / valid / test, {known:,} known')
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    core = _cores.count(shapes)
    devices = f'{jax.local_device_count()} x {jax.devices()[0].device_kind}'
    print(f'{config.core}: {count:,} parameters, {core:,} in the core; on {devices}')


if __name__ == '__main__':
    sys.exit(_cli.main(Config, run, 'lm', PRESETS))
