"""Subjects for the tests of inspections: random cores and traces, and untrained runs of `lm`."""

import dataclasses

import haiku as hk
import jax
import numpy as np

from launch import lm
from launch.inspection import tracing
from launch.language import corpus as corpus_lib
from launch.runs import checkpoint, directory, kept_files
from launch.training import update
import relational_rnn
from tasks.text import corpora, streams

WORDS = ['<eos>', 'the', '<unk>', *(f'word{i}' for i in range(20)), '</script>']
ANSWERS = (('vector 3', 0.5), ('vector 5', 0.25), ('<b>', 0.0004))
TITLE = 'a random core & <its> title'


def subject(num_steps=3, num_inputs=2, dtype='float32', **options):
    """Returns a core with random parameters and one example; D is 7."""
    sizes = {'mem_slots': 4, 'head_size': 3, 'num_heads': 2} | options
    inputs = np.random.default_rng(0).normal(size=(num_steps, num_inputs, 7)).astype(np.float32)

    def make():
        return relational_rnn.RelationalMemory(**sizes)

    def run(inputs):
        core = make()
        return core(inputs, core.initial_state(None))

    params = jax.jit(hk.transform(run).init)(jax.random.key(0), inputs[0])
    params = jax.tree.map(lambda leaf: np.asarray(leaf) * 2, params)  # attention far from uniform
    return tracing.Subject(TITLE, make, params, (example('sequence 1', inputs),), dtype)


def example(title, inputs):
    """Returns an example that marks its third step and has answers at every step but the first."""
    answers = tuple(tracing.Answer(*pair) for pair in ANSWERS)
    steps = [
        tracing.Step(
            f'vector {t + 1}', 'n = 2, m = 3', 'm is shown' if t == 2 else '', answers, 'vector 5'
        )
        for t in range(len(inputs))
    ]
    steps[0] = tracing.Step('vector 1')
    return tracing.Example(title, inputs, tuple(steps))


def traced(lengths=(6, 5), slots=4, units=6, heads=2, inputs=1, blocks=2, gates=None, seed=0):
    """Returns a subject that cannot run, and a random trace for an example of each length.

    All queries of the last block are slots, those of the others are keys too. The gates are, by
    name, whether there is one for each unit.
    """
    random = np.random.default_rng(seed)
    gates = {'input': True, 'forget': True} if gates is None else gates
    traces = []
    for length in lengths:
        keys = slots + inputs
        attention = tuple(
            random.dirichlet(np.full(keys, 0.4), (length, heads, slots if last else keys))
            for last in [False] * (blocks - 1) + [True]
        )
        memories = random.normal(size=(length + 1, slots, units)).astype(np.float32)
        sizes = {name: units if is_unit else 1 for name, is_unit in gates.items()}
        values = {name: random.uniform(size=(length, slots, size)) for name, size in sizes.items()}
        traces.append(tracing.Trace(attention, memories[:-1], memories[1:], values))
    examples = tuple(
        example(f'sequence {i + 1}', np.zeros((length, 7), np.float32))
        for i, length in enumerate(lengths)
    )
    return tracing.Subject(TITLE, lambda: None, {}, examples), traces


def save_run(run_dir, program, config, params, **metadata):
    """Writes a run of 1,200 updates with these parameters."""
    state = update.TrainState(params, (), (), 1200, ())
    flags = dataclasses.asdict(config)
    checkpoint.Checkpointer(run_dir).save(1200, state, {'config': flags, **metadata})
    directory.describe(run_dir, program, flags, 1, 'words', 1, 'loss')


def lm_run(root, **flags):
    """Writes an untrained run of `lm` to root/run, and its validation text to root/cache.

    Returns the configuration, and the ids of the text: lines of 3 to 9 words, [N].
    """
    run_dir = root / 'run'
    sizes = {'total_units': 16, 'mem_slots': 2, 'num_heads': 2, 'attention_mlp_layers': 1}
    sizes |= {'embedding_size': 8, 'dataset': 'text', 'data_dir': 'gone', 'batch_size': 3}
    config = lm.Config(**(sizes | {'cache_dir': str(root / 'cache')} | flags))
    run_dir.mkdir(parents=True)
    random = np.random.default_rng(5)
    lines = [random.integers(1, len(WORDS), random.integers(3, 10)) for _ in range(30)]
    ids = np.concatenate([np.append(line, 0) for line in lines])
    train = [word for i, word in enumerate(WORDS) for _ in range(len(WORDS) - i)]
    texts = {'train': train, 'valid': [WORDS[i] for i in ids], 'test': ['the']}
    corpus = corpora.Corpus('text', 'a text', lambda split: iter([texts[split]]))
    prepared = streams.prepare(corpus, config.cache_dir)
    files = kept_files.save(run_dir, {corpus_lib.VOCABULARY: prepared.vocabulary.save})
    params = lm.make_model(config, len(WORDS)).init(jax.random.key(0))
    save_run(run_dir, 'lm', config, params, data=prepared.key, files=files)
    return config, ids
