"""Learning to Execute: the loss, evaluations, batches and curricula, and that it learns."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch import learning_to_execute as program
from launch.runs import errors, flags, metrics, plots
from tasks.learning_to_execute import batches as batches_lib
from tasks.learning_to_execute import setting, writing

pytestmark = pytest.mark.usefixtures('compile_quickly')
B, V = 7, setting.NUM_ANSWER_CHARACTERS
CONFIG = program.Config(
    task='algebra',
    nesting=2,
    length=2,
    mem_slots=2,
    total_units=16,
    num_heads=2,
    attention_mlp_layers=1,
    gate_style='memory',
    batch_size=B,
    evaluation_size=20,
    final_evaluation_size=20,
)


@pytest.fixture(scope='module')
def batch():
    return batches_lib.sample(CONFIG.setting(), 'mix', 0, 'train', 3, 5, B)


def _make(seed=0, **changes):
    """Returns a network and parameters."""
    network = program.make_network(dataclasses.replace(CONFIG, **changes))
    return network, network.init(jax.random.key(seed))


def _loop(logits, batch):
    """Returns nll, right characters, characters, right answers and answers, in float64."""
    logits, sums = np.float64(logits), np.zeros(5)
    for b in range(batch.inputs.shape[1]):
        length = int(batch.weights[:, b].sum())
        right = 0
        for t in range(length):
            scores, wanted = logits[t, b], int(batch.targets[t, b])
            sums[0] += np.log(np.exp(scores - scores.max()).sum()) + scores.max() - scores[wanted]
            right += int(np.argmax(scores)) == wanted
        sums[1:] += [right, length, right == length and length > 0, length > 0]
    return sums


def test_the_loss_is_that_of_a_loop_over_the_true_answers(batch):
    network, params = _make()
    found = program.loss(network, params, batch)
    wanted = _loop(network.logits(params, batch, True), batch)
    assert 0 < wanted[2] < batch.targets.size  # some answers are shorter
    assert [float(x) for x in found['loss']] == pytest.approx(wanted[[0, 2]], rel=1e-5)
    assert [float(x) for x in found['training_accuracy']] == wanted[[1, 2]].tolist()


def _fixed(answers):
    """Returns a network whose logits are large for these characters [A, B]."""
    logits = 20.0 * jax.nn.one_hot(np.array(answers), V)
    return program.Network(None, lambda params, batch, teacher: params * logits)


def test_measures_are_those_that_can_be_counted_by_hand():
    """Values 12, 3 and 45, padded; answers 12, 3 and 44, and something behind the end of 3."""
    batch = batches_lib.Batch(
        np.ones((4, 4), np.int32),
        np.full((1, 4), 4, np.int32),
        np.array([[1, 3, 4, 7], [2, 0, 5, 0]], np.int32),
        np.array([[1, 1, 1, 0], [1, 0, 1, 0]], np.float32),
    )
    evaluate = program.make_evaluate(_fixed([[1, 3, 4, 7], [2, 8, 4, 6]]))
    values = evaluate(jnp.float32(1), [batch])
    assert values['character_accuracy'] == pytest.approx(4 / 5)
    assert values['sequence_accuracy'] == pytest.approx(2 / 3)
    assert values['eval_loss'] == pytest.approx(20 / 5, rel=1e-4)
    changed = batch._replace(targets=batch.targets + np.int32(batch.weights == 0))
    assert evaluate(jnp.float32(1), [changed]) == values
    assert evaluate(jnp.float32(1), iter([batch, batch])) == pytest.approx(values)


def test_measures_are_those_of_a_loop_over_what_the_network_answers_by_itself(batch):
    network, params = _make(decoding='teacher_forcing')
    values = program.make_evaluate(network)(params, [batch])
    nll, right, characters, whole, count = _loop(network.logits(params, batch, False), batch)
    assert values['eval_loss'] == pytest.approx(nll / characters, rel=1e-5)
    assert values['character_accuracy'] == pytest.approx(right / characters)
    assert values['sequence_accuracy'] == pytest.approx(whole / count)
    assert count == B


@pytest.mark.parametrize('decoding', ['non_autoregressive', 'autoregressive', 'teacher_forcing'])
def test_an_evaluation_gives_the_network_nothing_of_the_answer(decoding, batch):
    network, params = _make(decoding=decoding)
    other = batch._replace(targets=(batch.targets + 3) % V)
    taught = [np.asarray(network.logits(params, each, True)) for each in (batch, other)]
    alone = [np.asarray(network.logits(params, each, False)) for each in (batch, other)]
    np.testing.assert_array_equal(*alone)
    assert alone[0].shape == (*batch.targets.shape, V)
    assert np.array_equal(*taught) == (decoding != 'teacher_forcing')


def test_cores_are_one_or_two():
    shared, own = (_make(shared_core=shared)[1] for shared in (True, False))
    names = {name.split('/')[0] for name in shared}
    assert names == {'relational_memory', 'sequence_to_sequence'}
    assert {name.split('/')[0] for name in own} == {*names, 'relational_memory_1'}


@pytest.mark.parametrize('size', [5, 256, 300])
def test_as_many_programs_are_held_out_as_are_asked_for_and_the_first_are_the_same(size):
    found = list(program.held_out(CONFIG, 'valid', size))
    present = np.concatenate([each.weights.any(axis=0) for each in found])
    assert present.tolist() == [True] * size + [False] * (len(present) - size)
    more = next(program.held_out(CONFIG, 'valid', 1000))
    np.testing.assert_array_equal(more.inputs, found[0].inputs)


def _texts(batches):
    return {
        writing.decode(each.inputs[: each.lengths[0, b], b])
        for each in batches
        for b in range(each.inputs.shape[1])
    }


def test_programs_are_of_the_full_difficulty_or_of_a_level():
    full = _texts(program.held_out(CONFIG, 'test', 256))
    easy = _texts(program.held_out(CONFIG, 'train', 256, level=0))
    assert all(text.startswith('(') for text in full)
    assert all(len(text) == 3 and text[0].isdigit() for text in easy)
    assert not full & _texts(program.held_out(CONFIG, 'valid', 256))


COPY = dataclasses.replace(CONFIG, task='copy', nesting=1, total_units=64, batch_size=32)


def test_it_learns_to_copy_and_shows_examples(tmp_path, capsys):
    config = dataclasses.replace(
        COPY,
        run_dir=str(tmp_path),
        learning_rate=0.005,
        num_steps=400,
        clip_norm=1.0,
        warmup_steps=20,
        log_every=200,
        evaluate_every=200,
        evaluation_size=300,
        final_evaluation_size=400,
    )
    found = program.run(config)
    assert 0.6 < found['character_accuracy'] == found['test']
    assert found['sequence_accuracy'] <= found['character_accuracy']
    settings = {name: found[name] for name in ('task', 'nesting', 'length', 'decoding')}
    wanted = {'task': 'copy', 'nesting': 1, 'length': 2, 'decoding': 'non_autoregressive'}
    assert settings == wanted
    assert (found['curriculum'], found['dialect'], found['sequences']) == ('mix', 'sonnet', 400)
    for text, value, answer in found['examples']:
        assert text == value
        assert len(answer) == len(value) == 2
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if line.startswith('program ')] == [
        ['program', 'value', 'answer']
    ]
    rows = metrics.read_metrics(tmp_path / 'metrics.jsonl')
    logged = [row for row in rows if 'loss' in row]
    assert [row['step'] for row in logged] == [200, 400]
    assert all(row['characters_per_second'] > 0 for row in logged)
    assert not any('level' in row for row in rows)  # a mix has one


@pytest.fixture
def asked(monkeypatch):
    """Returns what batches are asked for from now on: curriculum, level and split, in order."""
    found, sample = [], batches_lib.sample

    def recorded(setting, curriculum, level, split, *numbers):
        found.append((curriculum, level, split))
        return sample(setting, curriculum, level, split, *numbers)

    monkeypatch.setattr(batches_lib, 'sample', recorded)
    return found


def test_training_reads_its_own_split_and_evaluations_read_others(asked):
    task = program.build(dataclasses.replace(COPY, curriculum='combined'))
    asked.clear()
    task.batch(4, 1)
    assert asked == [('combined', 1, 'train')]
    params = task.init(jax.random.key(0))
    for evaluate, split in ((task.evaluate, 'valid'), (lambda p: task.test(p, False), 'test')):
        asked.clear()
        evaluate(params)
        assert set(asked) == {('baseline', 0, split)}


def test_a_level_is_judged_by_the_accuracy_of_its_own_programs(asked, monkeypatch):
    config = dataclasses.replace(COPY, curriculum='combined', curriculum_threshold=0.5)
    for accuracy, passes in ((0.4, False), (0.5, True)):
        measure = lambda params, parts, found=accuracy: (  # noqa: E731
            list(parts) and {'character_accuracy': found}
        )
        monkeypatch.setattr(program, 'make_evaluate', lambda network, m=measure: m)
        task = program.build(config)
        asked.clear()
        assert task.curriculum.passes({}, 1) == passes
        assert set(asked) == {('naive', 1, 'valid')}
    assert task.curriculum.num_levels == 2


@pytest.mark.parametrize(
    'changes',
    [
        {'decoding': 'teacher_forcing', 'shared_core': False},
        {'core': 'lstm', 'lstm_layers': 2, 'dialect': 'zaremba', 'task': 'program', 'nesting': 2},
        {'core': 'dnc', 'dnc_memory_size': 3, 'dnc_word_size': 4, 'dnc_reads': 1},
        {'core': 'entnet', 'task': 'control', 'nesting': 2, 'shared_core': False},
        {'core': 'transformer', 'transformer_layers': 1, 'decoding': 'autoregressive'},
    ],
)
def test_other_decodings_cores_and_tasks_have_gradients(changes):
    config = dataclasses.replace(COPY, batch_size=3, **changes)
    network = program.make_network(config)
    batch = batches_lib.sample(config.setting(), 'mix', 0, 'train', 0, 0, 3)
    params = network.init(jax.random.key(0))
    grads = jax.grad(lambda p: program.loss(network, p, batch)['loss'].total)(params)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(grads))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(grads))


def test_the_elements_of_a_batch_are_sorted_by_length_in_the_share_of_each_device():
    lengths = np.array([5, 1, 4, 8, 2, 7, 3, 6])
    order = program.by_length(lengths, 1)
    np.testing.assert_array_equal(lengths[order], [1, 2, 3, 4, 5, 6, 7, 8])
    order = program.by_length(lengths, 2)
    np.testing.assert_array_equal(lengths[order], [1, 3, 5, 7, 2, 4, 6, 8])


def _elements_of(batch):
    """Returns all of each of a batch's elements, sorted."""
    leaves = [np.moveaxis(leaf, 1, 0) for leaf in jax.tree.leaves(batch)]
    return sorted(np.concatenate([x.reshape(len(x), -1) for x in leaves], axis=1).tolist())


def test_a_batch_is_that_of_the_task_whatever_the_order_of_its_elements():
    config = dataclasses.replace(CONFIG, task='addition', batch_size=32)
    got = program.build(config).batch(3, 0)
    wanted = batches_lib.sample(config.setting(), 'mix', 0, 'train', 0, 3, 32)
    assert _elements_of(got) == _elements_of(wanted)
    assert (np.diff(got.lengths[0]) >= 0).all()


def test_the_papers_number_is_drawn_for_its_own_task_only(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(plots, 'plot_curves', lambda *args, **facts: seen.append(facts))
    copying = {'task': 'copy', 'nesting': 1}
    changes = {}, {'length': 4}, {'dialect': 'zaremba'}, {'task': 'algebra'}, copying
    for change in (*changes, {'curriculum': 'naive'}):
        program.draw(program.Config(**change), str(tmp_path), [], {})
    baselines = [facts['baselines'] for facts in seen]
    assert baselines == [{"the paper's RMC": 0.79}, {}, {}, {}, {}, {}]


def test_titles_name_a_curriculum():
    assert program.title(CONFIG) == 'algebra, nesting 2, length 2'
    changed = dataclasses.replace(CONFIG, curriculum='naive')
    assert program.title(changed).endswith(', curriculum naive')


@pytest.mark.parametrize(
    ('words', 'wanted'),
    [
        ('--nesting=0', '--nesting: wanted at least 1, got 0'),
        ('--length=0', '--length: wanted at least 1, got 0'),
        ('--task=program --length=30', '--task=program: wanted'),
        ('--task=copy --nesting=2', '--task=copy: wanted nesting 1 for copy, got 2'),
        ('--task=subtraction', '--task: wanted one of addition, control, program'),
        ('--dialect=python', '--dialect: wanted one of sonnet, zaremba'),
        ('--curriculum=hard', '--curriculum: wanted one of mix, baseline, naive, combined'),
        ('--curriculum_every=0', '--curriculum_every: wanted at least 1'),
        ('--curriculum_threshold=1.5', '--curriculum_threshold: wanted at most 1'),
        ('--decoding=beam', '--decoding: wanted one of non_autoregressive, autoregressive'),
        ('--mode=play', '--mode: wanted one of train, evaluate'),
        ('--mode=evaluate', '--mode=evaluate: wanted --run_dir=DIR'),
        ('--preset=huge', '--preset: wanted one of cpu, paper'),
        ('--hint_weight=1', 'no flag --hint_weight'),
        ('--shared_core=maybe', '--shared_core: wanted one of True, False'),
        ('--evaluation_size=0', '--evaluation_size: wanted at least 1'),
    ],
)
def test_bad_flags_get_one_line(words, wanted, capsys):
    facts = program.Config, program.run, 'learning_to_execute', program.PRESETS
    assert flags.main(*facts, words.split()) == errors.USAGE
    line = capsys.readouterr().err
    assert wanted in line
    assert line.count('\n') == 1


def test_a_split_without_programs_ends_a_run_at_its_start(monkeypatch):
    sample = batches_lib.sample

    def without_tests(setting, curriculum, level, split, *numbers):
        if split == 'test':
            raise ValueError('wanted 1 samples, got 0')
        return sample(setting, curriculum, level, split, *numbers)

    monkeypatch.setattr(batches_lib, 'sample', without_tests)
    wanted = '--task=copy: wanted 1 samples, got 0'
    with pytest.raises(errors.RunError, match=wanted) as stop:
        program.build(COPY)
    assert stop.value.code == errors.USAGE


def test_presets_of_the_paper_train_as_it_did():
    papers = {name: x for name, x in program.PRESETS.items() if name.startswith('paper')}
    for name, config in papers.items():
        assert (config.batch_size, config.learning_rate, config.schedule) == (128, 1e-3, 'constant')
        assert (config.clip_norm, config.num_steps, config.accumulate) == (0, 200_000, 1)
        assert (config.curriculum, config.decoding) == ('mix', 'non_autoregressive')
        assert (config.shared_core, config.final_evaluation_size) == (True, 12_800)
        assert config.core == {'paper': 'rmc'}.get(name, name.split('-')[-1]) or 'dnc' in name
    paper, lstm, entnet = (papers[f'paper{core}'] for core in ('', '-lstm', '-entnet'))
    assert (paper.mem_slots, paper.total_units, paper.num_heads) == (4, 2048, 4)
    assert (paper.gate_style, paper.num_blocks, paper.task) == ('memory', 1, 'program')
    assert (lstm.lstm_layers, lstm.lstm_size) == (2, 1024)
    assert (entnet.entnet_cells, entnet.entnet_size) == (4, 256)
    dnc = papers['paper-dnc']
    sizes = dnc.dnc_memory_size, dnc.dnc_word_size, dnc.dnc_reads, dnc.dnc_controller_layers
    assert (sizes, dnc.dnc_controller_size) == ((80, 64, 4, 2), 256)
    strings = papers['paper-dnc-memorization']
    assert (strings.task, strings.nesting, strings.dnc_controller) == ('copy', 1, 'feed_forward')
