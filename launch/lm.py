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
import dataclasses
import math
import os
from typing import Any

import chex
import haiku as hk
import numpy as np

from launch.language import evaluation as evaluation_lib
from launch.language import language_model, lm_config, lm_model, tables
from launch.runs import checkpoint, directory, display, metrics, plots, processes
from launch.runs import flags as flags_lib
from launch.training import cores, cost, loop, saved_run, update
from launch.training import devices as devices_lib
from relational_rnn import losses
from tasks import base
from tasks.text import corpora, vocabulary
from tasks.text import streams as streams_lib

Config = lm_config.Config
PRESETS = lm_config.PRESETS
MEASURE = 'valid_perplexity'  # by which runs are compared


def run(config: Config) -> dict[str, float]:
    """Trains, evaluates, samples or measures what an update costs.

    Args:
      config: the flags.

    Returns:
      What was measured: in training and evaluation the perplexities of validation and test.
    """
    if config.mode == 'benchmark':
        with processes.join(config, ''):
            return _benchmark(config)
    run_dir = config.run_dir or f'runs/lm-{config.dataset}-{config.core}'
    trains = config.mode == 'train'
    with saved_run.opened(config, run_dir, trains) as own_dir:
        return RUN_MODES[config.mode](config, own_dir)


def _train(config: Config, run_dir: str) -> dict[str, float]:
    """Trains from where the run is, measures, and shows what came of it."""
    saved, devices = saved_run.resume(config, run_dir)
    streams = lm_model.prepare(config, saved)
    words = streams.vocabulary
    words.save(os.path.join(run_dir, lm_model.VOCABULARY))
    model = lm_model.make_model(config, len(words))
    score = language_model.make_score(model, words)
    task = _make_task(config, model, streams, score)
    _describe_corpus(config, streams)
    num_parameters = _describe_model(config, task)
    flags = dataclasses.asdict(config)
    metadata = {'config': flags, 'corpus': streams.key, 'devices': devices}
    words_per_update = config.batch_size * config.unroll_length
    directory.describe(run_dir, 'lm', flags, num_parameters, task.unit, words_per_update, MEASURE)
    state = loop.train(config, task, run_dir, metadata).replicated
    evaluation = _measure(config, run_dir, score, state, streams, 0)
    sample = _sample(config, model, state.params, words)
    picture = _draw(config, run_dir, evaluation)
    print(f'\na sample: {sample}\n')
    print(f'checkpoints  {os.path.join(run_dir, "checkpoints")}')
    print(f'metrics      {os.path.join(run_dir, "metrics.jsonl")}, and for TensorBoard')
    print(f'curve        {picture}')
    print(f'evaluation   {os.path.join(run_dir, evaluation_lib.FILE)}; --mode=evaluate tells more')
    print(f'all {config.num_steps} updates are done; a larger --num_steps trains on from here')
    return _results(evaluation)


def _evaluate(config: Config, run_dir: str) -> dict[str, float]:
    """Measures the newest checkpoint: by split, by frequency of the word, by unroll length."""
    config, saved = lm_model.as_trained(config, run_dir)
    streams = lm_model.prepare(config, saved)
    model = lm_model.make_model(config, len(streams.vocabulary))
    state = lm_model.restore(config, model, run_dir)
    score = language_model.make_score(model, streams.vocabulary)
    num_words = len(streams.test)
    num_unrolled = min(config.evaluation_words or num_words, num_words)
    if num_unrolled < num_words:
        cut = f'unroll lengths: on the first {num_unrolled:,} of {num_words:,} words of test'
        print(f'{cut}; --evaluation_words=0 takes all')
    evaluation = _measure(config, run_dir, score, state, streams, num_unrolled)
    print(f'\n{tables.describe_bands(evaluation)}')
    print(f'\n{tables.describe_unrolls(evaluation)}\n')
    for picture in tables.draw(run_dir, evaluation):
        print(f'picture      {picture}')
    print(f'evaluation   {os.path.join(run_dir, evaluation_lib.FILE)}')
    return _results(evaluation)


def _generate(config: Config, run_dir: str) -> dict[str, float]:
    """Prints a sample of the newest checkpoint; needs no corpus."""
    config, _ = lm_model.as_trained(config, run_dir)
    words = vocabulary.load(os.path.join(run_dir, lm_model.VOCABULARY))
    model = lm_model.make_model(config, len(words))
    params = lm_model.restore(config, model, run_dir).params
    prompt = corpora.tokenize(config.prompt, config.dataset, config.tokenizer)
    unknown = ', '.join(repr(word) for word in dict.fromkeys(prompt) if word not in words.index)
    if unknown:
        checkpoint.warn(f'lm: --prompt: the model does not know {unknown}, read as <unk>')
    print(_sample(config, model, params, words))
    return {}


RUN_MODES = {'train': _train, 'evaluate': _evaluate, 'generate': _generate}  # need a directory


def _benchmark(config: Config) -> dict[str, float]:
    """Measures the update of a model on random words; needs no corpus and no directory."""
    shape = config.unroll_length + 1, config.batch_size
    model = lm_model.make_model(config, config.vocab_size)
    rows = devices_lib.own_rows(config.batch_size)

    def batch(step: int) -> base.Batch:
        ids = np.random.default_rng(step).zipf(1.3, shape)[:, rows] % config.vocab_size
        ids = ids.astype(np.int32)
        resets = np.zeros(ids[1:].shape, bool)
        return base.Batch(ids[:-1], ids[1:], np.ones(resets.shape, np.float32), resets)

    task = _task(config, model, batch, lambda params: {})
    _describe_model(config, task)
    costs = cost.measure(config, task, batch, config.repeats)
    print('\n'.join(cost.describe(costs, task.unit)))
    return costs


def _make_task(
    config: Config,
    model: language_model.Model,
    streams: streams_lib.Streams,
    score: language_model.Score,
) -> update.Task:
    """Returns what the training loop needs."""
    sizes = config.batch_size, config.unroll_length
    known, own_rows = len(streams.vocabulary), devices_lib.own_rows(config.batch_size)
    needed = config.batch_size * config.unroll_length + 1
    if len(streams.train) < needed:
        raise base.DataError(
            f'{config.dataset}: the train split has {len(streams.train):,} words, --batch_size x '
            f'--unroll_length need {needed:,}; lower them or add text'
        )

    def batch(step: int) -> base.Batch:
        return streams_lib.window(streams.train, step, *sizes, own_rows, known)

    def evaluate(params: chex.ArrayTree) -> Mapping[str, float]:
        sizes = config.evaluation_batch, config.unroll_length
        nats = score(params, streams.valid, *sizes, lambda _: None)
        value = float(np.mean(nats, dtype=np.float64))
        return {'valid_loss': value, MEASURE: display.perplexity(value)}

    return _task(config, model, batch, evaluate)


def _task(
    config: Config,
    model: language_model.Model,
    batch: Callable[[int], base.Batch],
    evaluate: Callable[[chex.ArrayTree], Mapping[str, float]],
) -> update.Task:
    """Returns the task of predicting the words of batches."""

    def loss(
        params: chex.ArrayTree, batch: base.Batch, carry: chex.ArrayTree, keys: chex.Array
    ) -> tuple[losses.WeightedSum, chex.ArrayTree, Mapping[str, chex.Array]]:
        return *model.cross_entropy(params, *batch, carry, keys), {}

    carry = model.initial_state(config.batch_size)
    return update.Task(model.init, carry, loss, evaluate, 'words', batch, perplexity=True)


def _measure(
    config: Config,
    run_dir: str,
    score: language_model.Score,
    state: update.Replicated,
    streams: streams_lib.Streams,
    num_unrolled: int,
) -> dict[str, Any]:
    """Evaluates, keeps what came of it in the run's directory, and prints the perplexities."""
    sizes = config.evaluation_batch, config.unroll_length
    evaluation = {
        'program': 'lm',
        'dataset': config.dataset,
        'core': config.core,
        'step': int(state.step),
        'parameters': hk.data_structures.tree_size(state.params),
        **evaluation_lib.evaluate(score, state.params, streams, *sizes, num_unrolled),
    }
    evaluation_lib.save(run_dir, evaluation)
    print(f'\n{tables.describe_splits(evaluation)}')
    return evaluation


def _results(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """Returns the perplexities by model and split; NaN for one that is not finite."""
    return {
        f'{name}_{split}': math.nan if value is None else value
        for name, values in tables.perplexities(evaluation).items()
        for split, value in zip(('valid', 'test'), values, strict=True)
    }


def _sample(
    config: Config,
    model: language_model.Model,
    params: chex.ArrayTree,
    words: vocabulary.Vocabulary,
) -> str:
    return language_model.generate(
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
    rows = metrics.read_metrics(os.path.join(run_dir, 'metrics.jsonl'))
    columns = {'training': 'perplexity', 'validation': MEASURE}
    baselines = {name: values['valid'] for name, values in evaluation['ngrams'].items()}
    plots.plot_curves(
        {name: metrics.points(rows, column) for name, column in columns.items()},
        picture,
        title=f'{config.core} on {config.dataset}',
        baselines={f'{name}, validation': value for name, value in baselines.items()},
        pale=['training'],
    )
    return picture


def _describe_corpus(config: Config, streams: streams_lib.Streams) -> None:
    """Prints what is about to be trained on."""
    sizes = ' / '.join(f'{len(tokens):,}' for tokens in streams[1:4])
    known = len(streams.vocabulary)
    print(f'{config.dataset}: {sizes} words of train / valid / test, {known:,} known')


def _describe_model(config: Config, task: update.Task) -> int:
    """Prints what is about to be trained, and returns the number of parameters."""
    count, core = cores.sizes(task.init)
    devices = devices_lib.describe_devices()
    print(f'{config.core}: {count:,} parameters, {core:,} in the core; on {devices}')
    return count


if __name__ == '__main__':
    processes.leave(flags_lib.main(Config, run, 'lm', PRESETS))
