"""What all experiments share, on the smallest sizes of each: train, resume, evaluate, complain.

Each experiment is trained once, for six updates, and all tests read that run.
"""

import importlib
import json
import os
import signal

import jax
import numpy as np
import pytest

from launch.runs import directory, errors, flags, metrics
from launch.training import experiment
from tests.support import saved_bytes, text_folders

pytestmark = pytest.mark.usefixtures('compile_once')

SMALL = (
    '--mem_slots=2 --total_units=16 --num_heads=2 --attention_mlp_layers=1 --batch_size=4 '
    '--schedule=constant --warmup_steps=0 --num_steps=6 --log_every=2 --evaluate_every=3 '
    '--save_every=2 --keep=6'
)
AGENT = '--viewport=3 --unroll=5 --evaluation_size=3 --final_evaluation_size=6'
FLAGS = {
    'nth_farthest': '--num_objects=3 --num_dims=2 --evaluation_size=7 --final_evaluation_size=9',
    'learning_to_execute': '--evaluation_size=5 --final_evaluation_size=6',
    'lm': '--dataset=text --unroll_length=5 --embedding_size=16 --evaluation_batch=3',
    'boxworld': f'--size=7 --num_colors=3 --max_solution=1 --max_distractors=0 {AGENT}',
    'mini_pacman': f'--max_steps=12 {AGENT}',
}
SLOW = ('mini_pacman',)  # its programs are BoxWorld's with another environment, and compile longest
PROGRAMS = [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in FLAGS]
WORDS = 'the memory attends to the word and the word to the memory of all that it has read so far '


def main(name, *words):
    program = importlib.import_module(f'launch.{name}').EXPERIMENT
    return flags.main(
        program.config, lambda c: experiment.run(program, c), name, program.presets, words
    )


@pytest.fixture(scope='module')
def corpus(tmp_path_factory):
    texts = {'train.txt': WORDS * 12, 'valid.txt': WORDS, 'test.txt': WORDS * 2}
    return text_folders.write(tmp_path_factory.mktemp('corpus'), texts)


@pytest.fixture(scope='module')
def words_of(corpus):
    """Returns the flags of a program's small runs."""

    def words(name):
        data = [f'--data_dir={corpus}', f'--cache_dir={corpus}/cache'] if name == 'lm' else []
        return [*SMALL.split(), *FLAGS[name].split(), *data]

    return words


@pytest.fixture(scope='module')
def whole(tmp_path_factory, words_of, compile_once):
    """Returns the directory of a program's finished run."""
    runs = {}

    def run(name):
        if name not in runs:
            runs[name] = tmp_path_factory.mktemp(name) / 'run'
            assert main(name, *words_of(name), f'--run_dir={runs[name]}') == 0
        return runs[name]

    return run


@pytest.mark.parametrize('name', PROGRAMS)
def test_a_run_leaves_metrics_an_evaluation_a_description_and_a_picture(name, whole):
    run_dir = whole(name)
    program = importlib.import_module(f'launch.{name}').EXPERIMENT
    rows = metrics.read_metrics(run_dir / 'metrics.jsonl')
    assert [row['step'] for row in rows if 'grad_norm' in row] == [2, 4, 6]
    assert [row['step'] for row in rows if program.measure in row] == [3, 6]
    assert all(np.isfinite(row['loss']) for row in rows if 'loss' in row)
    evaluation = json.loads((run_dir / directory.EVALUATION).read_text())
    assert (evaluation['program'], evaluation['core'], evaluation['step']) == (name, 'rmc', 6)
    assert np.isfinite(evaluation['test'])
    about = directory.read_description(run_dir)
    assert (about['program'], about['measure']) == (name, program.measure)
    assert about['higher_is_better'] == (name != 'lm')
    assert about['config']['total_units'] == 16
    assert list(run_dir.glob('*.png'))


@pytest.mark.parametrize('name', PROGRAMS)
def test_stopped_at_any_update_and_resumed_it_ends_in_equal_bytes(name, whole, words_of, tmp_path):
    """However often it logs, evaluates and saves, so however many updates a call makes."""
    run_dir = tmp_path / 'run'
    for last, every in ((1, 1), (3, 5), (4, 1), (6, 3)):
        often = [f'--{kind}_every={every}' for kind in ('log', 'evaluate', 'save')]
        more = f'--num_steps={last}', *often, f'--run_dir={run_dir}'
        assert main(name, *words_of(name), *more) == 0
    assert saved_bytes.digest(run_dir, 6) == saved_bytes.digest(whole(name), 6)
    assert saved_bytes.digest(run_dir, 4) != saved_bytes.digest(run_dir, 6)


@pytest.mark.parametrize('name', PROGRAMS)
def test_another_seed_ends_in_other_bytes(name, whole, words_of, tmp_path):
    more = '--seed=1', f'--run_dir={tmp_path / "run"}', '--evaluate_every=6'
    assert main(name, *words_of(name), *more) == 0
    assert saved_bytes.digest(tmp_path / 'run', 6) != saved_bytes.digest(whole(name), 6)


@pytest.mark.parametrize('name', PROGRAMS)
def test_a_signal_ends_it_saved_and_resumable(name, whole, words_of, tmp_path, monkeypatch, capsys):
    run_dir, write = tmp_path / 'run', metrics.Metrics.write

    def write_and_signal(self, step, values):
        write(self, step, values)
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    more = '--save_every=6', f'--run_dir={run_dir}'
    with monkeypatch.context() as patch:
        patch.setattr(metrics.Metrics, 'write', write_and_signal)
        assert main(name, *words_of(name), *more) == errors.INTERRUPTED
    assert 'stopped by SIGTERM after update 2, saved' in capsys.readouterr().err
    assert main(name, *words_of(name), *more) == 0
    assert 'resumes from the checkpoint of update 2' in capsys.readouterr().out
    assert saved_bytes.digest(run_dir, 6) == saved_bytes.digest(whole(name), 6)


@pytest.mark.parametrize('name', PROGRAMS)
def test_evaluating_again_gives_the_same_numbers(name, whole, words_of, capsys):
    run_dir = whole(name)
    before = json.loads((run_dir / directory.EVALUATION).read_text())
    free = [word for word in words_of(name) if 'evaluation' in word or 'cache' in word]
    assert main(name, '--mode=evaluate', f'--run_dir={run_dir}', *free) == 0
    again = json.loads((run_dir / directory.EVALUATION).read_text())
    skipped = 'unroll', 'sample'
    same = [key for key in before if key not in skipped]
    assert {key: again[key] for key in same} == {key: before[key] for key in same}
    assert 'after 6 updates' in capsys.readouterr().out


@pytest.mark.parametrize('name', PROGRAMS)
def test_what_a_checkpoint_is_made_of_may_not_change(name, whole, words_of, capsys):
    run_dir = whole(name)
    digest = saved_bytes.digest(run_dir, 6)
    more = f'--run_dir={run_dir}', '--total_units=32'
    assert main(name, *words_of(name), *more) == errors.MISMATCH
    assert 'total_units: 16 -> 32' in capsys.readouterr().err
    assert main(name, '--mode=evaluate', *more) == errors.MISMATCH
    assert saved_bytes.digest(run_dir, 6) == digest


@pytest.mark.parametrize('name', PROGRAMS)
def test_a_run_is_restored_with_what_it_was_trained_with(name, whole):
    program = importlib.import_module(f'launch.{name}').EXPERIMENT
    asked = flags.parse(program.config, [f'--run_dir={whole(name)}'], name, program.presets)
    restored = experiment.restore(program, asked, str(whole(name)))
    assert (restored.step, restored.config.total_units, restored.config.seed) == (6, 16, 0)
    assert restored.config.num_steps == asked.num_steps  # of today, for it is no part of the run


@pytest.mark.parametrize('name', PROGRAMS)
def test_reading_a_run_that_is_not_there_is_refused(name, tmp_path, capsys):
    more = '--mode=evaluate', f'--run_dir={tmp_path / "none"}'
    assert main(name, *more) == errors.BAD_DATA
    assert 'wanted the directory of a trained run' in capsys.readouterr().err
    assert main(name, '--mode=evaluate') == errors.USAGE
    assert not (tmp_path / 'none').exists()


@pytest.mark.parametrize('name', PROGRAMS)
def test_a_directory_in_use_is_refused(name, whole, words_of, capsys):
    with directory.owned(whole(name)):
        assert main(name, *words_of(name), f'--run_dir={whole(name)}') == errors.IN_USE
    assert 'in use by' in capsys.readouterr().err


@pytest.mark.parametrize('name', PROGRAMS)
def test_presets_name_themselves_and_the_first_is_the_default(name):
    program = importlib.import_module(f'launch.{name}').EXPERIMENT
    assert next(iter(program.presets)) == 'cpu'
    assert {config.preset for config in program.presets.values()} == program.presets.keys()
    assert all(type(config) is program.config for config in program.presets.values())


@pytest.mark.parametrize('name', PROGRAMS)
def test_a_presets_networks_have_parameters(name, words_of):
    """Of the paper's sizes too, without allocating them."""
    program = importlib.import_module(f'launch.{name}').EXPERIMENT
    for preset in program.presets:
        data = [word for word in words_of(name) if '_dir=' in word or 'dataset' in word]
        config = flags.parse(program.config, [f'--preset={preset}', *data], name, program.presets)
        if name == 'lm':
            model = importlib.import_module('launch.lm').make_model(config, 267_735)
            init = model.init
        else:
            init = program.build(config).init
        params = jax.eval_shape(init, jax.random.key(0))
        assert sum(leaf.size for leaf in jax.tree.leaves(params)) > 10_000
