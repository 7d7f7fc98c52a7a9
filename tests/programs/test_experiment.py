"""What all experiments share, on the smallest sizes of each: train, resume, evaluate, complain.

Each experiment is trained once, for six updates, and all tests read that run.
"""

import gc
import importlib
import json
import os
import pathlib
import shutil
import signal

import jax
import numpy as np
import pytest

from launch import trained
from launch.agents import network
from launch.runs import directory, errors, flags, integrity, metrics
from launch.training import experiment
from tests.support import saved_bytes, text_folders

SMALL = (
    '--mem_slots=2 --total_units=16 --num_heads=2 --attention_mlp_layers=1 --batch_size=4 '
    '--schedule=constant --warmup_steps=0 --num_steps=6 --log_every=2 --evaluate_every=3 '
    '--save_every=2 --keep=6'
)
LSTM = '--core=lstm --lstm_size=6'  # compiles in half the time
AGENT = f'{LSTM} --viewport=3 --unroll=5 --evaluation_size=3 --final_evaluation_size=3'
FLAGS = {
    'nth_farthest': '--num_objects=3 --num_dims=2 --evaluation_size=7 --final_evaluation_size=9',
    'learning_to_execute': f'{LSTM} --evaluation_size=5 --final_evaluation_size=6 '
    '--curriculum=naive --curriculum_every=2 --curriculum_threshold=0',
    'lm': f'{LSTM} --unroll_length=5 --embedding_size=16 --evaluation_batch=3',
    'boxworld': f'{AGENT} --size=7 --num_colors=3 --max_solution=1 --max_distractors=0 '
    '--max_steps=20',
    'mini_pacman': f'{AGENT} --max_steps=12',
}
SLOW = ('mini_pacman',)  # its programs are BoxWorld's with another environment, and compile longest
PROGRAMS = [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in FLAGS]
WORDS = 'the memory attends to the word and the word to the memory of all that it has read so far '


@pytest.fixture(scope='module', params=PROGRAMS)
def name(request, compile_quickly, compile_once):
    """Returns the name of an experiment; what it compiled is forgotten after its tests."""
    yield request.param
    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope='module')
def program(name):
    return importlib.import_module(f'launch.{name}').EXPERIMENT


@pytest.fixture(scope='module')
def main(name, program):
    """Runs the program on some words of a command line and returns its exit code."""
    run = lambda config: experiment.run(program, config)  # noqa: E731
    return lambda *words: flags.main(program.config, run, name, program.presets, words)


@pytest.fixture(scope='module')
def data(name, tmp_path_factory):
    """Returns the flags that name the data."""
    if name != 'lm':
        return []
    texts = {'train.txt': WORDS * 12, 'valid.txt': WORDS, 'test.txt': WORDS * 2}
    corpus = text_folders.write(tmp_path_factory.mktemp('corpus'), texts)
    return ['--dataset=text', f'--data_dir={corpus}', f'--cache_dir={corpus}/cache']


@pytest.fixture(scope='module')
def words(name, data):
    """Returns the flags of the program's small runs."""
    return [*SMALL.split(), *FLAGS[name].split(), *data]


@pytest.fixture(scope='module')
def whole(tmp_path_factory, main, words):
    """Returns the directory of a finished run."""
    run_dir = tmp_path_factory.mktemp('whole') / 'run'
    assert main(*words, f'--run_dir={run_dir}') == 0
    return run_dir


def test_a_run_leaves_metrics_an_evaluation_a_description_and_a_picture(name, program, whole):
    rows = metrics.read_metrics(whole / 'metrics.jsonl')
    assert [row['step'] for row in rows if 'grad_norm' in row] == [2, 4, 6]
    assert [row['step'] for row in rows if program.measure in row] == [3, 6]
    assert all(np.isfinite(row['loss']) for row in rows if 'loss' in row)
    core = 'rmc' if name == 'nth_farthest' else 'lstm'
    evaluation = json.loads((whole / directory.EVALUATION).read_text())
    assert (evaluation['program'], evaluation['core'], evaluation['step']) == (name, core, 6)
    assert np.isfinite(evaluation['test'])
    about = directory.read_description(whole)
    assert (about['program'], about['measure']) == (name, program.measure)
    assert about['higher_is_better'] == (name != 'lm')
    assert about['config']['total_units'] == 16
    assert about['config']['run_dir'] == str(whole)
    assert list(whole.glob('*.png'))


def test_stopped_at_an_update_and_resumed_it_ends_in_equal_bytes(
    whole, main, words, tmp_path, monkeypatch, capsys
):
    """By a signal or by its flags, however often it logs, evaluates and saves."""
    run_dir, write = tmp_path / 'run', metrics.Metrics.write

    def write_and_signal(self, step, values):
        write(self, step, values)
        os.kill(os.getpid(), signal.SIGTERM)

    def run(last, *every):
        names = 'log', 'evaluate', 'save'
        often = [f'--{name}_every={steps}' for name, steps in zip(names, every, strict=True)]
        return main(*words, f'--num_steps={last}', *often, f'--run_dir={run_dir}')

    with monkeypatch.context() as patch:
        patch.setattr(metrics.Metrics, 'write', write_and_signal)
        assert run(6, 1, 6, 6) == errors.INTERRUPTED
    assert 'stopped by SIGTERM after update 1, saved' in capsys.readouterr().err
    assert run(4, 3, 5, 2) == 0
    assert 'resumes from the checkpoint of update 1\n' in capsys.readouterr().out
    assert run(6, 1, 6, 5) == 0
    assert 'resumes from the checkpoint of update 4\n' in capsys.readouterr().out
    starts = [start['step'] for start in directory.read_description(run_dir)['starts']]
    assert starts == [0, 1, 4]
    assert saved_bytes.digest(run_dir, 6) == saved_bytes.digest(whole, 6)
    assert saved_bytes.digest(run_dir, 4) == saved_bytes.digest(whole, 4)
    assert saved_bytes.digest(run_dir, 4) != saved_bytes.digest(run_dir, 6)


def test_another_seed_gives_other_bytes(whole, main, words, tmp_path):
    more = '--seed=1', '--num_steps=2', f'--run_dir={tmp_path / "run"}'
    assert main(*words, *more) == 0
    assert saved_bytes.digest(tmp_path / 'run', 2) != saved_bytes.digest(whole, 2)


def _files(run_dir):
    """Returns all files of a run but what an evaluation is asked to write, and what they hold."""
    written = directory.EVALUATION, '.png'
    paths = [path for path in run_dir.rglob('*') if not path.name.endswith(written)]
    return {path: path.is_dir() or path.read_bytes() for path in paths}


def test_evaluating_again_gives_the_same_numbers(whole, main, words, capsys):
    before = json.loads((whole / directory.EVALUATION).read_text())
    free = [word for word in words if 'evaluation' in word or 'cache' in word]
    with directory.owned(whole):  # as by a run that is training
        files = _files(whole)
        assert main('--mode=evaluate', f'--run_dir={whole}', *free) == 0
        assert _files(whole) == files
    again = json.loads((whole / directory.EVALUATION).read_text())
    thorough = 'unroll', 'sample'  # are measured only now
    same = [key for key in before if key not in thorough]
    assert {key: again[key] for key in same} == {key: before[key] for key in same}
    assert 'after 6 updates' in capsys.readouterr().out


def test_what_a_checkpoint_is_made_of_may_not_change(whole, main, words, capsys):
    digest = saved_bytes.digest(whole, 6)
    more = f'--run_dir={whole}', '--total_units=32'
    assert main(*words, *more) == errors.MISMATCH
    assert 'total_units: 16 -> 32' in capsys.readouterr().err
    assert main('--mode=evaluate', *more) == errors.MISMATCH
    assert saved_bytes.digest(whole, 6) == digest


def test_a_run_is_restored_with_what_it_was_trained_with(name, program, whole):
    asked = flags.parse(program.config, [f'--run_dir={whole}'], name, program.presets)
    restored = experiment.restore(program, asked, str(whole))
    assert (restored.step, restored.config.total_units, restored.config.seed) == (6, 16, 0)
    assert restored.config.num_steps == asked.num_steps  # of today, for it is no part of the run


def test_a_trained_run_is_loaded_from_its_directory_alone_and_exported(name, whole, tmp_path):
    run = trained.load(whole)
    assert (run.program, run.num_updates, run.config.num_steps) == (name, 6, 6)
    assert run.config.total_units == 16
    about = json.loads((run.export(tmp_path / 'served') / 'about.json').read_text())
    assert (about['program'], about['num_updates']) == (name, 6)


_FORGED = [None, [1], 'x' * 5000, {'batch_size': 'many'}, {'seed': [1]}, {'total_units': -5}]
_FORGED += [{'seed': 10**400}, {'run_dir': {'x' * 5000: 1}, 'batch_size': '1' * 5000}]


def test_a_forged_configuration_ends_in_one_line(whole, main, words, tmp_path, capsys):
    run_dir = pathlib.Path(shutil.copytree(whole, tmp_path / 'run'))
    path = max((run_dir / 'checkpoints').iterdir(), key=lambda x: int(x.name)) / 'metadata.json'
    record = json.loads(path.read_text())
    saved = record['metadata']['config']
    for forged in _FORGED:
        config = {**saved, **forged} if isinstance(forged, dict) else forged
        record['metadata']['config'] = config
        path.write_text(json.dumps(record))
        integrity.seal(path.parent, int(path.parent.name))
        for flags_given in (['--mode=evaluate'], words):
            capsys.readouterr()
            code = main(*flags_given, f'--run_dir={run_dir}')
            err = capsys.readouterr().err
            assert code in (errors.BAD_DATA, errors.MISMATCH), (forged, err)
            assert (err.count('\n'), len(err) < 1000) == (1, True), err


def test_reading_a_run_that_is_not_there_is_refused(main, tmp_path, capsys):
    assert main('--mode=evaluate', f'--run_dir={tmp_path / "none"}') == errors.BAD_DATA
    assert 'wanted the directory of a trained run' in capsys.readouterr().err
    assert main('--mode=evaluate') == errors.USAGE
    assert not (tmp_path / 'none').exists()


def test_a_directory_in_use_is_refused(whole, main, words, capsys):
    with directory.owned(whole):
        assert main(*words, f'--run_dir={whole}') == errors.IN_USE
    assert 'in use by' in capsys.readouterr().err


def test_presets_name_themselves_and_the_first_is_the_default(program):
    assert next(iter(program.presets)) == 'cpu'
    assert {config.preset for config in program.presets.values()} == program.presets.keys()
    assert all(type(config) is program.config for config in program.presets.values())


def test_a_config_that_starts_from_no_preset_names_none(name, program):
    assert program.config().preset == ''
    assert flags.parse(program.config, [], name, program.presets) == program.presets['cpu']


def test_a_presets_networks_have_parameters(name, program, data):
    """Of the paper's sizes too, without allocating them."""
    module = importlib.import_module(f'launch.{name}')
    for preset in program.presets:
        config = flags.parse(program.config, [f'--preset={preset}', *data], name, program.presets)
        if name == 'lm':
            made = module.make_model(config, 267_735)
        elif hasattr(module, 'make_source'):
            made = network.make(config, module.make_source(config).environment)
        else:
            made = module.learning.make_network(config)
        params = jax.eval_shape(made.init, jax.random.key(0))
        assert sum(leaf.size for leaf in jax.tree.leaves(params)) > 10_000
