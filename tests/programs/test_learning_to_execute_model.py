"""The network of Learning to Execute, its loss, and what it is measured on."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch.training import learning_to_execute_config, learning_to_execute_model
from tasks.learning_to_execute import batches as batches_lib
from tasks.learning_to_execute import writing

pytestmark = pytest.mark.usefixtures('compile_quickly')
B, V = 7, learning_to_execute_model.NUM_CLASSES
CONFIG = learning_to_execute_config.Config(
    task='algebra',
    nesting=2,
    length=2,
    mem_slots=2,
    total_units=16,
    num_heads=2,
    attention_mlp_layers=1,
    gate_style='memory',
    batch_size=B,
)


@pytest.fixture(scope='module')
def batch():
    return batches_lib.sample(CONFIG.setting(), 'mix', 0, 'train', 3, 5, B)


def _make(seed=0, **changes):
    """Returns a network and parameters."""
    model = learning_to_execute_model.make_model(dataclasses.replace(CONFIG, **changes))
    return model, model.init(jax.random.key(seed))


def _loop(logits, batch):
    """Returns nats, right characters, characters, right answers and answers, in float64."""
    logits, sums = np.float64(logits), np.zeros(5)
    for row in range(batch.inputs.shape[1]):
        length = int(batch.weights[:, row].sum())
        right = 0
        for t in range(length):
            scores, wanted = logits[t, row], int(batch.targets[t, row])
            sums[0] += np.log(np.exp(scores - scores.max()).sum()) + scores.max() - scores[wanted]
            right += int(np.argmax(scores)) == wanted
        sums[1:] += [right, length, right == length and length > 0, length > 0]
    return sums


def test_the_loss_is_that_of_a_loop_over_the_true_answers(batch):
    model, params = _make()
    value, sums = learning_to_execute_model.loss(model, params, batch)
    wanted = _loop(model.logits(params, batch, True), batch)
    assert 0 < wanted[2] < batch.targets.size  # some answers are shorter
    assert float(value.total) == pytest.approx(wanted[0], rel=1e-5)
    assert float(value.weight) == wanted[2]
    assert float(sums['training_accuracy']) == wanted[1]


def _fixed(answers):
    """Returns a network whose logits are large where it says these characters [A, B]."""
    said = 20.0 * jax.nn.one_hot(np.array(answers), V)
    return learning_to_execute_model.Model(None, lambda params, batch, teacher: params * said)


def test_measures_are_those_that_can_be_counted_by_hand():
    """Answers 12, 3 and 45, padded; said are 12, 3 and 44, and something behind the end of 3."""
    batch = batches_lib.Batch(
        np.ones((4, 4), np.int32),
        np.full((1, 4), 4, np.int32),
        np.array([[1, 3, 4, 7], [2, 0, 5, 0]], np.int32),
        np.array([[1, 1, 1, 0], [1, 0, 1, 0]], np.float32),
    )
    evaluate = learning_to_execute_model.make_evaluation(_fixed([[1, 3, 4, 7], [2, 8, 4, 6]]))
    values = evaluate(jnp.float32(1), [batch])
    assert values['character_accuracy'] == pytest.approx(4 / 5)
    assert values['sequence_accuracy'] == pytest.approx(2 / 3)
    assert values['eval_loss'] == pytest.approx(20 / 5, rel=1e-4)
    changed = batch._replace(targets=batch.targets + np.int32(batch.weights == 0))
    assert evaluate(jnp.float32(1), [changed]) == values
    twice = evaluate(jnp.float32(1), iter([batch, batch]))
    assert twice == pytest.approx(values)


def test_measures_are_those_of_a_loop_over_what_the_network_says_by_itself(batch):
    model, params = _make(decoding='teacher_forcing')
    values = learning_to_execute_model.make_evaluation(model)(params, [batch])
    nats, right, characters, whole, count = _loop(model.logits(params, batch, False), batch)
    assert values['eval_loss'] == pytest.approx(nats / characters, rel=1e-5)
    assert values['character_accuracy'] == pytest.approx(right / characters)
    assert values['sequence_accuracy'] == pytest.approx(whole / count)
    assert count == B


@pytest.mark.parametrize('decoding', ['non_autoregressive', 'autoregressive', 'teacher_forcing'])
def test_an_evaluation_tells_the_network_nothing_of_the_answer(decoding, batch):
    model, params = _make(decoding=decoding)
    other = batch._replace(targets=(batch.targets + 3) % V)
    told = [np.asarray(model.logits(params, each, True)) for each in (batch, other)]
    untold = [learning_to_execute_model.answer(model, params, each) for each in (batch, other)]
    np.testing.assert_array_equal(*untold)
    assert untold[0].shape == (*batch.targets.shape, V)
    assert np.array_equal(*told) == (decoding != 'teacher_forcing')


def test_between_parts_of_an_evaluation_it_is_asked_whether_to_go_on(batch):
    model, params = _make()
    evaluate, asked = learning_to_execute_model.make_evaluation(model), []

    def check():
        asked.append(1)
        if len(asked) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        evaluate(params, [batch] * 5, check)


def test_cores_are_one_or_two():
    shared, own = (_make(shared_core=shared)[1] for shared in (True, False))
    names = {name.split('/')[0] for name in shared}
    assert names == {'relational_memory', 'sequence_to_sequence'}
    assert {name.split('/')[0] for name in own} == {*names, 'relational_memory_1'}


@pytest.mark.parametrize('size', [5, 256, 300])
def test_as_many_programs_are_drawn_as_are_asked_for_and_the_first_are_the_same(size):
    drawn = list(learning_to_execute_model.drawn(CONFIG, 'valid', size))
    present = np.concatenate([each.weights.any(axis=0) for each in drawn])
    assert present.tolist() == [True] * size + [False] * (len(present) - size)
    more = next(learning_to_execute_model.drawn(CONFIG, 'valid', 1000))
    np.testing.assert_array_equal(more.inputs, drawn[0].inputs)


def _texts(batches):
    return {
        writing.decode(each.inputs[: each.lengths[0, row], row])
        for each in batches
        for row in range(each.inputs.shape[1])
    }


def test_programs_are_of_the_full_difficulty_or_of_a_level():
    full = _texts(learning_to_execute_model.drawn(CONFIG, 'test', 256))
    easy = _texts(learning_to_execute_model.drawn(CONFIG, 'train', 256, level=0))
    assert all(text.startswith('(') for text in full)
    assert all(len(text) == 3 and text[0].isdigit() for text in easy)
    assert not full & _texts(learning_to_execute_model.drawn(CONFIG, 'valid', 256))
