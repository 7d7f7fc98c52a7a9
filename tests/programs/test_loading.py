"""Any run is loaded from its directory alone; see test_experiment for runs of every program."""

import json

import pytest

from launch import trained
from launch.runs import directory, errors
from tasks import base
from tests.support import untrained_runs

pytestmark = pytest.mark.usefixtures('compile_quickly')


@pytest.fixture(scope='module')
def run_dir(tmp_path_factory, compile_quickly):
    flags = {'learning_rate': 0.123, 'run_dir': 'where/it/was/trained', 'num_steps': 77}
    return untrained_runs.questions(tmp_path_factory.mktemp('run'), **flags)[0]


def test_a_run_that_is_training_elsewhere_is_loaded_with_its_whole_configuration(run_dir):
    before = sorted(run_dir.rglob('*'))
    with directory.owned(run_dir):
        run = trained.load(run_dir)
    assert (run.config.learning_rate, run.config.num_steps) == (0.123, 77)
    assert run.config.run_dir == run.run_dir == str(run_dir)
    assert set(run_dir.rglob('*')) - set(before) <= {run_dir / '.lock', run_dir / '.owner'}


def _refusal(path, kind=errors.RunError):
    with pytest.raises(kind) as error:
        trained.load(path)
    assert '\n' not in str(error.value)
    return str(error.value)


def test_what_is_no_run_is_refused_in_one_line(run_dir, tmp_path):
    wanted = f'--run_dir={tmp_path}: wanted the directory of a trained run, it has no run.json'
    assert _refusal(tmp_path) == wanted
    assert 'wanted the directory of a trained run' in _refusal(tmp_path / 'none')
    description = json.loads((run_dir / 'run.json').read_text())
    (tmp_path / 'run.json').write_text(json.dumps(description))
    assert 'wanted a run with a checkpoint, it has none yet' in _refusal(tmp_path)
    (tmp_path / 'run.json').write_text(json.dumps({**description, 'program': 'os'}))
    assert 'wanted a run of boxworld or learning_to_execute or lm' in _refusal(tmp_path)
    (tmp_path / 'run.json').write_text('{')
    assert 'run.json cannot be read' in _refusal(tmp_path, base.DataError)
