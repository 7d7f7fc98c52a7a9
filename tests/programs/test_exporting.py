"""Exported runs, served by a process that imports JAX and NumPy alone."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from launch import export, trained
from launch.runs import errors
from launch.runs import flags as flags_lib
from tests.support import inspected, untrained_runs

pytestmark = pytest.mark.usefixtures('compile_quickly')

# Calls each folder's function on all of its inputs, one after the other, the state carried along.
SERVER = """
import json, pathlib, sys
import jax
from jax import export
import numpy as np

for name in sys.argv[1:]:
    folder = pathlib.Path(name)
    function = jax.jit(export.deserialize((folder / 'function.bin').read_bytes()).call)
    params = dict(np.load(folder / 'params.npz'))
    given, found = dict(np.load(folder / 'given.npz')), {}
    size = int(given.pop('batch_size'))
    state = [np.repeat(x, size, axis=0) for x in np.load(folder / 'state.npz').values()]
    for t in range(len(next(iter(given.values())))):
        outputs, state = function(params, {key: x[t] for key, x in given.items()}, state)
        found |= {f'{key}{t}': x for key, x in outputs.items()}
    np.savez(folder / 'found.npz', **found)
bad = {name.partition('.')[0] for name in sys.modules}
bad &= {'haiku', 'optax', 'orbax', 'chex', 'launch', 'tasks', 'relational_rnn', 'tensorflow'}
print(sorted(bad))
"""


def _serve(given):
    """Returns the outputs [steps, ...] of a server by folder; `given` are B and inputs likewise."""
    for folder, (size, inputs) in given.items():
        np.savez(folder / 'given.npz', batch_size=size, **inputs)
    environment = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    command = [sys.executable, '-P', '-c', SERVER, *map(str, given)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=next(iter(given)), env=environment
    )
    assert (done.returncode, done.stdout) == (0, '[]\n'), done.stderr
    return {folder: dict(np.load(folder / 'found.npz')) for folder in given}


def _check(found, wanted):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-5, atol=1e-4, err_msg=name)


def test_a_process_without_haiku_and_this_project_steps_to_the_same_numbers(tmp_path):
    """An RMC and an LSTM, of any batch size."""
    random = np.random.default_rng(0)
    wanted, given = {}, {}

    inspected.lm_run(tmp_path / 'lm')
    run, folder = trained.load(tmp_path / 'lm' / 'run'), tmp_path / 'served' / 'lm'
    assert run.export(folder) == folder
    words = random.integers(0, 24, (4, 3)).astype(np.int32)
    logits, _ = run.logits(words)
    given[folder] = 3, {'words': words}
    wanted[folder] = {f'log_probs{t}': x for t, x in enumerate(logits)}
    text = (folder / 'vocabulary.txt').read_text()
    assert [line.split('\t')[0] for line in text.splitlines()] == list(run.vocabulary.words)

    run_dir, config = untrained_runs.agent(tmp_path / 'agent', core='lstm', lstm_size=5)
    run, folder = trained.load(run_dir), tmp_path / 'served' / 'agent'
    run.export(folder)
    shape = 4, 2, *run.environment.observation_spec.shape
    observations, resets = random.random(shape).astype(np.float32), np.zeros((4, 2), bool)
    resets[2, 1] = True
    outputs, _ = run.network.unroll(run.params, observations, resets, run.initial_state(2))
    given[folder] = 2, {'observation': observations, 'reset': resets}
    wanted[folder] = {f'logits{t}': x for t, x in enumerate(outputs.logits)}
    wanted[folder] |= {f'value{t}': x for t, x in enumerate(outputs.value)}
    about = json.loads((folder / 'about.json').read_text())
    assert about['inputs']['reset'] == ['bool', 'b']
    assert about['state'] == [['float32', 'b, 5'], ['float32', 'b, 5']]
    assert (about['batch_size'], about['config']['lstm_size']) == (None, config.lstm_size)
    assert about['actions'] == list(run.environment.action_names)

    for folder, found in _serve(given).items():
        _check(found, wanted[folder])


def test_whole_sequences_are_answered_as_in_the_project(tmp_path):
    wanted, given = {}, {}
    run = trained.load(untrained_runs.questions(tmp_path / 'questions', head='distances')[0])
    folder = run.export(tmp_path / 'served' / 'questions')
    vectors = np.random.default_rng(0).uniform(-1, 1, (3, 5, 2)).astype(np.float32)
    labels = np.array([[2, 1, 0, 0, 2], [1, 0, 1, 2, 0], [0, 2, 2, 1, 1]])
    n, m = np.array([0, 2, 1, 1, 0]), np.array([1, 1, 0, 2, 2])
    hots = [np.broadcast_to(np.eye(3, dtype=np.float32)[x], (3, 5, 3)) for x in (labels, n, m)]
    given[folder] = 5, {'inputs': np.concatenate([vectors, *hots], axis=2)[None]}
    wanted[folder] = {'logits0': run.logits(vectors, labels, n, m)}

    run = trained.load(untrained_runs.programs(tmp_path / 'programs', nesting=1, length=2)[0])
    folder = run.export(tmp_path / 'served' / 'programs')
    about = json.loads((folder / 'about.json').read_text())
    texts, width = ['12+34', '(98-76)'], int(about['inputs']['characters'][1].split(',')[0])
    ids = [[about['characters'].index(x) for x in text.ljust(width, '_')] for text in texts]
    inputs = {'characters': np.array(ids, np.int32).T, 'lengths': np.array([5, 7], np.int32)}
    given[folder] = 2, {name: x[None] for name, x in inputs.items()}
    wanted[folder] = {'logits0': run.logits(texts)}

    for folder, found in _serve(given).items():
        _check(found, wanted[folder])


def test_the_program_writes_the_files_and_says_what_they_are(tmp_path, capsys):
    run_dir, _ = untrained_runs.questions(tmp_path)
    words = f'--run_dir={run_dir}', f'--output={tmp_path / "served"}', '--batch_size=4'
    assert flags_lib.main(export.Config, export.run, 'export', None, words) == 0
    title = 'nth_farthest, rmc, after 1,200 updates'
    assert capsys.readouterr().out == f'{title}\nexported to  {tmp_path / "served"}\n'
    about = json.loads((tmp_path / 'served' / 'about.json').read_text())
    assert (about['batch_size'], about['num_updates']) == (4, 1200)
    assert about['platforms'] == ['cpu', 'cuda', 'tpu']
    assert about['outputs'] == {'logits': ['float32', '4, 3']}
    params = np.load(tmp_path / 'served' / 'params.npz')
    leaves = jax.tree.leaves(trained.load(run_dir).params)
    assert sorted(x.shape for x in params.values()) == sorted(x.shape for x in leaves)


def test_a_mistake_gets_one_line(tmp_path, capsys):
    run_dir, _ = untrained_runs.questions(tmp_path)
    (tmp_path / 'file').write_text('')
    cases = [
        ((), errors.USAGE, '--run_dir: wanted the directory of a trained run, got none'),
        ((f'--run_dir={run_dir}',), errors.USAGE, '--output: wanted'),
        (
            (f'--run_dir={run_dir}', f'--output={tmp_path / "file"}'),
            errors.CANNOT_SAVE,
            'file cannot be written: File exists',
        ),
    ]
    for words, code, wanted in cases:
        assert flags_lib.main(export.Config, export.run, 'export', None, words) == code
        line = capsys.readouterr().err
        assert wanted in line
        assert line.count('\n') == 1
