"""The flags of `lm`, what they may be, and the sizes that have a name.

Santoro et al. 2018, "Relational recurrent neural networks", section 4.3 and appendix A.4,
https://arxiv.org/abs/1806.01822.
"""

import dataclasses
from typing import Literal

from launch.runs import flags, processes
from launch.training import cores, loop


@dataclasses.dataclass(frozen=True)
class Config(cores.Config, loop.Config, processes.Config):
    """Word-level language modelling; see --preset=paper for Santoro et al. 2018, appendix A.4."""

    preset: str = flags.flag('cpu', 'defaults of the other flags', 'free')
    mode: Literal['train', 'evaluate', 'generate', 'benchmark'] = flags.flag(
        'train', 'what to do', 'free'
    )
    dataset: Literal['pydoc', 'text', 'gutenberg', 'gigaword', 'lm1b', 'pg19', 'wikitext103'] = (
        flags.flag(
            'pydoc',
            'pydoc: the docs inside Python; text, gutenberg: your files; the others: of TFDS. '
            'gigaword is the headline corpus of Rush et al. 2015 (3.8 M sentences), NOT the '
            'GigaWord v5 of the paper (LDC2011T07, 4 B words, licensed): if you own that, give it '
            'as text',
            'fixed',
        )
    )
    data_dir: str | None = flags.flag(
        None,
        'text, gutenberg: where its three splits are; data sets of TFDS: its data_dir, default '
        '$TFDS_DATA_DIR or ~/tensorflow_datasets',
        'free',
    )
    gigaword_text: Literal['document', 'summary', 'both'] = flags.flag(
        'document', 'of gigaword; both: one after the other', 'fixed'
    )
    tokenizer: Literal['whitespace', 'words'] | None = flags.flag(
        None, "default the corpus's own", 'fixed'
    )
    vocab_size: int = flags.flag(
        0,
        'the most frequent words to know; 0 for all (pydoc: 10,000; gigaword, lm1b, pg19: 250,000)',
        'fixed',
        minimum=0,
    )
    cache_dir: str | None = flags.flag(None, 'of encoded corpora; default ~/.cache', 'free')
    unroll_length: int = flags.flag(100, 'words of a window of BPTT', 'fixed', minimum=1)
    embedding_size: int = flags.flag(512, 'of the tied embeddings', 'fixed', minimum=1)
    dropout: float = flags.flag(0.5, 'of the embeddings', 'fixed', 0, 0.99)
    output_dropout: float = flags.flag(0.0, 'of what the softmax sees', 'fixed', 0, 0.99)
    softmax: Literal['full', 'adaptive'] = flags.flag(
        'full', 'over all words at once or not', 'fixed'
    )
    dtype: Literal['float32', 'bfloat16'] = flags.flag('float32', 'of matrix products', 'fixed')
    evaluation_batch: int = flags.flag(16, 'streams of an evaluation', 'free', minimum=1)
    evaluation_words: int = flags.flag(
        250_000, 'evaluate: words of test for the unroll lengths; 0 for all', 'free', minimum=0
    )
    prompt: str = flags.flag('', 'generate: the words to go on from', 'free')
    num_words: int = flags.flag(40, 'generate: how many words', 'free', minimum=1)
    temperature: float = flags.flag(0.8, 'generate: 0 takes the likeliest word', 'free', minimum=0)
    repeats: int = flags.flag(
        5, 'benchmark: timed updates; 0 only compiles and tells the memory', 'free', minimum=0
    )
    top_p: float = flags.flag(0.9, 'generate: share of the likeliest words', 'free', 0.001, 1)

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        cores.Config.__post_init__(self)
        loop.Config.__post_init__(self)
        processes.Config.__post_init__(self)
        if self.gigaword_text != 'document' and self.dataset != 'gigaword':
            raise ValueError(f'--gigaword_text: wanted --dataset=gigaword, got {self.dataset}')
        if self.dataset in ('text', 'gutenberg') and self.mode == 'train' and self.data_dir is None:
            wanted = 'wanted --data_dir=DIR with your texts'
            raise ValueError(f'--dataset={self.dataset}: {wanted}, got none')
        if self.dataset == 'pydoc' and self.data_dir is not None:
            raise ValueError(f'--dataset=pydoc: wanted no --data_dir, got {self.data_dir!r}')
        if self.mode == 'benchmark' and not self.vocab_size:
            raise ValueError('--mode=benchmark: wanted --vocab_size=WORDS, for it reads no corpus')
        if self.mode in ('evaluate', 'generate'):
            processes.check_reader(self.mode, self.run_dir, self.num_processes)
        if 0 < self.vocab_size < 3:
            raise ValueError(f'--vocab_size: wanted 0 (all) or at least 3, got {self.vocab_size}')
        if self.softmax == 'adaptive' and self.embedding_size < 16:
            wanted = 'wanted at least 16 for --softmax=adaptive'
            raise ValueError(f'--embedding_size: {wanted}, got {self.embedding_size}')


# What a run is by name: the paper's appendix A.4, and a size that 2 cores train in minutes.
PRESETS = {
    'cpu': Config(
        preset='cpu',
        total_units=256,
        num_heads=4,
        mem_slots=1,
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
        total_units=2500,
        num_heads=4,
        mem_slots=1,
        attention_mlp_layers=5,
        embedding_size=512,
        dropout=0.5,
        output_dropout=0.0,
        softmax='full',
        batch_size=384,
        unroll_length=100,
        learning_rate=1e-3,
        schedule='constant',
        warmup_steps=0,
        clip_norm=0.1,
        num_steps=234_000,
        evaluate_every=2000,
        save_every=1000,
    ),
}
