"""What the tests of `launch.attention` look at: random cores, and untrained runs of `lm`."""

import dataclasses

import haiku as hk
import jax
import numpy as np

from launch.inspection import subjects
from launch.language import lm_config, lm_model
from launch.runs import checkpoint, directory
from launch.training import loop
import relational_rnn
from tasks.text import vocabulary

WORDS = ['<eos>', 'the', '<unk>', *(f'word{i}' for i in range(20)), '</script>']
ANSWERS = (('vector 3', 0.5), ('vector 5', 0.25), ('<b>', 0.0004))


def make_core(**options):
    sizes = {'mem_slots': 4, 'head_size': 3, 'num_heads': 2} | options
    return lambda: relational_rnn.RelationalMemory(**sizes)


def subject(make=None, lengths=(6, 5), num_rows=1, dtype='float32', seed=0):
    """Returns a core with random parameters and an example of each length; D is 7."""
    make, random = make or make_core(), np.random.default_rng(seed)
    shape = (7,) if num_rows == 1 else (num_rows, 7)
    inputs = [random.normal(size=(length, *shape)).astype(np.float32) for length in lengths]

    def run(inputs):
        core = make()
        return relational_rnn.unroll(core, inputs, core.initial_state(None))

    params = jax.jit(hk.transform(run).init)(jax.random.key(seed), inputs[0])
    params = jax.tree.map(lambda leaf: np.asarray(leaf) * 2, params)  # attention far from equal
    examples = tuple(example(f'sequence {i + 1}', x) for i, x in enumerate(inputs))
    return subjects.Subject('a random core & <its> title', make, params, examples, dtype)


def example(title, inputs):
    """Returns an example that marks its third step and answers at every step but the first."""
    answers = tuple(subjects.Answer(*pair) for pair in ANSWERS)
    steps = [
        subjects.Step(
            f'vector {t + 1}', 'n = 2, m = 3', 'm is shown' if t == 2 else '', answers, 'vector 5'
        )
        for t in range(len(inputs))
    ]
    steps[0] = subjects.Step('vector 1')
    return subjects.Example(title, inputs, tuple(steps))


def lm_run(run_dir, cache_dir=None, **flags):
    """Writes a run of `lm` that no update has touched, with its validation text if asked for.

    Returns the configuration, and the ids of the text: lines of 3 to 9 words, [N].
    """
    sizes = {'total_units': 16, 'mem_slots': 2, 'num_heads': 2, 'attention_mlp_layers': 1}
    sizes |= {'embedding_size': 8, 'dataset': 'text', 'data_dir': 'gone', 'batch_size': 3}
    config = lm_config.Config(**(sizes | {'cache_dir': str(cache_dir)} | flags))
    run_dir.mkdir(exist_ok=True)
    words = vocabulary.Vocabulary(tuple(WORDS), np.arange(len(WORDS), 0, -1))
    words.save(run_dir / lm_model.VOCABULARY)
    model = lm_model.make_model(config, len(words))
    carry = model.initial_state(config.batch_size)
    state = loop.initial_state(config, model.init, carry)
    metadata = {'config': dataclasses.asdict(config), 'corpus': '0123456789abcdef' * 4}
    checkpoint.Checkpointer(run_dir).save(1200, state, metadata)
    description = 'lm', metadata['config'], 1, 'words', 1, 'valid_perplexity'
    directory.describe(run_dir, *description)
    random = np.random.default_rng(5)
    lines = [random.integers(1, len(WORDS), random.integers(3, 10)) for _ in range(30)]
    ids = np.concatenate([np.append(line, 0) for line in lines])
    if cache_dir:
        folder = cache_dir / 'text-0123456789abcdef'
        folder.mkdir(parents=True)
        words.save(folder / lm_model.VOCABULARY)
        ids.astype(np.uint16).tofile(folder / 'valid.bin')
    return config, ids
