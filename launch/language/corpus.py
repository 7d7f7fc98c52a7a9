"""The corpus of a language model's run: its flags, its vocabulary, and tokens of a prompt."""

from collections.abc import Callable, Mapping
import dataclasses
import pathlib
import sys
from typing import Any, ClassVar, Literal

from launch.runs import directory, flags, kept_files, progress
from tasks import storage
from tasks.text import corpora, shares, streams, subwords, tokenizing
from tasks.text import vocabulary as vocabulary_lib

VOCABULARY = 'vocabulary.txt'  # in a run's directory
LEARNED = 'tokenizer.json'  # there too, of subwords alone
_SHARES = '0.9,0.05,0.05'
_NUM_BYTES = 257  # of a vocabulary of bytes: all but the line break, `<eos>` and `<unk>`


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags of a corpus."""

    GROUPS: ClassVar = {'data': '*'}

    dataset: Literal['pydoc', 'text', 'gutenberg', 'gigaword', 'lm1b', 'pg19', 'wikitext103'] = (
        flags.flag(
            'pydoc',
            'pydoc (the documentation inside Python), text, gutenberg (your files), or of TFDS the '
            'others. gigaword is the headline corpus of Rush et al. 2015 (3.8 M sentences), NOT '
            'the GigaWord v5 of the paper (LDC2011T07, 4 B words, licensed): if you own that, '
            'give it as text',
            'fixed',
        )
    )
    data_dir: str | None = flags.flag(
        None,
        'text, gutenberg: the folder of its three splits, or of texts, or a single file; data sets '
        'of TFDS: its data_dir, default $TFDS_DATA_DIR or ~/tensorflow_datasets',
        'free',
        path=True,
    )
    gigaword_text: Literal['document', 'summary', 'both'] = flags.flag(
        'document', 'of gigaword: sentences, headlines, or both after each other', 'fixed'
    )
    tokenizer: Literal['whitespace', 'words', 'characters', 'bytes', 'subwords'] | None = (
        flags.flag(None, "default the corpus's own, which is one of the first two", 'fixed')
    )
    vocab_size: int = flags.flag(
        0,
        'the most frequent tokens; 0 for all (words of pydoc: 10,000; of gigaword, lm1b, pg19: '
        '250,000; subwords: 8,000)',
        'fixed',
        0,
    )
    cache_dir: str | None = flags.flag(
        None, 'of encoded corpora; default ~/.cache', 'free', path=True
    )
    split_shares: str = flags.flag(
        _SHARES,
        'of texts without splits: train, valid, test, each in whole stretches',
        'fixed',
    )
    split_seed: int = flags.flag(
        0, 'of texts without splits: where the stretches of valid and test are', 'fixed', 0
    )

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        directory.check_path('data_dir', self.data_dir)
        directory.check_path('cache_dir', self.cache_dir)
        if self.gigaword_text != 'document' and self.dataset != 'gigaword':
            raise ValueError(f'--gigaword_text: wanted --dataset=gigaword, got {self.dataset}')
        for name, plain in (('split_shares', _SHARES), ('split_seed', 0)):
            if getattr(self, name) != plain and self.dataset not in corpora.OWN_FILES:
                wanted = f'wanted --dataset={" or ".join(corpora.OWN_FILES)} with it'
                raise ValueError(f'--{name}: {wanted}, got {self.dataset}')
        shares.parse(self.split_shares, self.split_seed)
        if self.dataset == 'pydoc' and self.data_dir is not None:
            raise ValueError(f'--dataset=pydoc: wanted no --data_dir, got {self.data_dir!r}')
        if 0 < self.vocab_size < 3:
            raise ValueError(f'--vocab_size: wanted 0 (all) or at least 3, got {self.vocab_size}')
        if self.tokenizer == 'bytes' and self.vocab_size not in (0, _NUM_BYTES):
            wanted = f'wanted 0 or {_NUM_BYTES} with --tokenizer=bytes'
            raise ValueError(f'--vocab_size: {wanted}, got {self.vocab_size}')
        if self.tokenizer == 'subwords' and 0 < self.vocab_size < subwords.SMALLEST_SIZE:
            wanted = f'wanted 0 or at least {subwords.SMALLEST_SIZE} with --tokenizer=subwords'
            raise ValueError(f'--vocab_size: {wanted}, got {self.vocab_size}')


def describe(config: Config) -> str:
    """Returns what messages call the corpus: its name, and where it is."""
    return f'{config.dataset} in {config.data_dir}' if config.data_dir else config.dataset


def label(config: Config) -> str:
    """Returns the name of the corpus for folders, with its tokenizer unless tokens are words."""
    name = corpora.label(config.dataset, config.data_dir)
    return f'{name}-{config.tokenizer}' if config.tokenizer in tokenizing.PIECES else name


def tokenizer_of(config: Config, learned: str = '') -> tokenizing.Tokenizer:
    """Returns what cuts texts as the corpus is cut, and joins tokens.

    Args:
      config: the flags.
      learned: of `Streams`; '' where no text is cut into subwords.
    """
    return corpora.tokenizer_of(config.dataset, config.tokenizer, learned)


def load(config: Config) -> streams.Streams:
    """Opens the corpus, encoding it if need be.

    Raises:
      DataError: the corpus cannot be used.
    """
    names = config.dataset, config.data_dir, config.tokenizer, config.cache_dir
    size = config.vocab_size
    if config.tokenizer not in tokenizing.PIECES:
        size = size or corpora.DEFAULT_VOCAB_SIZES.get(config.dataset, 0)
    with progress.Progress() as bar:
        split = shares.parse(config.split_shares, config.split_seed)
        corpus = corpora.load(*names, config.gigaword_text, bar, split)
        return streams.prepare(corpus, config.cache_dir, size, progress=bar)


def load_vocabulary(run_dir: str, metadata: Mapping[str, Any]) -> vocabulary_lib.Vocabulary:
    """Returns the vocabulary that a run keeps; raises a DataError unless it is the checkpoint's."""
    return vocabulary_lib.load(kept_files.find(run_dir, metadata, VOCABULARY))


def load_tokenizer(
    config: Config, run_dir: str, metadata: Mapping[str, Any]
) -> tokenizing.Tokenizer:
    """Returns the tokenizer of a run, with the subwords that it keeps.

    Raises:
      DataError: the subwords are not the checkpoint's, or `tokenizers` cannot be imported.
    """
    is_learned = config.tokenizer == tokenizing.SUBWORDS
    path = kept_files.find(run_dir, metadata, LEARNED) if is_learned else None
    return tokenizer_of(config, path.read_text('utf-8') if path else '')


def files(
    vocabulary: vocabulary_lib.Vocabulary, tokenizer: tokenizing.Tokenizer
) -> dict[str, Callable[[pathlib.Path], None]]:
    """Returns what writes the files without which parameters mean nothing, by name."""
    written: dict[str, Callable[[pathlib.Path], None]] = {VOCABULARY: vocabulary.save}
    if tokenizer.learned:
        written[LEARNED] = lambda path: storage.write_text(path, tokenizer.learned)
    return written


def read_prompt(
    prompt: str, tokenizer: tokenizing.Tokenizer, vocabulary: vocabulary_lib.Vocabulary
) -> list[str]:
    """Returns the tokens of a prompt, and warns of those that are not in the vocabulary."""
    tokens = tokenizer.cut(prompt)
    unknown = ', '.join(repr(x) for x in dict.fromkeys(tokens) if x not in vocabulary.index)
    if unknown:
        line = f'--prompt: not in the vocabulary, read as <unk>: {unknown}'
        print(line, file=sys.stderr, flush=True)
    return tokens
