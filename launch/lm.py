"""Language modelling with the Relational Memory Core: of words, subwords, characters or bytes.

  python -m launch.lm                                        train on Python's own documentation
  python -m launch.lm --dataset=text --data_dir=DIR          train on your own text
  python -m launch.lm --data_dir=book.txt --dataset=gutenberg --tokenizer=bytes
  python -m launch.lm --mode=evaluate --run_dir=RUN          perplexities, as tables and pictures
  python -m launch.lm --mode=generate --run_dir=RUN --prompt="a list of"
  python -m launch.lm --mode=benchmark --preset=paper --vocab_size=267735 --target=h200

The first command trains for two minutes on 2 cores of an AMD EPYC and ends at a perplexity of 84.5
on test (one run, seed 0; smoothed bigrams 148.8). The same command resumes a run that was stopped.
Santoro et al. 2018, "Relational recurrent neural networks", section 4.3 and appendix A.4,
https://arxiv.org/abs/1806.01822; its settings are `--preset=paper`.

Glossary of shapes:
  T: tokens of a window; B: streams; V: vocabulary size.
"""

from collections.abc import Callable, Sequence
import dataclasses
import os
from typing import Any, ClassVar, Literal

import chex
import numpy as np

from launch.language import corpus as corpus_lib
from launch.language import evaluation as evaluation_lib
from launch.language import model as model_lib
from launch.language import tables
from launch.runs import display, flags, metrics, plots
from launch.training import cores, devices, experiment, task
from tasks import base
from tasks.text import corpora, tokenizing, windows
from tasks.text import vocabulary as vocabulary_lib

_DYNAMIC_DECAY = 0.001


@dataclasses.dataclass(frozen=True)
class Config(corpus_lib.Config, cores.Config, experiment.Config):
    """Language modelling; see --preset=paper for Santoro et al. 2018, appendix A.4."""

    GROUPS: ClassVar = {
        'model': 'embedding_size dropout output_dropout variational_dropout embedding_dropout '
        'softmax dtype',
        'training': 'unroll_length',
        'evaluation': 'evaluation_batch evaluation_words dynamic_evaluation dynamic_decay',
        'generation': 'prompt num_words temperature top_p',
    }

    mode: Literal['train', 'evaluate', 'generate', 'benchmark'] = flags.flag(  # type: ignore[assignment]
        'train', 'train; evaluate, sample from or only measure a model', 'free'
    )
    unroll_length: int = flags.flag(100, 'tokens of a window of BPTT', 'fixed', 1, 100_000)
    embedding_size: int = flags.flag(512, 'of the tied embeddings', 'fixed', 1, 100_000)
    dropout: float = flags.flag(0.5, 'of the embeddings', 'fixed', 0, 0.99)
    output_dropout: float = flags.flag(0.0, "of the softmax's input", 'fixed', 0, 0.99)
    variational_dropout: bool = flags.flag(
        False, 'one mask of both for a window and stream, in place of one for each token', 'fixed'
    )
    embedding_dropout: float = flags.flag(
        0.0, 'of words, everywhere in a window that a stream reads, or nowhere', 'fixed', 0, 0.99
    )
    softmax: Literal['full', 'adaptive'] = flags.flag('full', 'of the output', 'fixed')
    dtype: Literal['float32', 'bfloat16'] = flags.flag('float32', 'of matrix products', 'fixed')
    evaluation_batch: int = flags.flag(16, 'streams of an evaluation', 'free', 1, 10_000)
    evaluation_words: int = flags.flag(
        250_000, 'evaluate: tokens of test for the unroll lengths; 0 for all', 'free', 0
    )
    dynamic_evaluation: float = flags.flag(
        0.0,
        'evaluate: also measure a model that learns from the text it reads, by SGD with this step '
        'size; 0 for not',
        'free',
        0,
    )
    dynamic_decay: float = flags.flag(
        _DYNAMIC_DECAY,
        'of dynamic evaluation: towards the trained model after each window',
        'free',
        0,
        1,
    )
    prompt: str = flags.flag('', 'generate: the text to continue', 'free')
    num_words: int = flags.flag(40, 'generate: how many words or other tokens', 'free', 1)
    temperature: float = flags.flag(0.8, 'generate: 0 takes the likeliest token', 'free', 0)
    top_p: float = flags.flag(0.9, 'generate: share of the likeliest tokens', 'free', 0.001, 1)

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        cores.Config.__post_init__(self)
        experiment.Config.__post_init__(self)
        corpus_lib.Config.__post_init__(self)
        if self.dataset in corpora.OWN_FILES and self.mode == 'train' and self.data_dir is None:
            wanted = 'wanted --data_dir=DIR with your texts'
            raise ValueError(f'--dataset={self.dataset}: {wanted}, got none')
        if self.dynamic_evaluation and self.mode != 'evaluate':
            wanted = 'wanted --mode=evaluate with it'
            raise ValueError(f'--dynamic_evaluation: {wanted}, got {self.mode}')
        if self.dynamic_decay != _DYNAMIC_DECAY and not self.dynamic_evaluation:
            raise ValueError('--dynamic_decay: wanted --dynamic_evaluation with it, got 0')
        if self.mode == 'benchmark' and not self.vocab_size:
            raise ValueError('--mode=benchmark: wanted --vocab_size=WORDS, for it reads no corpus')
        if self.softmax == 'adaptive' and self.embedding_size < 16:
            wanted = 'wanted at least 16 for --softmax=adaptive'
            raise ValueError(f'--embedding_size: {wanted}, got {self.embedding_size}')


PRESETS = {
    'cpu': Config(
        preset='cpu',
        total_units=256,
        attention_mlp_layers=2,
        embedding_size=256,
        dropout=0.2,
        output_dropout=0.3,
        softmax='adaptive',
        batch_size=32,
        unroll_length=32,
        learning_rate=3e-3,
        schedule='cosine',
        warmup_steps=50,
        clip_norm=1.0,
        num_steps=1200,
        evaluate_every=300,
        save_every=300,
    ),
    'paper': Config(
        preset='paper',
        batch_size=384,
        num_steps=234_000,
        evaluate_every=2000,
        save_every=1000,
    ),
}


def make_model(config: Config, vocab_size: int) -> model_lib.Model:
    """Returns the network of a configuration, for a vocabulary of V words.

    Raises:
      DataError: the vocabulary is too small for the softmax.
    """
    if config.softmax == 'adaptive' and vocab_size < 16:
        wanted = 'wanted at least 16 different words for --softmax=adaptive'
        found = f'got {vocab_size}; take --softmax=full or add text'
        raise base.DataError(f'{corpus_lib.describe(config)}: {wanted}, {found}')
    return model_lib.make(
        lambda: cores.make(config, (config.embedding_size,)),
        vocab_size,
        config.embedding_size,
        config.dropout,
        config.output_dropout,
        adaptive=config.softmax == 'adaptive',
        dtype=config.dtype,
        embedding_dropout=config.embedding_dropout,
        variational_dropout=config.variational_dropout,
    )


def build(config: Config) -> task.Task:
    """Returns the task of a configuration."""
    corpus = corpus_lib.load(config)
    size = len(corpus.vocabulary)
    model = make_model(config, size)
    score = model_lib.make_score(model, corpus.vocabulary)
    counts = ' / '.join(f'{len(tokens):,}' for tokens in (corpus.train, corpus.valid, corpus.test))
    tokenizer = corpus_lib.tokenizer_of(config, corpus.learned)
    units = f'{tokenizer.unit}s'
    print(f'{config.dataset}: {counts} {units} of train / valid / test, a vocabulary of {size:,}')
    needed = config.batch_size * config.unroll_length + 1
    if len(corpus.train) < needed:
        raise base.DataError(
            f'{corpus_lib.describe(config)}: the train split has {len(corpus.train):,} {units}, '
            f'--batch_size x --unroll_length need {needed:,}; lower them or add text'
        )
    share = devices.process_slice(config.batch_size)

    def batch(step: int) -> base.Batch:
        sizes = config.batch_size, config.unroll_length
        return windows.training_window(corpus.train, step, *sizes, share, size)

    def evaluate(params: chex.ArrayTree) -> dict[str, float]:
        sizes = config.evaluation_batch, config.unroll_length
        value = float(np.mean(score(params, corpus.valid, *sizes), dtype=np.float64))
        return {'valid_loss': value, 'valid_perplexity': display.perplexity(value)}

    def test(params: chex.ArrayTree, thorough: bool) -> dict[str, Any]:
        num_words = len(corpus.test)
        num_unrolled = min(config.evaluation_words or num_words, num_words) if thorough else 0
        sizes = config.evaluation_batch, config.unroll_length, num_unrolled, tokenizer.unit
        results = evaluation_lib.evaluate(score, params, corpus, *sizes)
        dynamic = None
        if thorough and config.dynamic_evaluation:
            how = config.dynamic_evaluation, config.dynamic_decay, config.unroll_length
            dynamic = evaluation_lib.measure_dynamic(model, params, corpus, *how, tokenizer.unit)
        sample = _sample(config, model, params, corpus.vocabulary, tokenizer)
        return {'dataset': config.dataset, **results, 'dynamic': dynamic, 'sample': sample}

    return _task(config, model, batch, evaluate, test)._replace(
        data=corpus.key,
        prepared_by=corpus.prepared_by,
        files=corpus_lib.files(corpus.vocabulary, tokenizer),
    )


def _task(
    config: Config,
    model: model_lib.Model,
    batch: Callable[[int], base.Batch],
    evaluate: Callable[[chex.ArrayTree], dict[str, float]],
    test: Callable[[chex.ArrayTree, bool], dict[str, Any]],
) -> task.Task:
    """Returns the task of predicting the tokens of batches."""
    units = f'{corpus_lib.tokenizer_of(config).unit}s'

    def loss(
        params: chex.ArrayTree, batch: base.Batch, carry: chex.ArrayTree, keys: chex.Array
    ) -> tuple[task.Metrics, chex.ArrayTree]:
        value, carry = model.cross_entropy(params, *batch, carry, keys)
        return {'loss': value}, carry

    return task.Task(
        model.init,
        loss,
        evaluate,
        test,
        units,
        (units, config.batch_size * config.unroll_length),
        cores.num_parameters(config, (config.embedding_size,)),
        batch=batch,
        initial_carry=lambda: model.initial_state(config.batch_size),
        perplexity=True,
    )


def _sample(
    config: Config,
    model: model_lib.Model,
    params: chex.ArrayTree,
    vocabulary: vocabulary_lib.Vocabulary,
    tokenizer: tokenizing.Tokenizer,
) -> str:
    how = config.num_words, config.temperature, config.top_p, config.seed
    prompt = tokenizer.cut(config.prompt)
    return tokenizer.join(model_lib.generate(model, params, vocabulary, prompt, *how))


def generate(config: Config, run_dir: str) -> str:
    """Prints and returns a sample of the newest checkpoint; needs no corpus."""
    trained, _, metadata = experiment.restore(EXPERIMENT, config, run_dir)
    restored = dataclasses.replace(trained, seed=config.seed)  # of the sampling
    vocabulary = corpus_lib.load_vocabulary(run_dir, metadata)
    model = make_model(restored, len(vocabulary))
    params, _ = experiment.load_params(run_dir, model.init)
    tokenizer = corpus_lib.load_tokenizer(restored, run_dir, metadata)
    corpus_lib.read_prompt(config.prompt, tokenizer, vocabulary)
    sample = _sample(restored, model, params, vocabulary, tokenizer)
    print(sample)
    return sample


def build_synthetic(config: Config) -> task.Task:
    """Returns the task of predicting random words, to measure what an update costs."""
    shape = config.unroll_length + 1, config.batch_size
    model = make_model(config, config.vocab_size)
    share = devices.process_slice(config.batch_size)

    def batch(step: int) -> base.Batch:
        ids = np.random.default_rng(step).zipf(1.3, shape)[:, share] % config.vocab_size
        ids = ids.astype(np.int32)
        resets = np.zeros(ids[1:].shape, bool)
        return base.Batch(ids[:-1], ids[1:], np.ones(resets.shape, np.float32), resets)

    return _task(config, model, batch, lambda params: {}, lambda params, thorough: {})


def title(config: Config) -> str:
    """Returns the corpus."""
    return f'language modelling of {config.dataset}'


def describe(config: Config, evaluation: experiment.Evaluation) -> str:
    """Returns the perplexities of an evaluation as tables, and a sample."""
    parts = [tables.describe_splits(evaluation)]
    if evaluation['unroll']:
        parts += [tables.describe_bands(evaluation), tables.describe_unrolls(evaluation)]
    if evaluation['dynamic']:
        parts.append(tables.describe_dynamic(evaluation))
    return '\n\n'.join([*parts, f'a sample: {evaluation["sample"]}'])


def draw(
    config: Config, run_dir: str, rows: experiment.Rows, evaluation: experiment.Evaluation
) -> Sequence[str]:
    """Draws the perplexity over the updates, by frequency of the word and by unroll length."""
    picture = os.path.join(run_dir, 'perplexity.png')
    columns = {'training': 'perplexity', 'validation': 'valid_perplexity'}
    baselines = {name: values['valid'] for name, values in evaluation['ngrams'].items()}
    plots.plot_curves(
        {name: metrics.points(rows, column) for name, column in columns.items()},
        picture,
        title=f'{plots.core_name(config.core)}: {tables.name_corpus(config.dataset)}',
        baselines={f'{name}, validation': value for name, value in baselines.items()},
        background=['training'],
        styles=plots.core_styles({'validation': config.core}),
    )
    return [picture, *(tables.draw(run_dir, evaluation) if evaluation['unroll'] else [])]


EXPERIMENT = experiment.Experiment(
    name='lm',
    config=Config,
    presets=PRESETS,
    measure='valid_perplexity',
    build=build,
    title=title,
    describe=describe,
    draw=draw,
    higher_is_better=False,
    subject=corpus_lib.label,
    build_synthetic=build_synthetic,
    modes={'generate': generate},
    kept=('data_dir', 'evaluation_batch'),
)


def run(config: Config) -> Any:
    """Trains, evaluates, samples, or measures what an update costs.

    Args:
      config: the flags.

    Returns:
      What `evaluation.json` holds; a sample; or the costs.
    """
    return experiment.run(EXPERIMENT, config)


if __name__ == '__main__':
    experiment.main(EXPERIMENT)
