"""Nth Farthest's smaller tasks, its curriculum, and answers for every n."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch import nth_farthest as program
from launch.farthest import configuration, learning, smaller
from launch.reports import records
from launch.runs import metrics
from tasks import nth_farthest

pytestmark = pytest.mark.usefixtures('compile_quickly')
N, D, B = 5, 3, 7
WHOLE, SMALL = smaller.Sizes(N, D), smaller.Sizes(3, 2)
LEVELS = SMALL, smaller.Sizes(3, 3), smaller.Sizes(4, 3), WHOLE
KEYS = jax.random.split(jax.random.key(5), B)
CONFIG = configuration.Config(
    num_objects=N, num_dims=D, core='lstm', lstm_size=6, batch_size=B, curriculum='3x2, 3x3,4x3'
)


def test_a_smaller_task_has_the_format_of_the_whole_one():
    sample = jax.tree.map(np.asarray, smaller.sample(KEYS, SMALL, WHOLE))
    questions = jax.tree.map(np.asarray, nth_farthest.sample(KEYS, *SMALL))
    assert sample.inputs.shape == (N, B, D + 3 * N)
    for step in range(N):
        for b in range(B):
            wanted = np.zeros(D + 3 * N)
            if step < 3:
                wanted[:2] = questions.vectors[step, b]
                wanted[D + questions.labels[step, b]] = 1
                wanted[D + N + questions.n[b]] = 1
                wanted[D + 2 * N + questions.m[b]] = 1
            np.testing.assert_array_equal(sample.inputs[step, b], wanted.astype(np.float32))
    np.testing.assert_array_equal(sample.answers, questions.answers)
    np.testing.assert_array_equal(sample.ranking[:3], questions.ranking)
    weights = np.array([[1 / 3]] * 3 + [[0]] * 2) * np.ones(B)
    np.testing.assert_allclose(sample.ranking_weights, weights, rtol=1e-6)


def test_the_last_level_is_the_whole_task():
    assert CONFIG.levels == LEVELS
    assert dataclasses.replace(CONFIG, curriculum='3x2,5x3').levels == (SMALL, WHOLE)
    assert dataclasses.replace(CONFIG, curriculum='').levels == ()
    sample, questions = smaller.sample(KEYS, WHOLE, WHOLE), nth_farthest.sample(KEYS, N, D)
    np.testing.assert_array_equal(sample.inputs, questions.inputs)
    np.testing.assert_array_equal(sample.ranking, questions.ranking)


@pytest.mark.parametrize('level', range(4))
def test_a_batch_is_of_its_level_and_learned_at_its_length(level):
    network = learning.make_network(CONFIG)
    params = network.init(jax.random.key(0))

    @jax.jit
    def compute(level):
        batch = learning.sample(CONFIG, KEYS, level)
        return batch, learning.loss(network, params, batch, LEVELS)

    batch, found = compute(level)
    sample = smaller.sample(KEYS, LEVELS[level], WHOLE)
    np.testing.assert_array_equal(batch.inputs, sample.inputs)
    logits = network.apply(params, sample.inputs[: LEVELS[level].num_objects])[0][0]
    nll = -jax.nn.log_softmax(logits)[np.arange(B), sample.answers]
    assert float(found['loss'].total) == pytest.approx(float(jnp.sum(nll)), rel=1e-5)
    assert float(found['loss'].weight) == B
    right = int(jnp.sum(jnp.argmax(logits, axis=1) == sample.answers))
    assert int(found['training_accuracy'].total) == right


def test_the_loss_of_every_n_is_the_mean_over_what_can_be_asked():
    config = dataclasses.replace(CONFIG, answers='every_n', one_hot_scale=2.0)
    network = learning.make_network(config)
    params = network.init(jax.random.key(0))
    batch = learning.sample(config, KEYS, jnp.int32(0))
    logits = np.asarray(network.apply(params, batch.inputs[:3])[0], np.float64)
    assert logits.shape == (1 + N, B, N)
    questions = nth_farthest.sample(KEYS, *SMALL)
    total = 0.0
    for b in range(B):
        np.testing.assert_array_equal(logits[0, b], logits[1 + questions.n[b], b])
        for n in range(3):
            row = logits[1 + n, b]
            total += (np.log(np.sum(np.exp(row))) - row[questions.ranking[n, b]]) / 3
    found = learning.loss(network, params, batch, LEVELS)
    assert float(found['loss'].total) == pytest.approx(total, rel=1e-5)
    right = np.sum(logits[0].argmax(axis=1) == np.asarray(questions.answers))
    assert int(found['training_accuracy'].total) == right


def test_a_level_is_judged_by_held_out_sequences_of_its_own(monkeypatch):
    """The network here knows the answers of sequences of three vectors, of no others."""

    def answer(params, inputs):
        del params
        if len(inputs) != 3:
            return jnp.zeros((1, inputs.shape[1], N)), None
        labels, n, m = (jnp.argmax(inputs[..., D + N * i : D + N * i + 3], -1) for i in range(3))
        questions = nth_farthest.make_questions(inputs[..., :D], labels, n[0], m[0])
        return 50 * jax.nn.one_hot(questions.answers, N)[None], None

    monkeypatch.setattr(learning, 'make_network', lambda config: learning.Network(None, answer))
    curriculum = program.build(CONFIG).curriculum
    assert (curriculum.num_levels, curriculum.earlier_share) == (4, 0.4)
    assert [curriculum.score({}, level) for level in range(2)] == [1, 1]
    assert curriculum.score({}, 2) == pytest.approx(1 / 4, abs=0.03)  # always label 0
    assert program.build(dataclasses.replace(CONFIG, curriculum='')).curriculum is None


def test_a_run_climbs_and_says_so(tmp_path, capsys):
    config = dataclasses.replace(
        CONFIG,
        curriculum='3x1',
        answers='every_n',
        curriculum_every=2,
        curriculum_threshold=0,
        num_steps=5,
        log_every=5,
        evaluate_every=5,
        save_every=5,
        evaluation_size=400,
        final_evaluation_size=400,
        run_dir=str(tmp_path),
    )
    results = program.run(config)
    assert results['test'] == results['accuracy']
    rows = metrics.read_metrics(tmp_path / 'metrics.jsonl')
    assert [(row['step'], row['level']) for row in rows if 'level' in row] == [(2, 1)]
    out = capsys.readouterr().out
    assert 'Nth Farthest, 5 vectors of 3 dimensions, answers for every n, with a curriculum' in out
    assert 'step 2/5  level 0 -> 1  score 0.' in out
    (run,) = records.load_all([str(tmp_path)])
    assert run.label.endswith(', answers for every n, with a curriculum')


@pytest.mark.parametrize(
    ('changes', 'wanted'),
    [
        ({'curriculum': '3by1'}, "wanted VECTORSxDIMENSIONS,..., such as 3x1,4x1; got '3by1'"),
        ({'curriculum': '3x1,'}, "wanted VECTORSxDIMENSIONS,..., such as 3x1,4x1; got ''"),
        ({'curriculum': '6x1'}, 'wanted 2 to 5 vectors, got 6x1'),
        ({'curriculum': '1x1'}, 'wanted 2 to 5 vectors, got 1x1'),
        ({'curriculum': '3x4'}, 'wanted 1 to 3 dimensions, got 3x4'),
        ({'curriculum': '3x0'}, 'wanted 1 to 3 dimensions, got 3x0'),
        ({'curriculum': '3x1', 'head': 'distances'}, 'wanted --head=mlp with it, got distances'),
        ({'answers': 'every_n', 'head': 'distances'}, '--answers: wanted --head=mlp with it'),
        ({'curriculum_share': 0.0}, '--curriculum_share: wanted --curriculum with it, got none'),
    ],
)
def test_what_is_no_curriculum_is_refused(changes, wanted):
    with pytest.raises(ValueError, match=r'^--') as error:
        dataclasses.replace(CONFIG, **{'curriculum': '', **changes})
    assert wanted in str(error.value)


def test_the_paper_is_compared_only_with_what_had_no_help():
    paper = program.PRESETS['paper']
    assert "the paper's RMC" in program.baselines(paper)
    for help_ in ({'curriculum': '3x1'}, {'answers': 'every_n'}):
        assert "the paper's RMC" not in program.baselines(dataclasses.replace(paper, **help_))
