"""Programs for the network of a run to execute."""

import numpy as np
import pytest

from launch import trained
from launch.executing import learning
from tasks.learning_to_execute import batches, setting, writing
from tests.support import untrained_runs

pytestmark = pytest.mark.usefixtures('compile_quickly')


@pytest.fixture(scope='module')
def run(tmp_path_factory, compile_quickly):
    flags = {'task': 'addition', 'nesting': 2, 'length': 2}
    return trained.load(untrained_runs.programs(tmp_path_factory.mktemp('run'), **flags)[0])


def test_the_answers_are_those_of_an_evaluation(run):
    assert isinstance(run, trained.LearningToExecute)
    batch = next(batches.held_out(run.setting, 'test', 7))
    _, predicted = learning.make_score(run.network)(run.params, batch)
    lengths = batch.lengths[0, :7]
    texts = [writing.decode(batch.inputs[:end, i]) for i, end in enumerate(lengths)]
    ends = batch.weights.sum(axis=0).astype(int).tolist()[:7]
    wanted = [writing.decode(np.asarray(predicted)[:end, i]) for i, end in enumerate(ends)]
    assert run.predict(texts, ends) == wanted
    assert len(set(wanted)) > 1
    assert {len(answer) for answer in run.predict(texts)} == {3}  # A, for it learned no end


def test_programs_may_be_longer_than_in_training_and_their_lengths_do_not_meet(run):
    short, long = '12+34', '((1+23)+45)+(678+9)+1+1'
    assert len(long) > run.setting.input_steps > len(short)
    both = run.logits([short, long])
    np.testing.assert_allclose(both[:, :1], run.logits([short]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('programs', [[], [''], ['12?'], ['1_2'], ['12', 'é']])
def test_what_is_no_program_is_refused(run, programs):
    with pytest.raises(ValueError, match='wanted programs of the characters'):
        run.predict(programs)


@pytest.mark.parametrize(
    ('flags', 'asked', 'wanted'),
    [
        ({'task': 'double', 'nesting': 1, 'length': 3}, ['12', '345'], ['1234', '123456']),
        ({'task': 'reverse', 'nesting': 1, 'length': 6}, ['12', '345'], ['12', '123']),
        ({'dialect': 'zaremba', 'length': 1}, ['print(1)'], ['1234']),
    ],
)
def test_answers_end_where_the_task_says(flags, asked, wanted, tmp_path, monkeypatch):
    run = trained.load(untrained_runs.programs(tmp_path, **flags)[0])
    ids, _ = writing.encode(['1234.6' if 'dialect' in flags else '123456'] * len(asked), 6)
    logits = np.eye(setting.NUM_ANSWER_CHARACTERS)[ids.T]
    monkeypatch.setattr(type(run), 'logits', lambda self, programs: logits)
    assert run.predict(asked) == wanted
