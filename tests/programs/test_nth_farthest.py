"""Nth Farthest: targets, loss and evaluation in loops and by hand, and that it learns."""

import dataclasses
import json

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch import nth_farthest as program
from launch.farthest import configuration, learning
from launch.runs import errors, flags, metrics, plots
from launch.training import cores, experiment
from tasks import nth_farthest

pytestmark = pytest.mark.usefixtures('compile_quickly')
N, D, B = 5, 3, 7
CONFIG = configuration.Config(
    num_objects=N,
    num_dims=D,
    core='lstm',
    lstm_size=6,
    batch_size=B,
    head='distances',
    one_hot_scale=2.0,
)
MLP = dataclasses.replace(CONFIG, head='mlp')
KEYS = jax.random.split(jax.random.key(5), B)


@pytest.fixture(scope='module')
def batch(compile_quickly):
    """Returns sequences, their targets, and the questions that they were made of."""
    sampled = jax.jit(lambda keys: learning.sample(CONFIG, keys))(KEYS)
    questions = jax.jit(lambda keys: nth_farthest.sample(keys, N, D))(KEYS)
    return jax.tree.map(np.asarray, (sampled, questions))


@pytest.fixture(scope='module')
def learned(batch):
    """Returns parameters, outputs and metrics, and the gradients of loss and shown errors."""
    network = learning.make_network(CONFIG)
    params = network.init(jax.random.key(0))

    @jax.jit
    def compute(params, batch):
        def totals(params):
            sums = learning.loss(network, params, batch)
            names = 'loss', 'vector_error', 'distance_error'
            return jnp.stack([sums[name].total for name in names]), sums

        grads, sums = jax.jacrev(totals, has_aux=True)(params)
        return network.apply(params, batch.inputs), sums, grads

    return jax.tree.map(np.asarray, compute(params, batch[0]))


def test_the_full_task_is_sampled_and_its_one_hots_are_scaled(batch):
    batch, questions = batch
    np.testing.assert_array_equal(batch.answers[0], questions.answers)
    np.testing.assert_array_equal(batch.auxiliary.n[0], questions.n)
    np.testing.assert_array_equal(batch.auxiliary.m[0], questions.m)
    np.testing.assert_array_equal(batch.inputs[..., :D], questions.vectors)
    np.testing.assert_array_equal(batch.inputs[..., D:], 2 * questions.inputs[..., D:])


def test_the_papers_head_has_no_auxiliary_targets():
    shapes = jax.eval_shape(lambda: learning.sample(MLP, KEYS))
    assert shapes.auxiliary is None
    assert (shapes.inputs.shape, shapes.answers.shape) == ((N, B, D + 3 * N), (1, B))


def test_targets_have_mean_0_and_variance_1():
    keys = jax.random.split(jax.random.key(1), 8000)
    batch = jax.jit(lambda keys: learning.sample(CONFIG, keys))(keys).auxiliary
    other = np.arange(N)[:, None] != batch.m
    for values in (np.asarray(batch.vectors), np.asarray(batch.distances)[other]):
        assert values.mean() == pytest.approx(0, abs=0.02)
        assert values.var() == pytest.approx(1, abs=0.04)


def test_vectors_and_distances_are_by_label(batch):
    batch, questions = batch
    for b in range(B):
        shown = dict(zip(questions.labels[:, b].tolist(), questions.vectors[:, b], strict=True))
        m = int(questions.m[b])
        for label, vector in shown.items():
            expected = np.float64(vector) * np.sqrt(3)
            np.testing.assert_allclose(batch.auxiliary.vectors[label, b], expected, rtol=1e-5)
            squared = np.sum((np.float64(vector) - np.float64(shown[m])) ** 2)
            expected = (squared - D * 2 / 3) / np.sqrt(D * 28 / 45)
            assert batch.auxiliary.distances[label, b] == pytest.approx(expected, abs=1e-5)


def test_a_vector_has_been_shown_from_its_step_on(batch):
    batch, questions = batch
    for b in range(B):
        for step in range(N):
            so_far = set(questions.labels[: step + 1, b].tolist())
            assert set(np.flatnonzero(batch.auxiliary.shown[step, b]).tolist()) == so_far


def test_every_n_has_the_answer_that_it_would_have_if_it_were_asked(batch):
    batch, questions = batch
    for n in range(N):
        asked = jnp.full_like(questions.n, n)
        other = nth_farthest.make_questions(questions.vectors, questions.labels, asked, questions.m)
        np.testing.assert_array_equal(batch.auxiliary.ranking[n], other.answers)


def test_the_loss_is_that_of_a_loop(batch, learned):
    (logits, readings), sums, _ = jax.tree.map(np.float64, learned)
    batch, targets = batch[0], batch[0].auxiliary
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
    assert sums['loss'].total == pytest.approx(total, rel=1e-4)
    assert sums['training_accuracy'].total == right
    assert sums['vector_error'].total == pytest.approx(of_vectors, rel=1e-4)
    assert sums['distance_error'].total == pytest.approx(of_distances, rel=1e-4)
    assert {float(each.weight) for each in sums.values()} == {B}


def _nll(logits, answer):
    return np.log(np.sum(np.exp(logits))) - logits[answer]


def test_gradients_reach_every_parameter(learned):
    for path, leaf in jax.tree_util.tree_leaves_with_path(learned[2]):
        assert np.any(leaf[0]), jax.tree_util.keystr(path)
        assert np.all(np.isfinite(leaf)), jax.tree_util.keystr(path)


def test_no_stage_of_the_head_disturbs_the_one_before(learned):
    def reached(place):
        names = {
            path[0].key.removeprefix('distance_classifier/')
            for path, leaf in jax.tree_util.tree_leaves_with_path(learned[2])
            if np.any(leaf[place])
        }
        return {name.split('/')[0] for name in names}

    assert reached(2) == {'squares', 'distances'}
    assert reached(1) == {'lstm', 'vectors'}


def test_the_network_is_the_papers(batch):
    """The core, an MLP of 4 x 256 with ReLU on all of them, and a logit a label; and its loss."""
    network = learning.make_network(MLP)
    params, inputs = network.init(jax.random.key(0)), batch[0].inputs
    answers = batch[0]._replace(auxiliary=None)
    loss = lambda params: learning.loss(network, params, answers)['loss'].total  # noqa: E731
    both = jax.jit(lambda params: (network.apply(params, inputs), jax.value_and_grad(loss)(params)))
    (logits, readings), (total, grads) = both(params)
    assert readings is None

    def core_alone():
        core = cores.make(MLP, (D + 3 * N,))
        state = core.initial_state(B)
        for step in range(N):
            output, state = core(inputs[step], state)
        return output

    hidden = np.float64(jax.jit(hk.transform(core_alone).apply)(params, None))
    layers = {name.split('/')[-1]: each for name, each in params.items() if 'lstm' not in name}
    names = [*(f'linear_{i}' for i in range(4)), 'logits']
    assert layers.keys() == set(names)
    for name in names:
        hidden = hidden @ np.float64(layers[name]['w']) + np.float64(layers[name]['b'])
        if name != 'logits':
            hidden = np.maximum(hidden, 0)
            assert hidden.shape == (B, 256)
    np.testing.assert_allclose(logits[0], hidden, rtol=1e-4, atol=1e-5)
    wanted = sum(_nll(hidden[b], batch[0].answers[0, b]) for b in range(B))
    assert float(total) == pytest.approx(wanted, rel=1e-5)
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        assert np.any(leaf), jax.tree_util.keystr(path)


@pytest.mark.parametrize('core', ['rmc', 'dnc', 'entnet', 'transformer'])
def test_every_core_answers_and_has_gradients(core):
    """As a program would make it, without running it."""
    sizes = {f'{name}_size': 8 for name in ('transformer', 'dnc_controller', 'entnet')}
    config = dataclasses.replace(program.PRESETS['cpu'], core=core, **sizes)
    network = learning.make_network(config)
    params = jax.eval_shape(network.init, jax.random.key(0))
    batch = jax.eval_shape(lambda: learning.sample(config, KEYS))

    def total(params, batch):
        return learning.loss(network, params, batch)['loss'].total

    grads = jax.eval_shape(jax.grad(total), params, batch)
    assert jax.tree.map(jnp.shape, grads) == jax.tree.map(jnp.shape, params)
    logits, _ = jax.eval_shape(network.apply, params, batch.inputs)
    assert logits.shape == (1, B, 3)


@pytest.fixture
def evaluate(monkeypatch):
    """Returns the task of a network `inputs -> logits [B, N]`, with sizes of its evaluations."""

    def of(answer, size, final_size, **changes):
        network = learning.Network(None, lambda params, inputs: (answer(inputs)[None], None))
        monkeypatch.setattr(learning, 'make_network', lambda config: network)
        sizes = {'evaluation_size': size, 'final_evaluation_size': final_size}
        return program.build(dataclasses.replace(CONFIG, **sizes, **changes))

    return of


def test_evaluations_are_of_the_full_task(evaluate):
    def answer(inputs):  # knows it
        split = np.split(np.arange(D, D + 3 * N), 3)
        labels, n, m = (jnp.argmax(inputs[..., part], axis=-1) for part in split)
        questions = nth_farthest.make_questions(inputs[..., :D], labels, n[0], m[0])
        return 50 * jax.nn.one_hot(questions.answers, N)

    results = evaluate(answer, 1, 420).test({}, True)
    assert results.pop('eval_loss') == pytest.approx(0, abs=1e-6)
    assert results == {'head': 'distances', 'sequences': 420, 'test': 1.0, 'accuracy': 1.0}


def test_evaluations_are_of_the_same_sequences_for_every_seed(evaluate):
    guess = lambda inputs: inputs[0, :, :N]  # noqa: E731
    first, other = (evaluate(guess, 400, 1, seed=seed).evaluate({}) for seed in (0, 3))
    assert first == other
    assert 0 < first['accuracy'] < 0.4


def test_a_larger_evaluation_begins_with_the_smaller(evaluate):
    """Label 0 has a logit of 1, all others of 0."""
    always_0 = lambda inputs: jnp.tile(jnp.eye(N)[0], (inputs.shape[1], 1))  # noqa: E731
    tasks = evaluate(always_0, 1, 400), evaluate(always_0, 401, 800)
    results = [x for task in tasks for x in (task.evaluate({}), task.test({}, True))]
    rights = [x['accuracy'] * size for x, size in zip(results, (1, 400, 401, 800), strict=True)]
    assert rights[0] in (0, 1)
    assert rights[1] - 0.001 <= rights[2] <= rights[1] + 1.001
    assert abs(rights[3] - 2 * rights[1]) > 0.5  # other sequences follow
    assert results[3]['accuracy'] == pytest.approx(1 / N, abs=0.06)
    nll = np.log(np.e + N - 1) - results[3]['accuracy']
    assert results[3]['eval_loss'] == pytest.approx(nll, rel=1e-5)


@pytest.fixture(scope='module')
def whole(tmp_path_factory, compile_quickly):
    """Returns the configuration of a finished run, and what it returned."""
    config = dataclasses.replace(
        program.PRESETS['auxiliary'],
        num_objects=3,
        num_dims=1,
        mem_slots=2,
        total_units=64,
        learning_rate=2e-3,
        warmup_steps=20,
        num_steps=500,
        log_every=125,
        evaluate_every=250,
        save_every=500,
        evaluation_size=400,
        final_evaluation_size=4000,
        run_dir=str(tmp_path_factory.mktemp('whole') / 'run'),
    )
    return config, program.run(config)


def test_with_auxiliary_losses_it_learns_more_than_the_trivial_rule(whole):
    config, results = whole
    trivial = 1 / 3 + 2 / 3 * 1 / 2
    assert results['test'] == results['accuracy'] > trivial + 0.1
    assert (results['head'], results['sequences'], results['core']) == ('distances', 4000, 'rmc')
    with open(f'{config.run_dir}/evaluation.json', encoding='utf-8') as file:
        assert json.load(file) == results
    line = program.describe(config, results)
    assert line.startswith(f'{results["accuracy"]:.2%} of 4,000 held-out sequences answered right')
    assert line.endswith(f'{results["eval_loss"]:.4f} nats')


def test_its_log_has_accuracies(whole):
    rows = metrics.read_metrics(f'{whole[0].run_dir}/metrics.jsonl')
    logged = [row for row in rows if 'loss' in row]
    assert [row['step'] for row in logged] == [125, 250, 375, 500]
    assert all(0 <= row['training_accuracy'] <= 1 for row in logged)
    assert logged[0]['loss'] > logged[-1]['loss']
    assert all(row['sequences_per_second'] > 0 for row in logged)
    assert all(row['distance_error'] > 0 and row['vector_error'] > 0 for row in logged)
    assert [row['step'] for row in rows if 'accuracy' in row] == [250, 500]


def test_the_curve_is_drawn_with_the_accuracies_by_which_it_is_read(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(plots, 'plot_curves', lambda *x, **options: seen.append((x, options)))
    rows = [{'step': 2, 'training_accuracy': 0.5}, {'step': 3, 'accuracy': 0.25}]
    paper, path = program.PRESETS['paper'], str(tmp_path / 'accuracy.png')
    for config in (paper, dataclasses.replace(paper, num_dims=32), program.PRESETS['auxiliary']):
        assert program.draw(config, str(tmp_path), rows, {}) == [path]
    stuck = {'plateau, comparing no distances': 0.25}
    baselines = [options['baselines'] for _, options in seen]
    assert baselines == [{**stuck, "the paper's RMC": 0.91}, stuck, stuck]
    assert seen[0][0] == ({'training': [(2, 0.5)], 'held out': [(3, 0.25)]}, path)
    titles = [options['title'] for _, options in seen]
    assert titles[0] == 'Relational Memory Core: Nth Farthest, 8 vectors of 16 dimensions'
    assert titles[2] == f'{titles[0]}, with auxiliary losses'


@pytest.mark.parametrize(
    ('words', 'wanted'),
    [
        ('--num_objects=1', '--num_objects: wanted at least 2, got 1'),
        ('--num_dims=0', '--num_dims: wanted at least 1, got 0'),
        ('--head=tail', '--head: wanted one of mlp, distances'),
        ('--mode=play', '--mode: wanted one of train, evaluate'),
        ('--mode=evaluate', '--mode=evaluate: wanted --run_dir=DIR'),
        ('--one_hot_scale=0', '--one_hot_scale: wanted at least 0.001'),
        ('--total_units=511', '--total_units: wanted a multiple'),
    ],
)
def test_bad_flags_get_one_line(words, wanted, capsys):
    facts = configuration.Config, program.run, 'nth_farthest', program.PRESETS
    assert flags.main(*facts, words.split()) == errors.USAGE
    line = capsys.readouterr().err
    assert wanted in line
    assert line.count('\n') == 1


def test_only_the_sizes_of_evaluations_may_change_when_a_run_is_resumed():
    kinds = flags.on_resume(configuration.Config)
    own = kinds.keys() & configuration.Config.__annotations__.keys()
    fixed = {'num_objects', 'num_dims', 'head', 'answers', 'one_hot_scale'}
    fixed |= {'curriculum', 'curriculum_share'}
    assert {kinds[name] for name in fixed} == {'fixed'}
    assert {kinds[name] for name in own - fixed} == {'free'}


def test_a_preset_has_a_default_folder_of_its_own():
    folders = [
        experiment.default_directory(program.EXPERIMENT, program.PRESETS[preset])
        for preset in ('cpu', 'curriculum')
    ]
    assert folders == ['runs/nth_farthest-rmc', 'runs/nth_farthest-curriculum-rmc']
    config = dataclasses.replace(program.PRESETS['cpu'], preset='')
    assert experiment.default_directory(program.EXPERIMENT, config) == folders[0]


@pytest.mark.parametrize('preset', ['paper', 'curriculum', 'auxiliary'])
def test_presets_are_of_the_full_task(preset):
    config = program.PRESETS[preset]
    assert (config.num_objects, config.num_dims) == (8, 16)
    shapes = jax.eval_shape(learning.make_network(config).init, jax.random.key(0))
    assert shapes['relational_memory']['input_w'].shape[0] == 16 + 3 * 8


def test_the_papers_recipe_has_nothing_but_the_task():
    config = program.PRESETS['paper']
    assert (config.head, config.one_hot_scale) == ('mlp', 1)
    assert (config.batch_size, config.learning_rate, config.clip_norm) == (1600, 1e-4, 0)
    sizes = config.mem_slots, config.total_units, config.num_heads, config.num_blocks
    assert sizes == (8, 2048, 1, 1)


def test_the_default_learns_a_small_task_from_answers_alone():
    config = program.PRESETS['cpu']
    assert (config.num_objects, config.num_dims) == (3, 1)
    assert (config.head, config.one_hot_scale) == ('mlp', 1)
    assert program.PRESETS['auxiliary'].head == 'distances'
