"""Learning to Execute: its loss and measures in loops and by hand, its data, and that it learns."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from launch import learning_to_execute as program
from launch.executing import learning
from launch.runs import errors, flags, metrics, plots
from tasks.learning_to_execute import batches, programs, setting

pytestmark = pytest.mark.usefixtures('compile_quickly')
B, V = 7, setting.NUM_ANSWER_CHARACTERS
CONFIG = program.Config(task='algebra', nesting=2, length=2, core='lstm', lstm_size=6, batch_size=B)
BATCH = batches.sample(CONFIG.setting(), 'mix', 0, 'train', 3, 5, B)
OTHER = BATCH._replace(targets=(BATCH.targets + 3) % V)


def _main(*words):
    return flags.main(program.Config, program.run, 'learning_to_execute', program.PRESETS, words)


@pytest.fixture(scope='module')
def make(compile_quickly):
    """Returns a network by its decoding, with its parameters and logits with and without a teacher.

    All of them are of one batch; the logits are also those with other targets.
    """
    made = {}

    def of(decoding):
        if decoding not in made:
            network = learning.make_network(dataclasses.replace(CONFIG, decoding=decoding))
            params = network.init(jax.random.key(0))
            params = jax.tree.map(lambda x: 2 * x + 0.1, params)  # answers differ
            both = jax.jit(
                lambda batch: [network.logits(params, batch, teacher) for teacher in (True, False)]
            )
            logits = [jax.tree.map(np.float64, both(batch)) for batch in (BATCH, OTHER)]
            made[decoding] = network, params, logits
        return made[decoding]

    return of


def _loop(logits, batch):
    """Returns nll, right characters, characters, right answers and answers, in float64."""
    sums = np.zeros(5)
    for b in range(batch.inputs.shape[1]):
        length = int(batch.weights[:, b].sum())
        right = 0
        for a in range(length):
            scores, wanted = logits[a, b], int(batch.targets[a, b])
            sums[0] += np.log(np.exp(scores - scores.max()).sum()) + scores.max() - scores[wanted]
            right += int(np.argmax(scores)) == wanted
        sums[1:] += [right, length, right == length and length > 0, length > 0]
    return sums


def test_the_loss_is_that_of_a_loop_over_the_true_answers(make):
    network, params, ((taught, _), _) = make('teacher_forcing')
    sums = jax.jit(lambda batch: learning.loss(network, params, batch))(BATCH)
    nll, right, characters, *_ = _loop(taught, BATCH)
    assert 0 < characters < BATCH.targets.size  # some answers are shorter
    assert float(sums['loss'].total) == pytest.approx(nll, rel=1e-5)
    assert float(sums['training_accuracy'].total) == right
    assert sums['loss'].weight == sums['training_accuracy'].weight == characters
    assert set(sums) == {'loss', 'training_accuracy'}


def test_measures_are_those_that_can_be_counted_by_hand():
    """The answers are 12, 3 and 45, padded; predicted are 12, 3 and something behind it, and 44."""
    batch = batches.Batch(
        np.ones((4, 4), np.int32),
        np.full((1, 4), 4, np.int32),
        np.array([[1, 3, 4, 7], [2, 0, 5, 0]], np.int32),
        np.array([[1, 1, 1, 0], [1, 0, 1, 0]], np.float32),
    )
    predicted = np.array([[1, 3, 4, 7], [2, 8, 4, 6]])
    network = learning.Network(
        None, lambda params, batch, teacher: params * jax.nn.one_hot(predicted, V)
    )
    score = learning.make_score(network)
    values = learning.evaluate(score, 20.0, [batch])
    assert values['character_accuracy'] == pytest.approx(4 / 5)
    assert values['sequence_accuracy'] == pytest.approx(2 / 3)
    assert values['eval_loss'] == pytest.approx(20 / 5, rel=1e-4)
    padded = batch._replace(targets=batch.targets + np.int32(batch.weights == 0))
    assert learning.evaluate(score, 20.0, [padded]) == values
    assert learning.evaluate(score, 20.0, iter([batch, batch])) == pytest.approx(values)
    np.testing.assert_array_equal(score(20.0, batch)[1], predicted)


@pytest.mark.parametrize('decoding', ['non_autoregressive', 'autoregressive', 'teacher_forcing'])
def test_only_a_teacher_feeds_the_true_answer(decoding, make):
    _, _, ((taught, own), (taught_other, own_other)) = make(decoding)
    assert own.shape == (*BATCH.targets.shape, V)
    np.testing.assert_array_equal(own, own_other)
    assert np.array_equal(taught, taught_other) == (decoding != 'teacher_forcing')


def test_an_evaluation_measures_what_the_network_predicts_without_a_teacher(make):
    network, params, ((_, own), _) = make('teacher_forcing')
    values = learning.evaluate(learning.make_score(network), params, [BATCH])
    nll, right, characters, whole, count = _loop(own, BATCH)
    assert count == B
    assert values['eval_loss'] == pytest.approx(nll / characters, rel=1e-5)
    assert values['character_accuracy'] == pytest.approx(right / characters)
    assert values['sequence_accuracy'] == pytest.approx(whole / count)


def _parameters(config):
    return jax.eval_shape(learning.make_network(config).init, jax.random.key(0))


def test_cores_are_one_or_two():
    config = program.Config(total_units=16)
    shared, own = (
        {name.split('/')[0] for name in _parameters(dataclasses.replace(config, shared_core=x))}
        for x in (True, False)
    )
    assert shared == {'relational_memory', 'sequence_to_sequence'}
    assert own == {*shared, 'relational_memory_1'}


@pytest.mark.parametrize(
    'words',
    [
        '--core=rmc --total_units=16 --decoding=autoregressive',
        '--core=lstm --lstm_size=4 --lstm_layers=2 --dialect=zaremba --task=program',
        '--core=dnc --dnc_memory_size=3 --dnc_word_size=4 --dnc_reads=1 --dnc_controller_size=5 '
        '--task=double --nesting=1',
        '--core=entnet --entnet_size=3 --task=control --shared_core=False',
        '--core=transformer --transformer_layers=1 --transformer_size=8 --task=reverse --nesting=1 '
        '--decoding=teacher_forcing',
    ],
)
def test_every_core_reads_programs_and_has_gradients(words):
    """As a program would make them, without running them."""
    config = flags.parse(program.Config, words.split(), 'learning_to_execute', program.PRESETS)
    network, batch = learning.make_network(config), _sample(config)
    params = jax.eval_shape(network.init, jax.random.key(0))
    total = lambda params: learning.loss(network, params, batch)['loss'].total  # noqa: E731
    grads = jax.eval_shape(jax.grad(total), params)
    assert jax.tree.map(lambda x: x.shape, grads) == jax.tree.map(lambda x: x.shape, params)
    logits = jax.eval_shape(lambda params: network.logits(params, batch, False), params)
    assert logits.shape == (*batch.targets.shape, V)


def _sample(config):
    return batches.sample(config.setting(), 'mix', 0, 'train', 3, 5, B)


def _elements(batch):
    """Returns all that a batch holds of each of its programs, sorted."""
    leaves = [np.moveaxis(leaf, 1, 0) for leaf in batch]
    return sorted(np.concatenate([x.reshape(len(x), -1) for x in leaves], axis=1).tolist())


def test_a_batch_is_that_of_the_task_sorted_by_length():
    config = dataclasses.replace(CONFIG, seed=3)
    got = program.build(config).batch(5, 0)
    assert _elements(got) == _elements(BATCH)
    assert (np.diff(got.lengths[0]) >= 0).all()
    assert len(set(got.lengths[0])) > 2


def test_a_process_reads_its_own_share_of_a_batch(monkeypatch):
    config = dataclasses.replace(CONFIG, batch_size=8)
    whole = program.build(config).batch(5, 0)
    monkeypatch.setattr(jax, 'process_count', lambda: 2)
    monkeypatch.setattr(jax, 'process_index', lambda: 1)
    share = program.build(config).batch(5, 0)
    jax.tree.map(np.testing.assert_array_equal, share, jax.tree.map(lambda x: x[:, 4:], whole))


@pytest.fixture
def asked(monkeypatch):
    """Returns what is sampled from now on, curriculum, level and split; nothing is scored."""
    found, sample = [], batches.sample

    def record(programs, curriculum, level, split, seed, step, batch_size):
        found.append((curriculum, level, split))
        return sample(programs, curriculum, level, split, seed, step, batch_size)

    monkeypatch.setattr(batches, 'sample', record)
    score = lambda params, batch: (np.ones(5), np.zeros_like(batch.targets))  # noqa: E731
    monkeypatch.setattr(learning, 'make_score', lambda network: score)
    return found


def test_training_validation_and_test_are_of_splits_of_their_own(asked):
    sizes = {'evaluation_size': 300, 'final_evaluation_size': 600}
    task = program.build(dataclasses.replace(CONFIG, curriculum='combined', **sizes))
    asked.clear()
    task.batch(4, 1)
    assert asked == [('combined', 1, 'train')]
    asked.clear()
    task.evaluate({})
    assert asked == [('baseline', 0, 'valid')] * 2
    asked.clear()
    task.test({}, True)
    assert asked == [('baseline', 0, 'test')] * 4  # the last for examples


def test_a_level_is_judged_by_programs_of_its_own(asked, monkeypatch):
    flags_ = {'curriculum_every': 4, 'curriculum_threshold': 0.5, 'curriculum_patience': 9}
    curriculum = program.build(
        dataclasses.replace(CONFIG, curriculum='combined', **flags_)
    ).curriculum
    assert (curriculum.every, curriculum.num_levels, curriculum.patience) == (4, 4, 9)
    asked.clear()
    values = {'character_accuracy': 0.4}
    monkeypatch.setattr(learning, 'evaluate', lambda *x: list(x[2]) and values)
    assert (curriculum.score({}, 1), curriculum.threshold) == (0.4, 0.5)
    assert set(asked) == {('naive', 1, 'valid')}
    assert program.build(CONFIG).curriculum.num_levels == 1  # a mix has one


def test_a_split_without_programs_ends_a_run_at_its_start_with_one_line(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(programs, 'split_of', lambda samples: np.zeros(len(samples.text), int))
    words = '--task=copy', '--nesting=1', '--length=4', f'--run_dir={tmp_path / "run"}'
    assert _main(*words) == errors.USAGE
    captured = capsys.readouterr()
    wanted = "learning_to_execute: --task=copy: wanted samples of the split 'valid', got none in "
    assert captured.err.startswith(wanted)
    assert captured.err.count('\n') == 1
    assert captured.out == ''


@pytest.fixture(scope='module')
def whole(tmp_path_factory, compile_quickly):
    """Returns the directory of a finished run, and what it returned."""
    config = dataclasses.replace(
        CONFIG,
        task='copy',
        nesting=1,
        lstm_size=32,
        batch_size=32,
        learning_rate=0.01,
        num_steps=400,
        log_every=200,
        evaluate_every=200,
        save_every=400,
        evaluation_size=300,
        final_evaluation_size=400,
        run_dir=str(tmp_path_factory.mktemp('whole') / 'run'),
    )
    return config, program.run(config)


def test_it_learns_and_its_evaluation_says_what_of(whole):
    config, results = whole
    assert results['character_accuracy'] > 0.4  # a guessed digit is right in a tenth
    assert results['sequence_accuracy'] <= results['character_accuracy'] == results['test']
    with open(f'{config.run_dir}/evaluation.json', encoding='utf-8') as file:
        assert json.load(file) == results
    wanted = {
        'program': 'learning_to_execute',
        'core': 'lstm',
        'step': 400,
        'task': 'copy',
        'nesting': 1,
        'length': 2,
        'dialect': 'sonnet',
        'curriculum': 'mix',
        'decoding': 'non_autoregressive',
        'sequences': 400,
    }
    assert {name: results[name] for name in wanted} == wanted
    measures = 'test', 'character_accuracy', 'sequence_accuracy', 'eval_loss', 'examples'
    assert set(results) == {*wanted, *measures}


def test_its_log_has_accuracies(whole):
    rows = metrics.read_metrics(f'{whole[0].run_dir}/metrics.jsonl')
    logged = [row for row in rows if 'loss' in row]
    assert [row['step'] for row in logged] == [200, 400]
    assert all(0 <= row['training_accuracy'] <= 1 for row in logged)
    assert all(row['characters_per_second'] > 0 for row in logged)
    evaluated = [row for row in rows if 'character_accuracy' in row]
    assert [row['step'] for row in evaluated] == [200, 400]
    assert all(row['sequence_accuracy'] <= row['character_accuracy'] for row in evaluated)
    assert not any('level' in row for row in rows)  # a mix has one


def test_some_programs_are_shown_with_their_values_and_answers(whole):
    config, results = whole
    test = next(batches.held_out(config.setting(), 'test', 5))
    wanted = [''.join(setting.CHARACTERS[i] for i in test.inputs[:, b]) for b in range(5)]
    assert [text for text, _, _ in results['examples']] == wanted
    wrong = 0
    for text, value, answer in results['examples']:
        assert text == value
        assert len(answer) == 2
        wrong += sum(a != b for a, b in zip(value, answer, strict=True))
    assert wrong < 8
    lines = program.describe(config, results).splitlines()
    assert lines[0].split() == ['program', 'value', 'answer']
    assert [line.split() for line in lines[1:6]] == results['examples']
    assert lines[-1] == (
        f'{results["character_accuracy"]:.2%} of characters, {results["sequence_accuracy"]:.2%} of '
        f'answers of 400 test programs right, {results["eval_loss"]:.4f} nats a character'
    )


def test_lines_of_a_program_are_shown_on_one():
    ids = np.array([[setting.CHARACTERS.index(x)] * 5 for x in '1\n2'])
    batch = batches.Batch(ids, np.full((1, 5), 3), ids[[2, 0]], np.tile([[1.0], [0.0]], 5))
    assert program._examples(batch, ids[:2])[4] == ['1 ⏎ 2', '2', '1']


def test_the_papers_number_is_drawn_with_the_curve_of_its_own_task_only(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(plots, 'plot_curves', lambda *x, **options: seen.append((x, options)))
    rows = [{'step': 2, 'training_accuracy': 0.5}, {'step': 3, 'character_accuracy': 0.25}]
    changes = {}, {'length': 4}, {'dialect': 'zaremba'}, {'curriculum': 'naive'}
    for change in (*changes, {'task': 'algebra'}, {'task': 'copy', 'nesting': 1}):
        config = program.Config(**change)
        assert program.draw(config, str(tmp_path), rows, {}) == [str(tmp_path / 'accuracy.png')]
    baselines = [options['baselines'] for _, options in seen]
    assert baselines == [{"the paper's RMC": 0.79}, {}, {}, {}, {}, {}]
    (curves, path), options = seen[0]
    assert curves == {'training': [(2, 0.5)], 'validation': [(3, 0.25)]}
    assert path == str(tmp_path / 'accuracy.png')
    wanted = 'Relational Memory Core: Learning to Execute, program, nesting 2, length 5'
    assert options['title'] == wanted
    assert seen[3][1]['title'] == f'{options["title"]}, curriculum naive'


@pytest.mark.parametrize(
    ('words', 'wanted'),
    [
        ('--nesting=0', '--nesting: wanted at least 1, got 0'),
        ('--length=0', '--length: wanted at least 1, got 0'),
        ('--length=30', '--task=addition: wanted length up to 18, got 30'),
        ('--task=copy --nesting=2', '--task=copy: wanted nesting 1 for copy, got 2'),
        ('--task=subtraction', '--task: wanted one of addition, control, program'),
        ('--dialect=python', '--dialect: wanted one of sonnet, zaremba'),
        ('--curriculum=hard', '--curriculum: wanted one of mix, baseline, naive, combined'),
        ('--curriculum_every=0', '--curriculum_every: wanted at least 1'),
        ('--curriculum_threshold=1.5', '--curriculum_threshold: wanted at most 1'),
        ('--curriculum_patience=0', '--curriculum_patience: wanted at least 1'),
        ('--decoding=beam', '--decoding: wanted one of non_autoregressive, autoregressive'),
        ('--mode=play', '--mode: wanted one of train, evaluate'),
        ('--preset=huge', '--preset: wanted one of cpu, paper'),
        ('--shared_core=maybe', '--shared_core: wanted one of True, False'),
        ('--total_units=30', '--total_units: wanted a multiple'),
        ('--evaluation_size=0', '--evaluation_size: wanted at least 1'),
    ],
)
def test_bad_flags_get_one_line(words, wanted, capsys):
    assert _main(*words.split()) == errors.USAGE
    line = capsys.readouterr().err
    assert wanted in line
    assert line.count('\n') == 1


def test_only_the_sizes_of_evaluations_may_change_when_a_run_is_resumed():
    kinds = flags.on_resume(program.Config)
    own = kinds.keys() & program.Config.__annotations__.keys()
    own -= {'evaluation_size', 'final_evaluation_size'}
    assert {'task', 'nesting', 'length', 'decoding', 'curriculum', 'shared_core'} < own
    assert {kinds[name] for name in own} == {'fixed'}
    assert kinds['evaluation_size'] == kinds['final_evaluation_size'] == 'free'


@pytest.mark.parametrize('preset', program.PRESETS)
def test_presets_answer_by_the_papers_mlp(preset):
    shapes = _parameters(program.PRESETS[preset])
    (logits,) = [value for name, value in shapes.items() if name.endswith('logits')]
    assert logits['w'].shape == (256, V)


@pytest.mark.parametrize('preset', [name for name in program.PRESETS if name.startswith('paper')])
def test_presets_of_the_paper_train_as_it_did(preset):
    config = program.PRESETS[preset]
    assert (config.batch_size, config.learning_rate, config.schedule) == (128, 1e-3, 'constant')
    assert (config.clip_norm, config.num_steps, config.accumulate) == (0, 200_000, 1)
    assert (config.curriculum, config.decoding) == ('mix', 'non_autoregressive')
    assert (config.shared_core, config.final_evaluation_size) == (True, 12_800)
    assert config.core == [*preset.split('-'), 'rmc'][1]


def test_the_sizes_of_the_papers_cores():
    """The DNC's are those of its memorization tasks too, where its controller is feed-forward."""
    rmc = program.PRESETS['paper']
    assert (rmc.mem_slots, rmc.total_units, rmc.num_heads, rmc.num_blocks) == (4, 2048, 4, 1)
    assert (rmc.gate_style, rmc.task, rmc.nesting, rmc.length) == ('memory', 'program', 2, 5)
    lstm = program.PRESETS['paper-lstm']
    assert (lstm.lstm_layers, lstm.lstm_size) == (2, 1024)
    for name, controller in (('dnc', 'lstm'), ('dnc-memorization', 'feed_forward')):
        dnc = program.PRESETS[f'paper-{name}']
        sizes = dnc.dnc_memory_size, dnc.dnc_word_size, dnc.dnc_reads, dnc.dnc_writes
        assert (*sizes, dnc.dnc_controller) == (80, 64, 4, 1, controller)
        assert dnc.dnc_controller_size in (128, 256, 512)
    assert program.PRESETS['paper-dnc-memorization'].setting().memorizes
    entnet = program.PRESETS['paper-entnet']
    assert entnet.entnet_cells * entnet.entnet_size in (1024, 2048)
