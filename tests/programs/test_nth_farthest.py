"""The program from end to end on a small task: it learns, goes on, evaluates, complains."""

import json

import jax
import numpy as np
import pytest

from launch import nth_farthest
from launch.inspection import tracing
from launch.runs import errors, metrics, plots
from launch.runs import flags as flags_lib
from launch.training import loop, nth_farthest_model, seeds
from tests.support import saved_bytes

pytestmark = pytest.mark.usefixtures('compile_once')
NUM_STEPS = 900
SIZES = (
    '--num_objects=3 --num_dims=1 --mem_slots=2 --total_units=64 --batch_size=32 '
    f'--num_steps={NUM_STEPS} --log_every=150 --evaluate_every=450 --save_every=300 '
    '--learning_rate=0.002 --warmup_steps=20 --evaluation_size=400 --final_evaluation_size=1000'
)


def _flags(run_dir, *more):
    return [*SIZES.split(), *more, f'--run_dir={run_dir}']


def _main(*flags):
    return flags_lib.main(
        nth_farthest.Config, nth_farthest.run, 'nth_farthest', nth_farthest.PRESETS, flags
    )


@pytest.fixture(scope='module')
def whole(tmp_path_factory, compile_once):
    """Returns the directory of a finished run, and what it returned."""
    run_dir = tmp_path_factory.mktemp('whole') / 'run'
    config = flags_lib.parse(
        nth_farthest.Config, _flags(run_dir), 'nth_farthest', nth_farthest.PRESETS
    )
    return run_dir, nth_farthest.run(config)


def test_it_learns_more_than_the_trivial_rule(whole):
    run_dir, results = whole
    trivial = 1 / 3 + 2 / 3 * 1 / 2
    assert results['accuracy'] > trivial + 0.1
    evaluation = json.loads((run_dir / 'evaluation.json').read_text())
    assert evaluation['test'] == evaluation['accuracy'] == results['accuracy']
    assert evaluation['sequences'] == 1000
    assert (run_dir / 'accuracy.png').read_bytes().startswith(b'\x89PNG')
    about = json.loads((run_dir / 'run.json').read_text())
    assert (about['program'], about['measure']) == ('nth_farthest', 'accuracy')
    assert about['higher_is_better'] is True


def test_its_log_tells_accuracy_and_distances(whole):
    rows = metrics.read_metrics(whole[0] / 'metrics.jsonl')
    logged = [row for row in rows if 'loss' in row]
    assert [row['step'] for row in logged] == list(range(150, NUM_STEPS + 1, 150))
    assert all(0 <= row['training_accuracy'] <= 1 and row['distance_error'] > 0 for row in logged)
    assert [row['step'] for row in rows if 'accuracy' in row] == [450, 900]


def test_stopped_at_any_update_and_gone_on_with_it_ends_in_equal_bytes(tmp_path):
    """However often it logs, evaluates and saves, so however many updates a call makes."""
    run_dir = tmp_path / 'run'
    for last, log_every in ((7, 3), (120, 50), (200, 37)):
        more = f'--num_steps={last}', f'--log_every={log_every}', '--evaluate_every=90'
        assert _main(*_flags(run_dir, *more, '--schedule=constant')) == 0
    other = tmp_path / 'other'
    assert _main(*_flags(other, '--schedule=constant', '--num_steps=200')) == 0
    assert saved_bytes.digest(run_dir, 200) == saved_bytes.digest(other, 200)
    assert _main(*_flags(tmp_path / 'seed', '--num_steps=200', '--seed=1')) == 0
    assert saved_bytes.digest(tmp_path / 'seed', 200) != saved_bytes.digest(other, 200)


def test_evaluating_again_gives_the_same_numbers(whole, capsys):
    run_dir, results = whole
    assert _main('--mode=evaluate', f'--run_dir={run_dir}', '--final_evaluation_size=1000') == 0
    assert f'{results["accuracy"]:.2%} of 1,000 held-out sequences right' in capsys.readouterr().out


@pytest.mark.parametrize('core', ['lstm', 'dnc'])
def test_baselines_train(core, tmp_path, capsys):
    flags = f'--core={core}', '--num_steps=5', '--dnc_memory_size=3', '--dnc_word_size=4'
    small = '--dnc_reads=1', '--dnc_controller_size=6', '--preset=cpu'
    assert _main(*_flags(tmp_path / 'run', *flags, *small)) == 0
    assert f'{core}: ' in capsys.readouterr().out


def test_an_update_in_parts_is_nearly_the_same(tmp_path):
    found = []
    for parts in (1, 2):
        run_dir = tmp_path / str(parts)
        sizes = '--num_steps=20', '--log_every=20', '--final_evaluation_size=100'
        assert _main(*_flags(run_dir, f'--accumulate={parts}', *sizes)) == 0
        rows = metrics.read_metrics(run_dir / 'metrics.jsonl')
        found.append(next(row['loss'] for row in rows if 'loss' in row))
    assert found[0] == pytest.approx(found[1], rel=1e-3)


def test_its_inside_is_told_in_the_tasks_terms(whole):
    request = tracing.Request(str(whole[0]), 3, 40, 1, '')
    subject = tracing.open_run(request)
    assert len(subject.examples) == 3
    for example in subject.examples:
        assert example.inputs.shape == (3, 1 + 3 * 3)
        labels = example.inputs[:, 1:4].argmax(axis=1)
        n, m = example.inputs[0, 4:].reshape(2, 3).argmax(axis=1)
        vectors = example.inputs[:, :1]
        at = labels.tolist().index(m)
        distances = np.linalg.norm(vectors - vectors[at], axis=1)
        answer = labels[np.argsort(-distances)[n]]
        assert [step.label for step in example.steps] == [f'vector {i + 1}' for i in labels]
        assert example.steps[-1].truth == f'vector {answer + 1}'
        assert [bool(step.mark) for step in example.steps] == [i == at for i in range(3)]
        assert f'n = {n}, m = {m + 1}' in example.steps[0].note
        for step in example.steps:
            assert sum(each.probability for each in step.answers) == pytest.approx(1, abs=1e-5)
    looks = tracing.look_inside(subject)
    assert looks[0].attention[0].shape[0] == 3


def test_the_inside_of_a_run_has_no_prompt_and_needs_room(whole):
    for prompt, max_steps, wanted in (('words', 40, '--prompt'), ('', 2, '--max_steps')):
        with pytest.raises(errors.RunError, match=wanted) as stop:
            tracing.open_run(tracing.Request(str(whole[0]), 1, max_steps, 0, prompt))
        assert stop.value.code == errors.USAGE


@pytest.fixture(scope='module')
def side_by_side(tmp_path_factory, compile_once):
    """Returns the directory of a run of the seeds 3 and 4, stopped once and gone on with."""
    run_dir = tmp_path_factory.mktemp('seeds') / 'run'
    for last in (4, 10):
        assert _main(*_flags(run_dir, *_TWO, f'--num_steps={last}', f'--log_every={last}')) == 0
    return run_dir


_TWO = '--seed=3', '--num_seeds=2', '--schedule=constant', '--evaluate_every=5'


def test_several_seeds_resume_to_equal_bytes(side_by_side, tmp_path):
    assert _main(*_flags(tmp_path / 'run', *_TWO, '--num_steps=10', '--log_every=3')) == 0
    assert saved_bytes.digest(side_by_side, 10) == saved_bytes.digest(tmp_path / 'run', 10)


def test_several_seeds_are_measured_each_as_alone(side_by_side):
    evaluation = json.loads((side_by_side / 'evaluation.json').read_text())
    config = flags_lib.parse(
        nth_farthest.Config, _flags(side_by_side, *_TWO), 'nth_farthest', nth_farthest.PRESETS
    )
    model = nth_farthest_model.make_model(config)
    state = loop.restore(config, model.init, (), str(side_by_side)).replicated
    measure = nth_farthest_model.make_evaluation(config, model)
    own = [measure(params, 1000) for params in seeds.split(state.params, 2)]
    assert own[0] != own[1]
    for seed, each in zip((3, 4), own, strict=True):
        for name, value in each.items():
            assert evaluation[f'seed_{seed}_{name}'] == pytest.approx(value, rel=1e-6)
    for name in ('accuracy', 'eval_loss'):
        assert evaluation[name] == pytest.approx((own[0][name] + own[1][name]) / 2)
    assert evaluation['test'] == evaluation['accuracy']
    rows = metrics.read_metrics(side_by_side / 'metrics.jsonl')
    assert [row['step'] for row in rows if 'seed_4_accuracy' in row] == [4, 5, 10]


def test_evaluating_several_seeds_tells_mean_range_and_each(side_by_side, capsys):
    flags = '--mode=evaluate', f'--run_dir={side_by_side}', '--final_evaluation_size=1000'
    before = (side_by_side / 'evaluation.json').read_text()
    assert _main(*flags) == 0
    assert (side_by_side / 'evaluation.json').read_text() == before
    record = json.loads(before)
    shares = [record['seed_3_accuracy'], record['seed_4_accuracy']]
    lines = capsys.readouterr().out.splitlines()[-4:]
    assert lines[0].startswith(f'after 10 updates {sum(shares) / 2:.2%} of 1,000 held-out')
    assert lines[1] == f'mean of 2 networks, from {min(shares):.2%} to {max(shares):.2%}'
    for line, seed, share in zip(lines[2:], (3, 4), shares, strict=True):
        assert line.startswith(f'  seed {seed}  {share:.2%}, ')
    assert _main(*flags, '--num_seeds=3') == errors.MISMATCH


def test_the_curve_of_several_seeds_has_a_band(side_by_side, monkeypatch):
    seen = []
    monkeypatch.setattr(plots, 'plot_curves', lambda *args, **facts: seen.append((args, facts)))
    config = nth_farthest.Config(num_objects=3)
    nth_farthest._draw(config, str(side_by_side))
    (curves, _), facts = seen[0]
    band = facts['bands']['held out']
    assert len(band) == len(curves['held out']) == 3
    for (_, mean), (lowest, highest) in zip(curves['held out'], band, strict=True):
        assert lowest <= mean == pytest.approx((lowest + highest) / 2)


def test_the_inside_of_several_seeds_is_the_firsts(side_by_side):
    subject = tracing.open_run(tracing.Request(str(side_by_side), 3, 40, 1, ''))
    assert subject.title == 'nth_farthest, after 10 updates, seed 3, the first of 2'
    model = nth_farthest_model.make_model(
        flags_lib.parse(nth_farthest.Config, _flags('run'), 'nth_farthest', nth_farthest.PRESETS)
    )
    alone = model.init(jax.random.fold_in(jax.random.key(3), 0))
    for leaf, first in zip(jax.tree.leaves(subject.params), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(leaf, first, atol=0.02)  # after 10 small updates


@pytest.mark.parametrize(
    ('flags', 'wanted'),
    [
        ('--num_seeds=0', '--num_seeds: wanted at least 1, got 0'),
        ('--num_objects=1', '--num_objects: wanted at least 2, got 1'),
        ('--head=tail', '--head: wanted one of mlp, distances'),
        ('--mode=play', '--mode: wanted one of train, evaluate'),
        ('--mode=evaluate', '--mode=evaluate: wanted --run_dir=DIR'),
        ('--one_hot_scale=0', '--one_hot_scale: wanted at least 0.001'),
    ],
)
def test_bad_flags_get_one_line(flags, wanted, capsys):
    assert _main(*flags.split()) == errors.USAGE
    line = capsys.readouterr().err
    assert wanted in line
    assert line.count('\n') == 1


def test_what_is_no_run_gets_one_line(tmp_path, capsys):
    assert _main('--mode=evaluate', f'--run_dir={tmp_path}') == errors.BAD_DATA
    assert 'wanted the directory of a trained run' in capsys.readouterr().err


def test_another_size_does_not_fit_the_checkpoint(whole, capsys):
    assert _main(*_flags(whole[0], '--num_dims=5')) == errors.MISMATCH
    assert 'num_dims' in capsys.readouterr().err


@pytest.mark.parametrize('preset', ['paper', 'cpu'])
def test_presets_are_of_the_full_task(preset):
    config = nth_farthest.PRESETS[preset]
    assert (config.num_objects, config.num_dims) == (8, 16)
    model = nth_farthest._nth_farthest_model.make_model(config)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    assert shapes['relational_memory']['input_w'].shape[0] == 16 + 3 * 8


def test_the_papers_recipe_has_nothing_beside_the_task():
    config = nth_farthest.PRESETS['paper']
    assert (config.head, config.one_hot_scale) == ('mlp', 1)
    assert (config.batch_size, config.learning_rate, config.clip_norm) == (1600, 1e-4, 0)
