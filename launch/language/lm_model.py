"""Brings back the language model of a run of `lm`: its flags, its corpus, its network.

Glossary of shapes:
  V: words of the vocabulary.
"""

import sys
from typing import Any

from launch.language import language_model, lm_config
from launch.training import cores, loop, saved_run, update
from tasks import base
from tasks.text import corpora
from tasks.text import streams as streams_lib

VOCABULARY = 'vocabulary.txt'


def as_trained(
    config: lm_config.Config, run_dir: str
) -> tuple[lm_config.Config, tuple[int, dict[str, Any]]]:
    """Returns the configuration with what the checkpoint was trained with, and its metadata.

    Args:
      config: the flags.
      run_dir: the run's directory, which this process owns.

    Raises:
      RunError: there is no checkpoint, or a flag asks for something else than it was trained with.
    """
    return saved_run.as_trained(config, lm_config.PRESETS, run_dir, also=('data_dir',))


def prepare(
    config: lm_config.Config, saved: tuple[int, dict[str, Any]] | None
) -> streams_lib.Streams:
    """Opens the corpus, encoding it if need be, and checks that it is the one of the checkpoint.

    Args:
      config: the flags.
      saved: step and metadata of the checkpoint, None if there is none.

    Raises:
      DataError: the corpus cannot be used or has changed.
    """
    names = config.dataset, config.data_dir, config.tokenizer, config.cache_dir
    corpus = corpora.load(*names, config.gigaword_text)
    size = config.vocab_size or corpora.DEFAULT_VOCAB_SIZES.get(config.dataset, 0)
    streams = streams_lib.prepare(corpus, config.cache_dir, size, progress=sys.stdout)
    if saved and saved[1]['corpus'] != streams.key:
        raise base.DataError(
            f'{config.dataset} has changed since the checkpoint of step {saved[0]}: '
            'put the old text back or take another --run_dir'
        )
    return streams


def make_model(config: lm_config.Config, vocab_size: int) -> language_model.Model:
    """Returns the network of a configuration, for a vocabulary of V words.

    Raises:
      DataError: the vocabulary is too small for the softmax.
    """
    if config.softmax == 'adaptive' and vocab_size < 16:
        message = f'{config.dataset}: wanted at least 16 different words for --softmax=adaptive'
        raise base.DataError(f'{message}, got {vocab_size}; take --softmax=full or add text')
    return language_model.make_model(
        lambda: cores.make(config, config.embedding_size),
        vocab_size,
        config.embedding_size,
        config.dropout,
        config.output_dropout,
        adaptive=config.softmax == 'adaptive',
        dtype=config.dtype,
    )


def restore(
    config: lm_config.Config, model: language_model.Model, run_dir: str
) -> update.Replicated:
    """Returns step, parameters and optimizer of the newest checkpoint.

    Raises:
      RunError: there is none that is whole, or it does not fit the model.
    """
    carry = model.initial_state(config.batch_size)
    return loop.restore(config, model.init, carry, run_dir).replicated
