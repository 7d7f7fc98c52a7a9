"""Nth Farthest: samples, the loss, the evaluation, and that it learns from answers alone."""

import dataclasses

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch import nth_farthest as program
from launch.runs import errors, flags, metrics
from launch.training import cores
from tasks import nth_farthest

pytestmark = pytest.mark.usefixtures('compile_quickly')
N, D, B = 5, 3, 7
CONFIG = program.Config(
    num_objects=N,
    num_dims=D,
    mem_slots=2,
    total_units=16,
    num_heads=2,
    attention_mlp_layers=1,
    gate_style='memory',
    batch_size=B,
    head='distances',
    one_hot_scale=2.0,
)
ALONE = dataclasses.replace(CONFIG, head='mlp')
KEYS = jax.random.split(jax.random.key(5), B)


def test_the_full_task_is_sampled_and_its_one_hots_scaled():
    batch = program.sample(CONFIG, KEYS)
    questions = nth_farthest.sample(KEYS, N, D)
    np.testing.assert_array_equal(batch.answers[0], questions.answers)
    np.testing.assert_array_equal(batch.auxiliary.n[0], questions.n)
    np.testing.assert_array_equal(batch.auxiliary.m[0], questions.m)
    np.testing.assert_array_equal(batch.inputs[..., :D], questions.vectors)
    np.testing.assert_array_equal(batch.inputs[..., D:], 2 * questions.inputs[..., D:])
    alone = program.sample(ALONE, KEYS)
    assert alone.auxiliary is None
    np.testing.assert_array_equal(alone.inputs, batch.inputs)


def test_auxiliary_targets_have_mean_0_and_variance_1():
    targets = program.sample(CONFIG, jax.random.split(jax.random.key(1), 8000)).auxiliary
    other = np.arange(N)[:, None] != targets.m
    for values in (np.asarray(targets.vectors), np.asarray(targets.distances)[other]):
        assert values.mean() == pytest.approx(0, abs=0.02)
        assert values.var() == pytest.approx(1, abs=0.04)


def test_vectors_and_distances_are_by_label():
    targets = program.sample(CONFIG, KEYS).auxiliary
    questions = nth_farthest.sample(KEYS, N, D)
    for b in range(B):
        shown = dict(zip(questions.labels[:, b].tolist(), questions.vectors[:, b], strict=True))
        m = int(questions.m[b])
        for label, vector in shown.items():
            expected = np.float64(vector) * np.sqrt(3)
            np.testing.assert_allclose(targets.vectors[label, b], expected, rtol=1e-5)
            squared = np.sum((np.float64(vector) - np.float64(shown[m])) ** 2)
            expected = (squared - D * 2 / 3) / np.sqrt(D * 28 / 45)
            assert targets.distances[label, b] == pytest.approx(expected, abs=1e-5)


def test_a_vector_has_been_shown_from_its_step_on():
    targets = program.sample(CONFIG, KEYS).auxiliary
    labels = np.asarray(nth_farthest.sample(KEYS, N, D).labels)
    for b in range(B):
        for step in range(N):
            so_far = set(labels[: step + 1, b].tolist())
            assert set(np.flatnonzero(targets.shown[step, b]).tolist()) == so_far


def test_every_n_has_the_answer_that_it_would_have_if_it_were_asked():
    ranking = program.sample(CONFIG, KEYS).auxiliary.ranking
    questions = nth_farthest.sample(KEYS, N, D)
    for n in range(N):
        asked = jnp.full_like(questions.n, n)
        other = nth_farthest.make_questions(questions.vectors, questions.labels, asked, questions.m)
        np.testing.assert_array_equal(ranking[n], other.answers)


def _nll(logits, answer):
    return np.log(np.sum(np.exp(logits))) - logits[answer]


def test_from_answers_alone_the_loss_is_the_papers_cross_entropy_of_the_papers_network():
    """The core, an MLP of 4 x 256 with ReLU on all of them, and a logit a label."""
    network = program.make_network(ALONE)
    params = network.init(jax.random.key(0))
    batch = program.sample(ALONE, KEYS)
    found = program.loss(network, params, batch)
    assert found.keys() == {'loss', 'training_accuracy'}
    logits, readings = network.apply(params, batch.inputs)
    assert readings is None

    def core_alone(inputs):
        core = cores.make(ALONE, (D + 3 * N,))
        state = core.initial_state(B)
        for step in range(N):
            output, state = core(inputs[step], state)
        return output

    hidden = np.float64(hk.transform(core_alone).apply(params, None, batch.inputs))
    names = [name for name in params if 'linear' in name]
    names += [name for name in params if 'logits' in name]
    layers = [params[name] for name in names]
    assert [layer['w'].shape[1] for layer in layers] == [256, 256, 256, 256, N]
    for layer in layers[:-1]:
        hidden = np.maximum(hidden @ np.float64(layer['w']) + layer['b'], 0)
    expected = hidden @ np.float64(layers[-1]['w']) + layers[-1]['b']
    np.testing.assert_allclose(logits[0], expected, rtol=1e-4, atol=1e-5)
    answers = batch.answers[0].tolist()
    total = sum(_nll(expected[b], answers[b]) for b in range(B))
    right = sum(expected[b].argmax() == answers[b] for b in range(B))
    assert [float(x) for x in found['loss']] == pytest.approx([total, B], rel=1e-4)
    assert [float(x) for x in found['training_accuracy']] == [right, B]


def test_with_auxiliary_losses_the_loss_is_that_of_a_loop():
    network = program.make_network(CONFIG)
    params = network.init(jax.random.key(0))
    batch = program.sample(CONFIG, KEYS)
    found = program.loss(network, params, batch)
    logits, readings = jax.tree.map(np.float64, network.apply(params, batch.inputs))
    batch = jax.tree.map(np.asarray, batch)
    targets = batch.auxiliary
    total = right = of_vectors = of_distances = of_others = of_every_n = 0.0
    for b in range(B):
        answer, m = int(batch.answers[0, b]), int(targets.m[0, b])
        total += _nll(logits[0, b], answer)
        right += logits[0, b].argmax() == answer
        of_every_n += np.mean([_nll(logits[1 + n, b], targets.ranking[n, b]) for n in range(N)])
        vectors, references, distances, questions = [], [], [], []
        asked = np.concatenate([np.eye(N)[int(targets.n[0, b])], np.eye(N)[m]])
        asked = (asked - 1 / N) / np.sqrt((1 - 1 / N) / N)
        for step in range(N):
            shown = np.flatnonzero(targets.shown[step, b]).tolist()
            questions.append(np.mean((readings.question[step, b] - asked) ** 2))
            if m in shown:
                read = readings.reference[step, b]
                references.append(np.mean((read - targets.vectors[m, b]) ** 2))
            for label in shown:
                read = readings.vectors[step, b, label]
                vectors.append(np.mean((read - targets.vectors[label, b]) ** 2))
                if m in shown and label != m:
                    read = readings.distances[step, b, label]
                    distances.append((read - targets.distances[label, b]) ** 2)
        of_vectors += np.mean(vectors)
        of_others += np.mean(references) + np.mean(questions)
        of_distances += np.mean(distances)
    total += of_vectors + of_distances + of_others + of_every_n
    assert {float(value.weight) for value in found.values()} == {B}
    assert float(found['loss'].total) == pytest.approx(total, rel=1e-4)
    assert float(found['training_accuracy'].total) == right
    assert float(found['vector_error'].total) == pytest.approx(of_vectors, rel=1e-4)
    assert float(found['distance_error'].total) == pytest.approx(of_distances, rel=1e-4)


@pytest.mark.parametrize('config', [CONFIG, ALONE], ids=lambda config: config.head)
def test_gradients_reach_every_parameter(config):
    network = program.make_network(config)
    batch = program.sample(config, KEYS)
    params = network.init(jax.random.key(0))
    grads = jax.grad(lambda p: program.loss(network, p, batch)['loss'].total)(params)
    for module, leaves in grads.items():
        for name, leaf in leaves.items():
            assert np.any(leaf), f'{module}/{name}'
            assert np.all(np.isfinite(leaf)), f'{module}/{name}'


def _evaluate(monkeypatch, apply, config=ALONE):
    network = program.make_network(config)._replace(apply=apply)
    monkeypatch.setattr(program, 'make_network', lambda config: network)
    return program.build(config)


def test_evaluations_are_of_the_full_task_and_of_the_same_sequences(monkeypatch):
    def answer(params, inputs):  # a network that knows the answer
        del params
        labels = jnp.argmax(inputs[..., D : D + N], axis=-1)
        n, m = (
            jnp.argmax(inputs[0, :, start : start + N], axis=-1) for start in (D + N, D + 2 * N)
        )
        answers = nth_farthest.make_questions(inputs[..., :D], labels, n, m).answers
        return 50 * jax.nn.one_hot(answers, N)[None], None

    config = dataclasses.replace(ALONE, evaluation_size=450, final_evaluation_size=1)
    task = _evaluate(monkeypatch, answer, config)
    result = task.evaluate(())
    assert result['accuracy'] == 1
    assert result['eval_loss'] == pytest.approx(0, abs=1e-6)
    assert task.test((), False)['sequences'] == 1
    guess = lambda params, inputs: (jnp.ones((1, inputs.shape[1], N)), None)  # noqa: E731
    first = _evaluate(monkeypatch, guess, config).evaluate(())
    second = _evaluate(monkeypatch, guess, dataclasses.replace(config, seed=3)).evaluate(())
    assert first == second
    assert 0 < first['accuracy'] < 0.4
    assert first['eval_loss'] == pytest.approx(np.log(N), rel=1e-5)


def test_a_larger_evaluation_begins_with_the_smaller(monkeypatch):
    tell = lambda params, inputs: (jnp.tile(params, (1, inputs.shape[1], 1)), None)  # noqa: E731
    seen = []
    for size in (1, 400, 401):
        config = dataclasses.replace(ALONE, final_evaluation_size=size)
        seen.append(_evaluate(monkeypatch, tell, config).test(jnp.eye(N)[0], False))
    counts = [each['test'] * each['sequences'] for each in seen]
    assert counts[0] in (0, 1)
    assert counts[1] <= counts[2] + 1e-3 <= counts[1] + 1.002


def test_from_answers_alone_it_learns_more_than_the_trivial_rule(tmp_path):
    config = dataclasses.replace(
        program.PRESETS['cpu'],
        run_dir=str(tmp_path),
        total_units=64,
        mem_slots=2,
        learning_rate=2e-3,
        warmup_steps=20,
        num_steps=1000,
        evaluate_every=500,
        evaluation_size=400,
        final_evaluation_size=4000,
    )
    found = program.run(config)
    assert (found['head'], found['sequences']) == ('mlp', 4000)
    assert found['test'] == found['accuracy'] > 2 / 3 + 0.04
    rows = metrics.read_metrics(tmp_path / 'metrics.jsonl')
    assert [row['step'] for row in rows if 'accuracy' in row] == [500, 1000]


def test_titles_say_when_auxiliary_losses_help():
    assert program.title(ALONE) == 'Nth Farthest, 5 vectors of 3 dimensions'
    assert program.title(CONFIG).endswith(', with auxiliary losses')


def test_the_papers_accuracy_is_a_level_of_its_own_task_from_answers_alone_only():
    paper = program.PRESETS['paper']
    assert program.levels(paper) == {'m itself, or any other': 0.25, "the paper's RMC": 0.91}
    for change in ({'num_dims': 15}, {'num_objects': 7}, {'head': 'distances'}):
        assert "the paper's RMC" not in program.levels(dataclasses.replace(paper, **change))


def test_presets_are_what_they_are_said_to_be():
    paper, auxiliary, cpu = (program.PRESETS[name] for name in ('paper', 'auxiliary', 'cpu'))
    assert [(c.num_objects, c.num_dims) for c in (paper, auxiliary, cpu)] == [(8, 16)] * 2 + [
        (3, 1)
    ]
    assert [config.head for config in (paper, auxiliary, cpu)] == ['mlp', 'distances', 'mlp']
    assert (paper.one_hot_scale, paper.batch_size, paper.learning_rate) == (1, 1600, 1e-4)
    assert (paper.clip_norm, paper.total_units, paper.num_heads) == (0, 2048, 1)


@pytest.mark.parametrize(
    ('words', 'wanted'),
    [
        ('--num_objects=1', '--num_objects: wanted at least 2, got 1'),
        ('--head=tail', '--head: wanted one of mlp, distances'),
        ('--mode=play', '--mode: wanted one of train, evaluate'),
        ('--one_hot_scale=0', '--one_hot_scale: wanted at least 0.001'),
        ('--num_seeds=2', 'no flag --num_seeds'),
    ],
)
def test_bad_flags_get_one_line(words, wanted, capsys):
    facts = program.Config, program.run, 'nth_farthest', program.PRESETS
    assert flags.main(*facts, words.split()) == errors.USAGE
    line = capsys.readouterr().err
    assert wanted in line
    assert line.count('\n') == 1
