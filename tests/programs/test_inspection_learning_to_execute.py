"""Programs of `learning_to_execute` for an inspection: a program, and what is answered."""

import dataclasses

import jax
import numpy as np
import pytest

from launch import learning_to_execute as program
from launch.executing import learning
from launch.inspection import learning_to_execute, tracing
from launch.runs import errors
from launch.training import experiment
from tasks.learning_to_execute import batches, programs, setting, writing
from tests.support import inspected

pytestmark = pytest.mark.usefixtures('compile_quickly')
CONFIG = program.Config(
    task='program',
    nesting=2,
    length=2,
    dialect='zaremba',
    mem_slots=2,
    total_units=24,
    num_heads=2,
    attention_mlp_layers=1,
    gate_style='memory',
)
MAX_STEPS = 40
_SHOWN = {'⏎': '\n', '␣': ' '}


def _inspect(run_dir, num_examples=3, max_steps=MAX_STEPS, seed=1, prompt=''):
    request = tracing.Request(str(run_dir), num_examples, max_steps, seed, prompt)
    return learning_to_execute.inspect(request)


@pytest.fixture(scope='module')
def run(tmp_path_factory, compile_quickly):
    """Returns the directory of an untrained run, its network and its parameters."""
    run_dir = tmp_path_factory.mktemp('run')
    network = learning.make_network(CONFIG)
    params = jax.device_get(network.init(jax.random.key(0)))
    inspected.save_run(run_dir, 'learning_to_execute', CONFIG, params)
    return run_dir, network, params


@pytest.fixture(scope='module')
def subject(run):
    """Returns the subject of that run."""
    return _inspect(run[0])


def _parts(example):
    """Returns the text of the program of an example, and the steps of the answer."""
    begins = [step.mark for step in example.steps].index('the answer begins')
    labels = [step.label for step in example.steps[:begins]]
    return ''.join(_SHOWN.get(label, label) for label in labels), example.steps[begins:]


def test_programs_are_shown_by_character_and_then_their_values(subject):
    assert subject.title == 'Learning to Execute, program, after 1,200 updates'
    assert len({example.title for example in subject.examples}) == 3
    for example in subject.examples:
        assert len(example.steps) == len(example.inputs) <= MAX_STEPS
        text, answering = _parts(example)
        truth = ''.join(step.truth for step in answering)
        printed = []
        exec(text, {'print': lambda value, printed=printed: printed.append(f'{value}.')})
        assert printed == [truth]
        assert f' prints {truth}, ' in example.title
        assert not any(step.answers or step.truth for step in example.steps[: len(text)])
        for character, step in zip(text, example.steps, strict=False):
            assert bool(step.note) == (character in ' \n')


def test_inputs_are_one_hots_and_then_zeros(subject):
    for example in subject.examples:
        text, answering = _parts(example)
        ids = example.inputs[: len(text)].argmax(axis=1)
        assert writing.decode(ids) == text
        assert (example.inputs[: len(text)].sum(axis=1) == 1).all()
        assert not example.inputs[len(text) :].any()
        assert len(example.inputs) == len(text) + len(answering)


@pytest.fixture(scope='module')
def logits(run, subject):
    """Returns the answer of the network itself to the second program, without padding, [A, V]."""
    text, answering = _parts(subject.examples[1])
    ids = np.array([[setting.CHARACTERS.index(character)] for character in text], np.int32)
    unknown = np.zeros((len(answering), 1), np.int32)
    batch = batches.Batch(ids, np.array([[len(text)]], np.int32), unknown, unknown)
    return jax.jit(run[1].logits, static_argnums=2)(run[2], batch, False)[:, 0]


def test_answers_are_the_networks_with_their_probabilities(subject, logits):
    _, answering = _parts(subject.examples[1])
    for step, wanted in zip(answering, np.asarray(jax.nn.softmax(logits)), strict=True):
        assert step.label == f'→{step.answers[0].text}'
        assert step.truth in [answer.text for answer in step.answers]
        found = [answer.probability for answer in step.answers[:5]]
        np.testing.assert_allclose(found, np.sort(wanted)[::-1][:5], rtol=1e-4)
        for answer in step.answers:
            index = setting.CHARACTERS.index(answer.text)
            assert answer.probability == pytest.approx(wanted[index], rel=1e-4)
        wrong = step.answers[0].text != step.truth
        assert (f'but it is {step.truth}' in step.note) == wrong


def test_the_traced_core_has_the_memory_of_the_network(run, subject, logits):
    """That is, the network's answer is computed from the last memories of the traced core."""
    (trace,) = tracing.trace(subject._replace(examples=subject.examples[1:2]))
    hidden = trace.memory[-len(logits) :].reshape(len(logits), -1)
    for layer in ('mlp/~/linear_0', 'mlp/~/linear_1', 'mlp/~/linear_2', 'mlp/~/linear_3', 'logits'):
        (params,) = [leaves for name, leaves in run[2].items() if name.endswith(layer)]
        hidden = hidden @ params['w'] + params['b']
        hidden = hidden if layer == 'logits' else np.maximum(hidden, 0)
    np.testing.assert_allclose(hidden, logits, atol=1e-4)


def _inspect_variant(monkeypatch, **changes):
    """Returns the subject of a run with other flags, whose network gives random answers."""
    config = dataclasses.replace(CONFIG, **changes)
    init = learning.make_network(config).init
    params = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(init, jax.random.key(0))
    )
    restored = experiment.Restored(config, 1200, {})
    monkeypatch.setattr(experiment, 'read', lambda *_: restored)
    monkeypatch.setattr(experiment, 'load_params', lambda *_: (params, 6))

    def logits(params, batch, teacher):
        shape = *batch.targets.shape, setting.NUM_ANSWER_CHARACTERS
        return jax.random.normal(jax.random.key(3), shape)

    monkeypatch.setattr(learning, 'make_network', lambda _: learning.Network(init, logits))
    return _inspect('unused')


def test_a_decoder_that_is_fed_its_answers_is_fed_them_here(monkeypatch):
    for example in _inspect_variant(monkeypatch, decoding='autoregressive').examples:
        text, answering = _parts(example)
        fed = example.inputs[len(text) :]
        assert not fed[0].any()
        assert len({step.label for step in answering}) > 1
        for row, before in zip(fed[1:], answering, strict=False):
            assert setting.CHARACTERS[row.argmax()] == before.answers[0].text
            assert row.sum() == 1


def test_titles_say_what_the_answer_is(monkeypatch):
    options = {'dialect': 'sonnet', 'length': 2, 'nesting': 1}
    values = _inspect_variant(monkeypatch, **options, task='algebra')
    assert 'the value of the program modulo 1,000' in values.about
    for example in values.examples:
        text, answering = _parts(example)
        truth = ''.join(step.truth for step in answering)
        assert int(truth) == eval(text) % 1000
        assert example.title.startswith(f'the value of {text} modulo 1,000 is {truth}, ')
    for example in _inspect_variant(monkeypatch, **options, task='reverse').examples:
        text, answering = _parts(example)
        assert example.title.startswith(f'{text}, reversed, is {text[::-1]}, ')


def test_of_two_cores_the_one_that_reads_is_shown(monkeypatch):
    subject = _inspect_variant(monkeypatch, shared_core=False)
    for example in subject.examples:
        assert len(example.steps) == len(example.inputs)
        assert not any(step.answers for step in example.steps)
        assert (example.inputs.sum(axis=1) == 1).all()
    example = subject.examples[0]._replace(inputs=subject.examples[0].inputs[:1])
    assert len(tracing.trace(subject._replace(examples=(example,)))) == 1


def test_the_seed_chooses_programs_of_the_test_split():
    texts = []
    for seed in (1, 2):
        request = tracing.Request('unused', 3, MAX_STEPS, seed, '')
        batch = learning_to_execute.sample(CONFIG, request)
        samples = programs.Samples(
            batch.inputs.T.astype(np.uint8), batch.lengths[0], batch.targets.T, batch.lengths[0]
        )
        assert {programs.SPLITS[split] for split in programs.split_of(samples)} == {'test'}
        texts.append(samples.text.tolist())
    assert texts[0] != texts[1]


@pytest.mark.parametrize(
    ('change', 'wanted'),
    [
        ({'prompt': '1+1'}, '--prompt: learning_to_execute reads test programs'),
        ({'max_steps': 3}, '--max_steps: wanted at least [0-9]+, .* got 3'),
    ],
)
def test_requests_that_do_not_fit_get_one_line(change, wanted, run):
    with pytest.raises(errors.RunError, match=wanted) as stop:
        _inspect(run[0], **change)
    assert stop.value.code == errors.USAGE
