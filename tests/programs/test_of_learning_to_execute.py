"""What a run of `learning_to_execute` shows of its inside: a program, and what is answered."""

import dataclasses

import jax
import numpy as np
import pytest

from launch.inspection import subjects
from launch.runs import checkpoint, directory, errors
from launch.training import learning_to_execute_config, learning_to_execute_model, loop
from tasks.learning_to_execute import batches, programs, writing
from tasks.learning_to_execute import setting as setting_lib

pytestmark = pytest.mark.usefixtures('compile_quickly')
CONFIG = learning_to_execute_config.Config(
    task='program',
    nesting=2,
    length=2,
    dialect='zaremba',
    mem_slots=2,
    total_units=24,
    num_heads=2,
    attention_mlp_layers=1,
    gate_style='memory',
    batch_size=8,
)
MAX_STEPS = 40
_SHOWN = {'⏎': '\n', '␣': ' '}


def _request(run_dir, num_examples=3, max_steps=MAX_STEPS, seed=1, prompt=''):
    return subjects.Request(str(run_dir), num_examples, max_steps, seed, prompt)


def _run(run_dir, **changes):
    """Writes a run that no update has touched."""
    config = dataclasses.replace(CONFIG, **changes)
    model = learning_to_execute_model.make_model(config)
    state = loop.initial_state(config, model.init, (), has_levels=True)
    flags = dataclasses.asdict(config)
    checkpoint.Checkpointer(run_dir).save(1200, state, {'config': flags})
    about = 'learning_to_execute', flags, 1, 'sequences', 8, 'character_accuracy'
    directory.describe(run_dir, *about)
    return model, state.replicated.params


@pytest.fixture(scope='module')
def run(tmp_path_factory, compile_quickly):
    """Returns the directory of a run, its network and its parameters."""
    run_dir = tmp_path_factory.mktemp('run')
    return run_dir, *_run(run_dir)


@pytest.fixture(scope='module')
def subject(run):
    """Returns what is shown of that run."""
    return subjects.open_run(_request(run[0]))


def _told(example):
    """Returns the text of the program that an example shows, and the steps of the answer."""
    begins = [step.mark for step in example.steps].index('the answer begins')
    labels = [step.label for step in example.steps[:begins]]
    return ''.join(_SHOWN.get(label, label) for label in labels), example.steps[begins:]


def test_programs_are_shown_by_character_and_the_true_answer_behind_them(subject):
    assert subject.title == 'learning_to_execute, program, after 1,200 updates'
    assert len({example.title for example in subject.examples}) == 3
    for example in subject.examples:
        assert len(example.steps) == len(example.inputs) <= MAX_STEPS
        text, answering = _told(example)
        truth = ''.join(step.truth for step in answering)
        printed = []
        exec(text, {'print': lambda value, printed=printed: printed.append(f'{value}.')})
        assert printed == [truth]
        assert not any(step.answers or step.truth for step in example.steps[: len(text)])
        for character, step in zip(text, example.steps, strict=False):
            assert bool(step.note) == (character in ' \n')


def test_inputs_are_one_hots_and_then_nothing(subject):
    for example in subject.examples:
        text, answering = _told(example)
        ids = example.inputs[: len(text)].argmax(axis=1)
        assert writing.decode(ids) == text
        assert (example.inputs[: len(text)].sum(axis=1) == 1).all()
        assert not example.inputs[len(text) :].any()
        assert len(example.inputs) == len(text) + len(answering)


def _logits(run, text, num_steps, decoding='non_autoregressive'):
    """Returns what the network itself answers to a program without padding."""
    ids = np.array([[setting_lib.CHARACTERS.index(character)] for character in text], np.int32)
    nothing = np.zeros((num_steps, 1), np.int32)
    batch = batches.Batch(ids, np.array([[len(text)]], np.int32), nothing, nothing)
    return learning_to_execute_model.answer(*run[1:], batch)[:, 0]


def test_answers_are_the_networks_with_their_probabilities(run, subject):
    example = subject.examples[1]
    text, answering = _told(example)
    probabilities = jax.nn.softmax(_logits(run, text, len(answering)))
    for step, wanted in zip(answering, np.asarray(probabilities), strict=True):
        assert step.label == f'→{step.answers[0].text}'
        assert step.truth in [answer.text for answer in step.answers]
        found = [answer.probability for answer in step.answers[:5]]
        np.testing.assert_allclose(found, np.sort(wanted)[::-1][:5], rtol=1e-4)
        for answer in step.answers:
            index = setting_lib.CHARACTERS.index(answer.text)
            assert answer.probability == pytest.approx(wanted[index], rel=1e-4)
        wrong = step.answers[0].text != step.truth
        assert (f'but it is {step.truth}' in step.note) == wrong


def test_the_core_that_is_shown_has_the_memory_of_the_network(run, subject):
    """So what an answer is read off is the last memory of the core that is looked at."""
    example = subject.examples[0]
    text, answering = _told(example)
    look = subjects.look_inside(subject)[0]
    params = {name.split('sequence_to_sequence/')[-1]: value for name, value in run[2].items()}
    hidden = look.memory[-len(answering) :].reshape(len(answering), -1)
    for layer in range(4):
        (name,) = [name for name in params if name.endswith(f'mlp/~/linear_{layer}')]
        hidden = np.maximum(hidden @ params[name]['w'] + params[name]['b'], 0)
    (name,) = [name for name in params if name.endswith('logits')]
    logits = hidden @ params[name]['w'] + params[name]['b']
    np.testing.assert_allclose(logits, _logits(run, text, len(answering)), atol=1e-4)


def test_a_decoder_that_is_fed_its_answers_is_fed_them_here(tmp_path):
    _run(tmp_path, decoding='autoregressive')
    example = subjects.open_run(_request(tmp_path)).examples[0]
    text, answering = _told(example)
    fed = example.inputs[len(text) :]
    assert not fed[0].any()
    for row, before in zip(fed[1:], answering, strict=False):
        assert setting_lib.CHARACTERS[row.argmax()] == before.answers[0].text
        assert row.sum() == 1


def test_of_two_cores_the_one_that_reads_is_shown(tmp_path):
    _run(tmp_path, shared_core=False)
    subject = subjects.open_run(_request(tmp_path))
    for example in subject.examples:
        assert len(example.steps) == len(example.inputs)
        assert not any(step.answers for step in example.steps)
        assert (example.inputs.sum(axis=1) == 1).all()
    assert len(subjects.look_inside(subject)) == 3


def test_the_seed_chooses_programs_of_the_test_split(run, subject):
    other = subjects.open_run(_request(run[0], seed=2))
    texts = [[_told(example)[0] for example in each.examples] for each in (subject, other)]
    assert texts[0] != texts[1]
    for text in texts[0] + texts[1]:
        ids = np.zeros((1, CONFIG.setting().input_steps), np.uint8)
        ids[0, : len(text)] = [setting_lib.CHARACTERS.index(character) for character in text]
        samples = programs.Samples(ids, np.array([len(text)]), ids, np.array([1]))
        assert programs.SPLITS[programs.split_of(samples)[0]] == 'test'


@pytest.mark.parametrize(
    ('change', 'wanted'),
    [
        ({'prompt': '1+1'}, '--prompt: learning_to_execute reads test programs'),
        ({'max_steps': 3}, '--max_steps: wanted at least [0-9]+, .* got 3'),
    ],
)
def test_what_cannot_be_shown_gets_one_line(change, wanted, run):
    with pytest.raises(errors.RunError, match=wanted) as stop:
        subjects.open_run(_request(run[0], **change))
    assert stop.value.code == errors.USAGE
