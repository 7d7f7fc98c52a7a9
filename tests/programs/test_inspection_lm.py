"""Text of `lm` for an inspection: its words, and the words that the model expects next."""

import jax
import numpy as np
import pytest

from launch import lm as program
from launch.inspection import lm, tracing
from launch.language import corpus
from launch.runs import errors
from tasks.text import vocabulary
from tests.support import inspected

pytestmark = pytest.mark.usefixtures('compile_quickly', 'compile_once')


@pytest.fixture(scope='module')
def run(tmp_path_factory, compile_quickly, compile_once):
    """Returns the directory of a run, its configuration and its validation text."""
    root = tmp_path_factory.mktemp('lm')
    return root / 'run', *inspected.lm_run(root)


@pytest.fixture(scope='module')
def subject(run):
    """Returns the subject of that run."""
    return lm.inspect(_request(run[0]))


def _request(run_dir, num_examples=3, max_steps=9, seed=1, prompt=''):
    return tracing.Request(str(run_dir), num_examples, max_steps, seed, prompt)


def _labels(example):
    return [step.label for step in example.steps]


def test_passages_are_pieces_of_the_validation_text_from_the_end_of_a_line_on(run, subject):
    ids = run[2]
    assert subject.title == 'Language model on text, after 1,200 updates'
    assert len(subject.examples) == 3
    names = [inspected.WORDS[i].replace('<eos>', '⏎') for i in ids]
    text = ' '.join(names)
    for example in subject.examples:
        assert len(example.steps) == len(example.inputs) == 9
        assert example.steps[0].label == '⏎'
        place = int(example.title.split()[1]) - 1
        assert names[place : place + 9] == _labels(example)
        assert ' '.join(_labels(example)) in text
        assert [step.truth for step in example.steps] == names[place + 1 : place + 10]
    titles = [example.title for example in subject.examples]
    assert len(set(titles)) == 3


def test_the_inputs_are_the_embeddings_of_the_words(run, subject):
    embeddings = subject.params['language_model']['embeddings']
    example = subject.examples[1]
    for label, row in zip(_labels(example), example.inputs, strict=True):
        np.testing.assert_array_equal(
            row, embeddings[inspected.WORDS.index(label.replace('⏎', '<eos>'))]
        )
    assert example.inputs.shape == (9, run[1].embedding_size)


def test_the_answers_are_the_likeliest_words_of_the_model_and_the_true_one(run, subject):
    model = program.make_model(run[1], len(inspected.WORDS))
    state = model.initial_state(1)
    next_word = jax.jit(model.next_word)
    for step in subject.examples[1].steps:
        word = inspected.WORDS.index(step.label.replace('⏎', '<eos>'))
        log_probs, state = next_word(subject.params, np.array([word]), state)
        wanted = {
            name.replace('<eos>', '⏎'): float(np.exp(log_probs[0, i]))
            for i, name in enumerate(inspected.WORDS)
        }
        probabilities = [answer.probability for answer in step.answers[:5]]
        assert probabilities == pytest.approx(sorted(wanted.values(), reverse=True)[:5], rel=1e-4)
        assert len(step.answers) in (5, 6)
        assert step.truth in [answer.text for answer in step.answers]
        for answer in step.answers:
            assert answer.probability == pytest.approx(wanted[answer.text], rel=1e-4)


def test_the_seed_chooses_the_passages(run, subject):
    other = lm.inspect(_request(run[0], seed=2))
    titles = [[example.title for example in one.examples] for one in (subject, other)]
    assert titles[0] != titles[1]


def test_the_model_continues_a_prompt(run):
    prompt = 'the word3 word4'
    subject = lm.inspect(_request(run[0], num_examples=2, prompt=prompt))
    first, second = subject.examples
    assert _labels(first)[:4] == _labels(second)[:4] == ['⏎', *prompt.split()]
    assert _labels(first) != _labels(second)
    assert len(first.steps) == len(second.steps) == 9
    assert [step.truth for step in first.steps] == [*prompt.split(), *[''] * 6]
    marks = [step.mark for step in first.steps]
    assert marks[4] == 'the model continues the text'
    assert not any(marks[:4] + marks[5:])


def test_a_prompt_longer_than_the_steps_is_cut_and_shown_once(run, capsys):
    prompt = ' '.join(f'word{i}' for i in range(15))
    subject = lm.inspect(_request(run[0], prompt=f'{prompt} strange'))
    (example,) = subject.examples
    assert _labels(example) == ['⏎', *prompt.split()[:8]]
    assert example.steps[-1].truth == 'word8'
    assert "not in the vocabulary, read as <unk>: 'strange'" in capsys.readouterr().err


@pytest.mark.parametrize('damage', ['missing', 'other vocabulary', 'other text'])
def test_without_its_validation_text_the_model_samples_some(damage, run):
    file = corpus.VOCABULARY if damage == 'other vocabulary' else 'valid.bin'
    (path,) = (run[0].parent / 'cache').rglob(file)
    kept = path.read_bytes()
    path.unlink() if damage == 'missing' else path.write_bytes(kept[::-1])
    (example,) = lm.inspect(_request(run[0], 1)).examples
    path.write_bytes(kept)
    assert example.title.startswith('sampled with seed 1')
    assert len(example.steps) == 9
    assert not any(step.truth for step in example.steps)
    assert vocabulary.UNK not in _labels(example)  # never sampled


def test_a_run_without_a_checkpoint_gets_one_line(tmp_path):
    with pytest.raises(errors.RunError, match='wanted a run with a checkpoint'):
        lm.inspect(_request(tmp_path))
