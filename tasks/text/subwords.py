"""Subwords: byte-level byte-pair encoding, learned from a text with the library `tokenizers`.

Words begin with the space before them, as in GPT-2. All bytes are in the vocabulary, so that there
is no text it cannot write. Line breaks are cut off before and are `<eos>`. Learning holds every
different word of a text in memory and is deterministic; as other versions of the library may learn
others, the version belongs to what identifies a prepared corpus.

Source: R. Sennrich, B. Haddow, A. Birch: Neural Machine Translation of Rare Words with Subword
Units, 2016, https://arxiv.org/abs/1508.07909; on bytes A. Radford et al.: Language Models are
Unsupervised Multitask Learners, 2019, section 2.2.
"""

from collections.abc import Iterable
import dataclasses
import importlib
import itertools
from typing import Any

from tasks import base
from tasks.text import tokenizing, vocabulary

DEFAULT_SIZE = 8000
SMALLEST_SIZE = 257  # bytes without the line break, `<unk>`, `<eos>`
_EOS, _UNK = vocabulary.EOS, vocabulary.UNK


def version() -> str:
    """Returns the library with its version; raises a DataError if it cannot be imported."""
    return f'tokenizers {_library().__version__}'


def learn(blocks: Iterable[str], size: int) -> str:
    """Learns the most frequent subwords of a text.

    Args:
      blocks: the text.
      size: of the vocabulary, `<unk>` and `<eos>` included; of a short text it may stay smaller.

    Returns:
      The tokenizer as the JSON text of the library.

    Raises:
      ValueError: the size has no room for all bytes.
      DataError: `tokenizers` cannot be imported.
    """
    if size < SMALLEST_SIZE:
        raise ValueError(f'vocab_size of subwords: wanted at least {SMALLEST_SIZE}, got {size}')
    library = _library()
    model = library.Tokenizer(library.models.BPE())
    model.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=size - len((_UNK, _EOS)),
        initial_alphabet=list(tokenizing.make('bytes').always),
        show_progress=False,
    )
    lines = itertools.chain.from_iterable(block.split('\n') for block in blocks)
    model.train_from_iterator(lines, trainer)
    learned: str = model.to_str()
    return learned


def parse(learned: str) -> tokenizing.Tokenizer:
    """Returns the tokenizer that was learned; raises a DataError if `tokenizers` cannot read it."""
    library = _library()
    try:
        model = library.Tokenizer.from_str(learned)
    except Exception as error:  # the library raises nothing narrower
        message = f'subwords cannot be read by {version()}: {error}'
        raise base.DataError(f'{message}; install the version that has learned them') from error

    def cut(text: str) -> list[str]:
        # A prompt of a command line that is not UTF-8 has its bytes as surrogates.
        text = text.encode(errors='surrogateescape').decode(errors='replace')
        lines = (model.encode(line).tokens for line in text.split('\n'))
        return list(itertools.chain.from_iterable((*tokens, _EOS) for tokens in lines))[:-1]

    return dataclasses.replace(
        tokenizing.make(tokenizing.SUBWORDS),
        cut=cut,
        always=tuple(sorted(model.get_vocab())),
        learned=learned,
    )


def _library() -> Any:
    try:
        return importlib.import_module('tokenizers')
    except ImportError as error:
        wanted = '--tokenizer=subwords wants a package: pip install tokenizers'
        raise base.DataError(f'{wanted} ({error})') from error
