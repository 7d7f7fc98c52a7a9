"""Word-level language modelling with the Relational Memory Core.

  python -m launch.lm                                        train on Python's own documentation
  python -m launch.lm --dataset=text --data_dir=DIR          train on your own text
  python -m launch.lm --mode=evaluate --run_dir=RUN          perplexities, as tables and pictures
  python -m launch.lm --mode=generate --run_dir=RUN --prompt="a list of"
  python -m launch.lm --mode=benchmark --preset=paper --vocab_size=267735 --batch_size=64

The same command goes on where it was stopped. Santoro et al. 2018, "Relational recurrent neural
networks", section 4.3 and appendix A.4, https://arxiv.org/abs/1806.01822; its settings are
`--preset=paper`.

Glossary of shapes:
  T: words of a window; B: streams; V: words of the vocabulary.
"""

from collections.abc import Callable, Mapping
import contextlib
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
    _evaluation,
    _evaluation_tables,
    _language_model,
    _parallel,
    _plots,
    _processes,
    _report,
    _run_directory,
    _signals,
    _supervised,
    _update_benchmark,
)
from relational_rnn import losses
from tasks import base, corpora, language_modeling, vocabulary

VOCABULARY = 'vocabulary.txt'
MEASURE = 'valid_perplexity'  # by which runs are compared

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
class Config(_cores.Config, _supervised.Config, _processes.Config):
    """Word-level language modelling; see --preset=paper for Santoro et al. 2018, appendix A.4."""

    preset: str = _cli.flag('cpu', 'defaults of the other flags: cpu or paper', 'free')
    mode: str = _cli.flag('train', 'train, evaluate, generate or benchmark', 'free')
    dataset: str = _cli.flag(
        'pydoc',
        'pydoc (the docs inside Python), text, gutenberg (your files), or of TFDS: gigaword, lm1b, '
        'pg19, wikitext103. gigaword is the headline corpus of Rush et al. 2015 (3.8 M sentences), '
        'NOT the GigaWord v5 of the paper (LDC2011T07, 4 B words, licensed): if you own that, give '
        'it as text',
        'identity',
    )
    data_dir: str | None = _cli.flag(
        None,
        'text, gutenberg: where its three splits are; data sets of TFDS: its data_dir, default '
        '$TFDS_DATA_DIR or ~/tensorflow_datasets',
        'free',
    )
    gigaword_text: str = _cli.flag(
        'document', 'of gigaword: document, summary, or both after each other', 'identity'
    )
    tokenizer: str | None = _cli.flag(
        None, "whitespace or words; default the corpus's own", 'identity'
    )
    vocab_size: int = _cli.flag(
        0,
        'the most frequent words to know; 0 for all (pydoc: 10,000; gigaword, lm1b, pg19: 250,000)',
        'identity',
        minimum=0,
    )
    cache_dir: str | None = _cli.flag(None, 'of encoded corpora; default ~/.cache', 'free')
    unroll_length: int = _cli.flag(100, 'words of a window of BPTT', 'identity', minimum=1)
    embedding_size: int = _cli.flag(512, 'of the tied embeddings', 'identity', minimum=1)
    dropout: float = _cli.flag(0.5, 'of the embeddings', 'identity', 0, 0.99)
    output_dropout: float = _cli.flag(0.0, 'of what the softmax sees', 'identity', 0, 0.99)
    softmax: str = _cli.flag('full', 'full or adaptive', 'identity')
    dtype: str = _cli.flag('float32', 'of matrix products: float32 or bfloat16', 'identity')
    evaluation_batch: int = _cli.flag(16, 'streams of an evaluation', 'free', minimum=1)
    evaluation_words: int = _cli.flag(
        250_000, 'evaluate: words of test for the unroll lengths; 0 for all', 'free', minimum=0
    )
    prompt: str = _cli.flag('', 'generate: the words to go on from', 'free')
    num_words: int = _cli.flag(40, 'generate: how many words', 'free', minimum=1)
    temperature: float = _cli.flag(0.8, 'generate: 0 takes the likeliest word', 'free', minimum=0)
    repeats: int = _cli.flag(
        5, 'benchmark: timed updates; 0 only compiles and tells the memory', 'free', minimum=0
    )
    top_p: float = _cli.flag(0.9, 'generate: share of the likeliest words', 'free', 0.001, 1)

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        _cores.Config.__post_init__(self)
        _supervised.Config.__post_init__(self)
        _processes.Config.__post_init__(self)
        _cli.choose('mode', self.mode, MODES)
        _cli.choose('dataset', self.dataset, corpora.NAMES)
        _cli.choose('softmax', self.softmax, ('full', 'adaptive'))
        _cli.choose('dtype', self.dtype, ('float32', 'bfloat16'))
        if self.tokenizer is not None:
            _cli.choose('tokenizer', self.tokenizer, corpora.TOKENIZERS)
        _cli.choose('gigaword_text', self.gigaword_text, corpora.GIGAWORD_TEXTS)
        if self.gigaword_text != 'document' and self.dataset != 'gigaword':
            raise ValueError(f'--gigaword_text: wanted --dataset=gigaword, got {self.dataset}')
        if self.dataset in ('text', 'gutenberg') and self.mode == 'train' and self.data_dir is None:
            wanted = 'wanted --data_dir=DIR with your texts'
            raise ValueError(f'--dataset={self.dataset}: {wanted}, got none')
        if self.dataset == 'pydoc' and self.data_dir is not None:
            raise ValueError(f'--dataset=pydoc: wanted no --data_dir, got {self.data_dir!r}')
        if self.mode == 'benchmark' and not self.vocab_size:
            raise ValueError('--mode=benchmark: wanted --vocab_size=WORDS, for it reads no corpus')
        if self.mode in ('evaluate', 'generate') and self.run_dir is None:
            raise ValueError(f'--mode={self.mode}: wanted --run_dir=DIR of a trained run, got none')
        if self.mode in ('evaluate', 'generate') and (self.num_processes or 1) > 1:
            raise ValueError(f'--mode={self.mode}: wanted one process, got {self.num_processes}')
        if 0 < self.vocab_size < 3:
            raise ValueError(f'--vocab_size: wanted 0 (all) or at least 3, got {self.vocab_size}')
        if self.softmax == 'adaptive' and self.embedding_size < 16:
            wanted = 'wanted at least 16 for --softmax=adaptive'
            raise ValueError(f'--embedding_size: {wanted}, got {self.embedding_size}')


def run(config: Config) -> dict[str, float]:
    """Trains, evaluates, samples or measures what an update costs.

    Args:
      config: the flags.

    Returns:
      What was measured: in training and evaluation the perplexities of validation and test.
    """
    if config.mode == 'benchmark':
        with _processes.join(config, ''):
            return _benchmark(config)
    run_dir = config.run_dir or f'runs/lm-{config.dataset}-{config.core}'
    if config.mode != 'train' and not os.path.isdir(os.path.join(run_dir, 'checkpoints')):
        message = f'--run_dir={run_dir}: wanted the directory of a trained run, it has none'
        raise _errors.RunError(_errors.BAD_DATA, message)
    alone = config.mode != 'train'
    with (
        _signals.Interrupts() as interrupts,
        contextlib.nullcontext(run_dir) if alone else _processes.join(config, run_dir) as own_dir,
        _run_directory.RunDirectory(own_dir),
    ):
        return RUN_MODES[config.mode](config, own_dir, interrupts)


def _train(config: Config, run_dir: str, interrupts: _signals.Interrupts) -> dict[str, float]:
    """Trains from where the run is, measures, and shows what came of it."""
    checkpointer = _checkpoint.Checkpointer(run_dir)
    saved = checkpointer.newest_metadata() if _parallel.is_first() else None
    saved = _parallel.share_record(saved)
    devices = _parallel.describe_devices()
    if saved:
        _check_saved(config, saved[1], devices)
    streams = _prepare(config, saved, interrupts)
    words = streams.vocabulary
    words.save(os.path.join(run_dir, VOCABULARY))
    model = _make_model(config, len(words))
    score = _language_model.make_score(model, words)
    task = _make_task(config, model, streams, score, interrupts)
    _describe_corpus(config, streams)
    num_parameters = _describe_model(config, task)
    interrupts.check()
    flags = dataclasses.asdict(config)
    metadata = {'config': flags, 'corpus': streams.key, 'devices': devices}
    words_per_update = config.batch_size * config.unroll_length
    _run_directory.describe(
        run_dir, 'lm', flags, num_parameters, task.unit, words_per_update, MEASURE
    )
    state = _supervised.train(config, task, run_dir, interrupts, metadata).replicated
    evaluation = _measure(config, run_dir, score, state, streams, 0, interrupts)
    sample = _sample(config, model, state.params, words)
    picture = _draw(config, run_dir, evaluation)
    print(f'\na sample: {sample}\n')
    print(f'checkpoints  {os.path.join(run_dir, "checkpoints")}')
    print(f'metrics      {os.path.join(run_dir, "metrics.jsonl")}, and for TensorBoard')
    print(f'curve        {picture}')
    print(f'evaluation   {os.path.join(run_dir, _evaluation.FILE)}; --mode=evaluate tells more')
    print(f'all {config.num_steps} updates are done; a larger --num_steps trains on from here')
    return _results(evaluation)


def _check_saved(config: Config, metadata: Mapping[str, Any], devices: str) -> None:
    """Prints what has changed since a checkpoint; raises a RunError if that may not change."""
    changed = _run_directory.check_config(
        _saved_config(metadata), dataclasses.asdict(config), _cli.field_classes(Config)
    )
    before = metadata.get('devices', devices)
    if before != devices:
        changed.append(f'devices: {before} -> {devices}; the last bits may differ')
    for line in changed:
        print(f'changed since the checkpoint: {line}')


def _saved_config(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the configuration of a checkpoint; flags newer than it have their defaults."""
    return {**dataclasses.asdict(Config()), **metadata['config']}


def _evaluate(config: Config, run_dir: str, interrupts: _signals.Interrupts) -> dict[str, float]:
    """Measures the newest checkpoint: by split, by frequency of the word, by unroll length."""
    config, saved = _as_trained(config, run_dir)
    streams = _prepare(config, saved, interrupts)
    model = _make_model(config, len(streams.vocabulary))
    state = _restore(config, model, run_dir)
    score = _language_model.make_score(model, streams.vocabulary)
    num_words = len(streams.test)
    num_unrolled = min(config.evaluation_words or num_words, num_words)
    if num_unrolled < num_words:
        cut = f'unroll lengths: on the first {num_unrolled:,} of {num_words:,} words of test'
        print(f'{cut}; --evaluation_words=0 takes all')
    evaluation = _measure(config, run_dir, score, state, streams, num_unrolled, interrupts)
    print(f'\n{_evaluation_tables.describe_bands(evaluation)}')
    print(f'\n{_evaluation_tables.describe_unrolls(evaluation)}\n')
    for picture in _evaluation_tables.draw(run_dir, evaluation):
        print(f'picture      {picture}')
    print(f'evaluation   {os.path.join(run_dir, _evaluation.FILE)}')
    return _results(evaluation)


def _generate(config: Config, run_dir: str, interrupts: _signals.Interrupts) -> dict[str, float]:
    """Prints a sample of the newest checkpoint; needs no corpus."""
    config, _ = _as_trained(config, run_dir)
    words = vocabulary.load(os.path.join(run_dir, VOCABULARY))
    model = _make_model(config, len(words))
    params = _restore(config, model, run_dir).params
    interrupts.check()
    prompt = corpora.tokenize(config.prompt, config.dataset, config.tokenizer)
    unknown = ', '.join(repr(word) for word in dict.fromkeys(prompt) if word not in words.index)
    if unknown:
        _checkpoint.warn(f'lm: --prompt: the model does not know {unknown}, read as <unk>')
    print(_sample(config, model, params, words))
    return {}


RUN_MODES = {'train': _train, 'evaluate': _evaluate, 'generate': _generate}  # need a directory
MODES = (*RUN_MODES, 'benchmark')


def _benchmark(config: Config) -> dict[str, float]:
    """Measures the update of a model on random words; needs no corpus and no directory."""
    shape = config.unroll_length + 1, config.batch_size
    model = _make_model(config, config.vocab_size)
    rows = _parallel.own_rows(config.batch_size)

    def batch(step: int) -> base.Batch:
        ids = np.random.default_rng(step).zipf(1.3, shape)[:, rows] % config.vocab_size
        ids = ids.astype(np.int32)
        resets = np.zeros(ids[1:].shape, bool)
        return base.Batch(ids[:-1], ids[1:], np.ones(resets.shape, np.float32), resets)

    task = _task(config, model, batch, lambda params: {})
    _describe_model(config, task)
    costs = _update_benchmark.measure(config, task, config.repeats)
    print('\n'.join(_update_benchmark.describe(costs, task.unit)))
    return costs


def _as_trained(config: Config, run_dir: str) -> tuple[Config, tuple[int, dict[str, Any]]]:
    """Returns the configuration with what the checkpoint was trained with, and its metadata.

    Raises:
      RunError: there is no checkpoint, or a flag asks for something else than it was trained with.
    """
    saved = _checkpoint.Checkpointer(run_dir).newest_metadata()
    if saved is None:
        message = f'--run_dir={run_dir}: wanted a run with a checkpoint, it has none yet'
        raise _errors.RunError(_errors.BAD_DATA, message)
    trained, classes = _saved_config(saved[1]), _cli.field_classes(Config)
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


def _prepare(
    config: Config, saved: tuple[int, dict[str, Any]] | None, interrupts: _signals.Interrupts
) -> language_modeling.Streams:
    """Opens the corpus, and checks that it is the one of the checkpoint."""
    names = config.dataset, config.data_dir, config.tokenizer, config.cache_dir
    corpus = corpora.load(*names, config.gigaword_text)
    size = config.vocab_size or corpora.DEFAULT_VOCAB_SIZES.get(config.dataset, 0)
    streams = language_modeling.prepare(
        corpus, config.cache_dir, size, progress=sys.stdout, check=interrupts.check
    )
    if saved and saved[1]['corpus'] != streams.key:
        raise base.DataError(
            f'{config.dataset} has changed since the checkpoint of step {saved[0]}: '
            'put the old text back or take another --run_dir'
        )
    return streams


def _make_model(config: Config, vocab_size: int) -> _language_model.Model:
    if config.softmax == 'adaptive' and vocab_size < 16:
        message = f'{config.dataset}: wanted at least 16 different words for --softmax=adaptive'
        raise base.DataError(f'{message}, got {vocab_size}; take --softmax=full or add text')
    return _language_model.make_model(
        lambda: _cores.make(config, config.embedding_size),
        vocab_size,
        config.embedding_size,
        config.dropout,
        config.output_dropout,
        adaptive=config.softmax == 'adaptive',
        dtype=config.dtype,
    )


def _make_task(
    config: Config,
    model: _language_model.Model,
    streams: language_modeling.Streams,
    score: _language_model.Score,
    interrupts: _signals.Interrupts,
) -> _supervised.Task:
    """Returns what the training loop needs."""
    sizes = config.batch_size, config.unroll_length
    known, own_rows = len(streams.vocabulary), _parallel.own_rows(config.batch_size)
    needed = config.batch_size * config.unroll_length + 1
    if len(streams.train) < needed:
        raise base.DataError(
            f'{config.dataset}: the train split has {len(streams.train):,} words, --batch_size x '
            f'--unroll_length need {needed:,}; lower them or add text'
        )

    def batch(step: int) -> base.Batch:
        return language_modeling.window(streams.train, step, *sizes, own_rows, known)

    def evaluate(params: chex.ArrayTree) -> Mapping[str, float]:
        sizes = config.evaluation_batch, config.unroll_length
        nats = score(params, streams.valid, *sizes, lambda _: interrupts.check())
        value = float(np.mean(nats, dtype=np.float64))
        return {'valid_loss': value, MEASURE: _report.perplexity(value)}

    return _task(config, model, batch, evaluate)


def _task(
    config: Config,
    model: _language_model.Model,
    batch: Callable[[int], base.Batch],
    evaluate: Callable[[chex.ArrayTree], Mapping[str, float]],
) -> _supervised.Task:
    """Returns the task of predicting the words of batches."""

    def loss(
        params: chex.ArrayTree, batch: base.Batch, carry: chex.ArrayTree, keys: chex.Array
    ) -> tuple[losses.WeightedSum, chex.ArrayTree]:
        return model.cross_entropy(params, *batch, carry, keys)

    carry = model.initial_state(config.batch_size)
    return _supervised.Task(model.init, carry, loss, batch, evaluate, 'words')


def _restore(config: Config, model: _language_model.Model, run_dir: str) -> _supervised.Replicated:
    carry = model.initial_state(config.batch_size)
    return _supervised.restore(config, model.init, carry, run_dir).replicated


def _measure(
    config: Config,
    run_dir: str,
    score: _language_model.Score,
    state: _supervised.Replicated,
    streams: language_modeling.Streams,
    num_unrolled: int,
    interrupts: _signals.Interrupts,
) -> dict[str, Any]:
    """Evaluates, keeps what came of it in the run's directory, and prints the perplexities."""
    sizes = config.evaluation_batch, config.unroll_length
    evaluation = {
        'program': 'lm',
        'dataset': config.dataset,
        'core': config.core,
        'step': int(state.step),
        'parameters': _count(state.params),
        **_evaluation.evaluate(
            score, state.params, streams, *sizes, num_unrolled, interrupts.check
        ),
    }
    _evaluation.save(run_dir, evaluation)
    print(f'\n{_evaluation_tables.describe_splits(evaluation)}')
    return evaluation


def _results(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """Returns the perplexities by model and split; NaN for one that is not finite."""
    return {
        f'{name}_{split}': math.nan if value is None else value
        for name, values in _evaluation_tables.perplexities(evaluation).items()
        for split, value in zip(('valid', 'test'), values, strict=True)
    }


def _count(params: chex.ArrayTree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


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


def _draw(config: Config, run_dir: str, evaluation: Mapping[str, Any]) -> str:
    """Draws the curve of the run and returns where it is."""
    picture = os.path.join(run_dir, 'perplexity.png')
    rows = _report.read_metrics(os.path.join(run_dir, 'metrics.jsonl'))
    columns = {'training': 'perplexity', 'validation': MEASURE}
    baselines = {name: values['valid'] for name, values in evaluation['ngrams'].items()}
    _plots.plot_curves(
        {name: _report.points(rows, column) for name, column in columns.items()},
        picture,
        title=f'{config.core} on {config.dataset}',
        baselines={f'{name}, validation': value for name, value in baselines.items()},
        pale=['training'],
    )
    return picture


def _describe_corpus(config: Config, streams: language_modeling.Streams) -> None:
    """Prints what is about to be trained on."""
    sizes = ' / '.join(f'{len(tokens):,}' for tokens in streams[1:4])
    known = len(streams.vocabulary)
    print(f'{config.dataset}: {sizes} words of train / valid / test, {known:,} known')


def _describe_model(config: Config, task: _supervised.Task) -> int:
    """Prints what is about to be trained, and returns the number of parameters."""
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    count = _count(shapes)
    core = _cores.count(shapes)
    devices = _parallel.describe_devices()
    print(f'{config.core}: {count:,} parameters, {core:,} in the core; on {devices}')
    return count


if __name__ == '__main__':
    _processes.leave(_cli.main(Config, run, 'lm', PRESETS))
