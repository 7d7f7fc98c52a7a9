"""The program from end to end on small tasks: it learns, goes on, evaluates, complains."""

import gc
import json

import jax
import numpy as np
import pytest

from launch import learning_to_execute
from launch.runs import errors, metrics, plots
from launch.runs import flags as flags_lib
from launch.training import learning_to_execute_model, saved_run
from tasks.learning_to_execute import batches
from tests.support import saved_bytes

pytestmark = pytest.mark.usefixtures('compile_quickly', 'compile_once')
NUM_STEPS = 300
SIZES = (
    '--task=copy --nesting=1 --length=2 --mem_slots=2 --total_units=64 --batch_size=32 '
    f'--accumulate=2 --num_steps={NUM_STEPS} --log_every=100 --evaluate_every=150 '
    '--save_every=150 --learning_rate=0.005 --warmup_steps=20 --evaluation_size=300 '
    '--final_evaluation_size=400'
)


@pytest.fixture(autouse=True)
def _forget_what_a_test_compiled():
    """As after every file, see `conftest`: here every test trains."""
    yield
    jax.clear_caches()
    gc.collect()


def _flags(run_dir, *more):
    return [*SIZES.split(), *more, f'--run_dir={run_dir}']


def _config(*flags):
    return flags_lib.parse(
        learning_to_execute.Config, flags, 'learning_to_execute', learning_to_execute.PRESETS
    )


def _main(*flags):
    facts = learning_to_execute.run, 'learning_to_execute', learning_to_execute.PRESETS
    return flags_lib.main(learning_to_execute.Config, *facts, flags)


@pytest.fixture(scope='module')
def whole(tmp_path_factory, compile_quickly, compile_once):
    """Returns the directory of a finished run, and what it returned."""
    run_dir = tmp_path_factory.mktemp('whole') / 'run'
    return run_dir, learning_to_execute.run(_config(*_flags(run_dir)))


def test_it_learns_and_says_what_it_is(whole):
    run_dir, results = whole
    assert results['character_accuracy'] > 0.6
    evaluation = json.loads((run_dir / 'evaluation.json').read_text())
    wanted = {
        'program': 'learning_to_execute',
        'core': 'rmc',
        'task': 'copy',
        'nesting': 1,
        'length': 2,
        'dialect': 'sonnet',
        'decoding': 'non_autoregressive',
        'step': NUM_STEPS,
        'sequences': 400,
        'test': results['character_accuracy'],
        **results,
    }
    assert evaluation == wanted
    assert set(results) == {'character_accuracy', 'sequence_accuracy', 'eval_loss'}
    assert results['sequence_accuracy'] <= results['character_accuracy']
    about = json.loads((run_dir / 'run.json').read_text())
    assert (about['program'], about['measure']) == ('learning_to_execute', 'character_accuracy')
    assert (about['unit'], about['units_per_update']) == ('sequences', 32)
    assert about['higher_is_better'] is True
    assert (run_dir / 'accuracy.png').read_bytes().startswith(b'\x89PNG')


def test_its_log_tells_accuracies(whole):
    rows = metrics.read_metrics(whole[0] / 'metrics.jsonl')
    logged = [row for row in rows if 'loss' in row]
    assert [row['step'] for row in logged] == [100, 200, 300]
    assert all(0 <= row['training_accuracy'] <= 1 for row in logged)
    assert all(row['characters_per_second'] > 0 for row in logged)
    evaluated = [row for row in rows if 'character_accuracy' in row]
    assert [row['step'] for row in evaluated] == [150, 300]
    assert all(row['sequence_accuracy'] <= row['character_accuracy'] for row in evaluated)
    assert not any('level' in row for row in rows)  # a mix has one


def test_evaluating_again_gives_the_same_numbers_and_some_answers(whole, capsys):
    run_dir, results = whole
    before = (run_dir / 'evaluation.json').read_text()
    assert _main('--mode=evaluate', f'--run_dir={run_dir}', '--final_evaluation_size=400') == 0
    assert (run_dir / 'evaluation.json').read_text() == before
    lines = capsys.readouterr().out.splitlines()
    assert f'{results["character_accuracy"]:.2%} of characters' in lines[-1]
    assert 'of 400 test programs right' in lines[-1]
    assert lines[-8].split() == ['program', 'prints', 'the', 'network', 'says']
    rows = [line.split() for line in lines[-7:-2]]
    assert len(rows) == learning_to_execute.NUM_SHOWN
    for program, printed, said in rows:
        assert program == printed
        assert len(said) == len(printed) == 2
    wrong = sum(a != b for row in rows for a, b in zip(*row[1:], strict=True))
    assert wrong < 10


@pytest.fixture
def splits(monkeypatch):
    """Returns what batches are asked for from now on: curriculum, level and split, in order."""
    asked, made = [], batches.batch

    def batch(setting, curriculum, level, split, seed, step, batch_size, hints=False):
        asked.append((curriculum, level, split))
        return made(setting, curriculum, level, split, seed, step, batch_size, hints)

    monkeypatch.setattr(batches, 'batch', batch)
    return asked


def test_an_evaluation_sees_test_programs_of_the_full_difficulty_only(whole, splits):
    assert _main('--mode=evaluate', f'--run_dir={whole[0]}', '--final_evaluation_size=400') == 0
    assert set(splits) == {('baseline', 0, 'test')}


def test_training_reads_its_own_split_and_validates_on_another(tmp_path, splits):
    config = _config(*_flags(tmp_path, '--curriculum=combined'))
    model = learning_to_execute_model.make_model(config)
    measure = learning_to_execute_model.make_evaluation(model)
    task = learning_to_execute._make_task(config, model, measure)
    task.batch(4, 1)
    assert splits == [('combined', 1, 'train')]
    splits.clear()
    task.evaluate(model.init(jax.random.key(0)))
    assert set(splits) == {('baseline', 0, 'valid')}


_FEW = '--evaluation_size=20', '--final_evaluation_size=20'


def test_stopped_at_any_update_and_gone_on_with_it_ends_in_equal_bytes(tmp_path):
    same = *_FEW, '--schedule=constant', '--curriculum=combined', '--curriculum_every=3'
    same = *same, '--curriculum_threshold=0'
    for last in (1, 3, 5, 10):
        every = f'--log_every={last}', f'--evaluate_every={last + 1}', f'--save_every={last + 2}'
        assert _main(*_flags(tmp_path / 'run', *same, *every, f'--num_steps={last}')) == 0
    assert _main(*_flags(tmp_path / 'other', *same, '--num_steps=10')) == 0
    digest = saved_bytes.digest(tmp_path / 'run', 10)
    assert digest == saved_bytes.digest(tmp_path / 'other', 10)
    assert _main(*_flags(tmp_path / 'seed', *same, '--num_steps=10', '--seed=1')) == 0
    assert saved_bytes.digest(tmp_path / 'seed', 10) != digest


@pytest.mark.parametrize(
    ('threshold', 'patience', 'levels'), [(0, 9, [(4, 1)]), (1, 9, []), (1, 2, [(8, 1)])]
)
def test_a_level_is_left_where_its_accuracy_is_reached_or_patience_ends(
    threshold, patience, levels, tmp_path
):
    """There are two levels: one digit, two digits."""
    flags = '--curriculum=naive', '--curriculum_every=4', f'--curriculum_threshold={threshold}'
    flags = *flags, f'--curriculum_patience={patience}'
    assert _main(*_flags(tmp_path, *flags, *_FEW, '--num_steps=10')) == 0
    rows = metrics.read_metrics(tmp_path / 'metrics.jsonl')
    assert [(row['step'], row['level']) for row in rows if 'level' in row] == levels


def test_the_accuracy_that_a_level_is_judged_by_is_that_of_its_own_programs(tmp_path, splits):
    config = _config(*_flags(tmp_path, '--curriculum=combined', '--curriculum_threshold=0.5'))
    model = learning_to_execute_model.make_model(config)
    for accuracy, passes in ((0.4, False), (0.5, True)):
        measure = lambda *args, found=accuracy: list(args[1]) and {'character_accuracy': found}  # noqa: E731
        task = learning_to_execute._make_task(config, model, measure)
        assert task.curriculum.passes({}, 1) == passes
    assert set(splits) == {('naive', 1, 'valid')}


@pytest.mark.parametrize(
    'flags',
    [
        '--decoding=autoregressive',
        '--decoding=teacher_forcing --shared_core=False',
        '--core=lstm --lstm_layers=2 --dialect=zaremba --task=program --nesting=2',
        '--core=dnc --dnc_memory_size=3 --dnc_word_size=4 --dnc_reads=1 --task=double',
        '--core=entnet --task=control --nesting=2 --shared_core=False',
        '--core=lstm --task=addition --nesting=2 --hint_weight=0 --decoding=autoregressive',
        '--task=program --nesting=2 --decoding=teacher_forcing --shared_core=False',
        '--core=transformer --transformer_layers=1 --task=reverse --curriculum=baseline',
    ],
)
def test_other_decodings_cores_and_tasks_train(flags, tmp_path, capsys):
    more = *_FEW, '--num_steps=2', '--accumulate=1'
    config = _config(*_flags(tmp_path / 'run', *more, *flags.split()))
    results = learning_to_execute.run(config)
    assert 0 <= results['character_accuracy'] < 0.7
    assert f'{config.core}: ' in capsys.readouterr().out


def test_rows_are_those_of_the_batch_sorted_by_length_in_the_share_of_each_device():
    lengths = np.array([5, 1, 4, 8, 2, 7, 3, 6])
    order = learning_to_execute.by_length(lengths, 1)
    np.testing.assert_array_equal(lengths[order], [1, 2, 3, 4, 5, 6, 7, 8])
    order = learning_to_execute.by_length(lengths, 2)
    np.testing.assert_array_equal(lengths[order], [1, 3, 5, 7, 2, 4, 6, 8])


def _rows_of(batch):
    """Returns all that a batch tells of each of its rows, sorted."""
    leaves = [np.moveaxis(leaf, 1, 0) for leaf in jax.tree.leaves(batch)]
    return sorted(np.concatenate([x.reshape(len(x), -1) for x in leaves], axis=1).tolist())


@pytest.mark.parametrize('flags', ['--length=5', '--task=addition --nesting=2 --hint_weight=2'])
def test_a_batch_is_that_of_the_task_whatever_the_order_of_its_rows(flags, tmp_path):
    config = _config(*_flags(tmp_path, *flags.split()))
    model = learning_to_execute_model.make_model(config)
    measure = learning_to_execute_model.make_evaluation(model)
    got = learning_to_execute._make_task(config, model, measure).batch(3, 0)
    hints = config.uses_hints()
    assert (got.hints is not None) == hints
    wanted = batches.batch(config.setting(), 'mix', 0, 'train', 0, 3, 32, hints)
    assert _rows_of(got) == _rows_of(wanted)
    assert (np.diff(got.lengths[0]) >= 0).all()


def test_an_update_in_parts_is_nearly_the_same(tmp_path):
    found = []
    for parts in (1, 4):
        run_dir = tmp_path / str(parts)
        sizes = *_FEW, '--num_steps=5', '--log_every=5'
        assert _main(*_flags(run_dir, f'--accumulate={parts}', *sizes)) == 0
        rows = metrics.read_metrics(run_dir / 'metrics.jsonl')
        found.append(next(row['loss'] for row in rows if 'loss' in row))
    assert found[0] == pytest.approx(found[1], rel=1e-3)


def test_the_papers_number_stands_beside_the_curve_of_its_own_task_only(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(plots, 'plot_curves', lambda *args, **facts: seen.append(facts))
    copying = {'task': 'copy', 'nesting': 1}
    for changes in ({}, {'length': 4}, {'dialect': 'zaremba'}, {'task': 'algebra'}, copying):
        learning_to_execute._draw(learning_to_execute.Config(**changes), str(tmp_path))
    baselines = [facts['baselines'] for facts in seen]
    assert baselines == [{"the paper's RMC": 0.79}, {}, {}, {}, {}]


@pytest.mark.parametrize(
    ('flags', 'wanted'),
    [
        ('--nesting=0', '--nesting: wanted at least 1, got 0'),
        ('--length=0', '--length: wanted at least 1, got 0'),
        ('--length=30', '--task=program: wanted values of program within'),
        ('--task=copy', '--task=copy: wanted nesting 1 for copy, got 2'),
        ('--task=subtraction', '--task: wanted one of addition, control, program'),
        ('--dialect=python', '--dialect: wanted one of sonnet, zaremba'),
        ('--curriculum=hard', '--curriculum: wanted one of mix, baseline, naive, combined'),
        ('--curriculum_every=0', '--curriculum_every: wanted at least 1'),
        ('--curriculum_threshold=1.5', '--curriculum_threshold: wanted at most 1'),
        ('--decoding=beam', '--decoding: wanted one of non_autoregressive, autoregressive'),
        ('--mode=play', '--mode: wanted one of train, evaluate'),
        ('--mode=evaluate', '--mode=evaluate: wanted --run_dir=DIR'),
        ('--preset=huge', '--preset: wanted one of paper'),
        ('--shared_core=maybe', '--shared_core: wanted one of True, False'),
        ('--evaluation_size=0', '--evaluation_size: wanted at least 1'),
    ],
)
def test_bad_flags_get_one_line(flags, wanted, capsys):
    assert _main(*flags.split()) == errors.USAGE
    line = capsys.readouterr().err
    assert wanted in line
    assert line.count('\n') == 1


def test_a_split_without_programs_ends_a_run_at_its_start_with_one_line(
    tmp_path, monkeypatch, capsys
):
    made = batches.batch

    def batch(setting, curriculum, level, split, *numbers):
        if split == 'test':
            raise ValueError('wanted 1 samples, got 0')
        return made(setting, curriculum, level, split, *numbers)

    monkeypatch.setattr(batches, 'batch', batch)
    assert _main(*_flags(tmp_path / 'run')) == errors.USAGE
    captured = capsys.readouterr()
    assert captured.err == 'learning_to_execute: --task=copy: wanted 1 samples, got 0\n'
    assert captured.out == ''


@pytest.mark.parametrize(
    'flag', ['--length=3', '--decoding=autoregressive', '--curriculum=naive', '--shared_core=False']
)
def test_another_task_does_not_fit_the_checkpoint(flag, whole, capsys):
    assert _main(*_flags(whole[0], flag)) == errors.MISMATCH
    assert flag[2:].split('=')[0] in capsys.readouterr().err


def test_what_is_no_run_gets_one_line(tmp_path, capsys):
    assert _main('--mode=evaluate', f'--run_dir={tmp_path}') == errors.BAD_DATA
    assert 'wanted the directory of a trained run' in capsys.readouterr().err


@pytest.mark.parametrize('preset', sorted(learning_to_execute.PRESETS))
def test_presets_make_networks_that_answer(preset):
    config = learning_to_execute.PRESETS[preset]
    model = learning_to_execute_model.make_model(config)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    (logits,) = [value for name, value in shapes.items() if name.endswith('logits')]
    assert logits['w'].shape == (256, learning_to_execute_model.NUM_CLASSES)


def test_presets_of_the_paper_train_as_it_did():
    sizes = {'paper': ('rmc', 4, 2048, 4, 'memory'), 'paper-lstm': ('lstm',), 'cpu': None}
    papers = [name for name in learning_to_execute.PRESETS if name.startswith('paper')]
    assert {*papers, 'cpu'} > set(sizes)
    for name in papers:
        config = learning_to_execute.PRESETS[name]
        assert (config.batch_size, config.learning_rate, config.schedule) == (128, 1e-3, 'constant')
        assert (config.clip_norm, config.num_steps, config.accumulate) == (0, 200_000, 1)
        assert (config.curriculum, config.decoding) == ('mix', 'non_autoregressive')
        assert (config.shared_core, config.final_evaluation_size) == (True, 12_800)
        assert config.core == {'paper': 'rmc'}.get(name, name.split('-')[-1]) or 'dnc' in name
    config = learning_to_execute.PRESETS['paper']
    assert (config.mem_slots, config.total_units, config.num_heads) == (4, 2048, 4)
    assert (config.gate_style, config.num_blocks) == ('memory', 1)


def test_a_resumed_run_may_change_what_is_free(whole):
    config = _config(*_flags(whole[0], '--evaluation_size=5', '--final_evaluation_size=7'))
    saved_run.resume(config, str(whole[0]))
