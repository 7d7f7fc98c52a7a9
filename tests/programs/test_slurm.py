"""Sweeps as jobs of a real Slurm, which the tests start: see tests/support/slurm_cluster.py."""

import contextlib
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

import pytest

from launch import sweep
from launch.runs import directory, errors
from launch.runs import flags as flags_lib
from launch.sweeps import grid, results, slurm
from tests.support import saved_bytes, slurm_cluster

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = (
    'num_objects=3 num_dims=2 batch_size=4 core=lstm lstm_size=6 attention_mlp_layers=1 '
    'evaluate_every=100000 evaluation_size=7 final_evaluation_size=9 log_every=1'
)
STEPS = 2000  # so many that there is time for a signal
PATIENCE = 100  # seconds, for machines that have much else to do

needs_slurm = pytest.mark.skipif(bool(slurm_cluster.missing()), reason=slurm_cluster.missing())


@pytest.fixture(scope='module')
def cluster():
    """Two nodes of two cores; their folder is short, for a socket is in it."""
    with tempfile.TemporaryDirectory(prefix='slurm-') as folder, slurm_cluster.running(folder, 2):
        yield pathlib.Path(folder) / 'slurm.conf'


@pytest.fixture
def here(cluster, monkeypatch):
    """Has the commands of Slurm find the cluster, and asks it more often."""
    ask, end = slurm._queue, time.monotonic() + 3 * PATIENCE

    def queue():
        shown = 'scontrol', 'show', 'job'
        assert time.monotonic() < end, subprocess.run(shown, capture_output=True, text=True)
        return ask()

    monkeypatch.setenv('SLURM_CONF', str(cluster))
    monkeypatch.setattr(slurm, '_queue', queue)
    monkeypatch.setattr(slurm, '_PAUSE', 0.2)
    monkeypatch.setattr(slurm, '_SETTLE', 1)
    monkeypatch.chdir(ROOT)


@pytest.fixture
def toys(here, monkeypatch):
    """Lets runs be of the toy program."""
    monkeypatch.setattr(grid, 'PACKAGE', 'tests.support')


def _main(folder, line, *own):
    words = [*line.split(), f'--sweep_dir={folder}', '--executor=slurm', *own]
    return flags_lib.main(sweep.Config, sweep.run, 'sweep', args=sweep.arguments_of(words))


@contextlib.contextmanager
def _meanwhile(act):
    """Does something in a thread while the block lasts, and raises what it raises."""
    problems = []

    def guarded():
        try:
            act()
        except Exception as error:
            problems.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    yield
    thread.join()
    assert not problems, problems


def _wait_for(find, seconds=PATIENCE):
    """Returns what a function finds, when it does."""
    end = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def _job(folder):
    """Returns the number of a run's job, None before it is known."""
    return directory.read_json(folder / slurm.FILE).get('job')


def _starts(folder):
    return (folder / 'starts.txt').read_text().splitlines()


@needs_slurm
def test_a_grid_is_run_by_jobs_and_nothing_is_run_again(toys, tmp_path, capsys):
    folder = tmp_path / 'a %j sweep'
    assert _main(folder, 'toy_program size=2,4 num_steps=2 text=a=b') == 0
    out = capsys.readouterr().out
    assert re.search('^submitted 2 configurations as job [0-9]+$', out, re.MULTILINE)
    assert re.search(r'^finished  size=2: accuracy 0.8 .*\[2 configurations: ', out, re.MULTILINE)
    for size in (2, 4):
        run_dir = folder / f'size={size}'
        assert _starts(run_dir)[0].startswith('None a=b ')
        assert (run_dir / 'output.log').read_text() == 'resumes from update 0\n'
    assert re.search('^. size=4 . done', (folder / 'sweep.md').read_text(), re.MULTILINE)
    assert _main(folder, 'toy_program size=2,4 num_steps=2 text=a=b') == 0
    assert 'submitted' not in capsys.readouterr().out
    assert _main(folder, 'toy_program size=1,2 num_steps=2 text=a=b') == 0
    assert 'submitted 1 configurations' in capsys.readouterr().out
    assert [len(_starts(folder / f'size={size}')) for size in (1, 2, 4)] == [1, 1, 1]


@needs_slurm
def test_a_failure_is_reported_with_the_runs_last_line(toys, tmp_path, capsys):
    code = _main(tmp_path, 'toy_program act=fail,die,say_nothing,train')
    captured = capsys.readouterr()
    assert code in (errors.BAD_DATA, errors.INTERNAL)  # that of the first to end
    assert '3 of 4 configurations failed, the first act=' in captured.err
    for line in (
        'act=fail: toy_program: the toy broke (exit 65)',
        'act=die: killed by SIGKILL',
        'act=say_nothing: it printed nothing (exit 70)',
    ):
        assert f'failed    {line}  [' in captured.out
    assert '[4 configurations: 1 done, 3 failed]' in captured.out


@needs_slurm
def test_a_job_that_is_warned_saves_and_is_requeued_and_finished(toys, tmp_path, capsys):
    run_dir = tmp_path / 'act=wait'

    def warn():
        _wait_for((run_dir / 'waits').exists)
        # What Slurm itself does, because of --signal, before a job's time is up.
        subprocess.run(['scancel', '--batch', '--signal=USR1', _job(run_dir)], check=True)

    with _meanwhile(warn):
        assert _main(tmp_path, 'toy_program act=wait,train') == 0
    assert (run_dir / 'signals.txt').read_text() == '1'
    assert [len(_starts(tmp_path / f'act={act}')) for act in ('wait', 'train')] == [2, 1]
    assert 'pending   act=wait: job ' in capsys.readouterr().out


@needs_slurm
def test_a_job_that_is_held_is_named_with_what_starts_it(toys, tmp_path, capsys):
    """Slurm also holds a job whose launch failed, and a sweep would wait for it in silence."""
    run_dir = tmp_path / 'size=3'

    def hold_and_release():
        _wait_for(lambda: _job(run_dir))
        for act in ('hold', 'release'):
            subprocess.run(['scontrol', act, _job(run_dir)], check=True)
            time.sleep(1)

    with _meanwhile(hold_and_release):
        assert _main(tmp_path, 'toy_program size=2,3', '--slurm_options=begin=now+10') == 0
    job, out = _job(run_dir), capsys.readouterr().out
    assert f'held      size=3: job {job}; scontrol release {job} starts it\n' in out


@needs_slurm
def test_the_jobs_of_a_sweep_that_is_stopped_go_on_and_are_watched_again(toys, tmp_path, capsys):
    command = [sys.executable, '-c', SWEEP, 'toy_program', 'act=train,wait']
    command += ['num_steps=3', f'--sweep_dir={tmp_path}', '--executor=slurm', '--processes=1']
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    run_dir = tmp_path / 'act=wait'
    _wait_for((run_dir / 'waits').exists)
    process.terminate()
    error = process.communicate(timeout=PATIENCE)[1].splitlines()[-1]
    assert process.returncode == errors.INTERRUPTED
    job = _job(run_dir)
    assert error.startswith('sweep: stopped by SIGTERM, 2 configurations: ')
    assert error.endswith(f'watches them again, and scancel {job.partition("_")[0]} ends them')
    assert not (run_dir / 'signals.txt').exists()
    assert results.is_done(grid.read(tmp_path).runs(tmp_path)[0])  # noted without the sweep
    assert _main(tmp_path, 'toy_program act=train,wait num_steps=9') == errors.IN_USE
    with _meanwhile(lambda: subprocess.run(['scancel', job], check=True)):
        assert _main(tmp_path, 'toy_program act=train,wait num_steps=3') == errors.INTERRUPTED
    captured = capsys.readouterr()
    assert 'submitted' not in captured.out
    assert f'job {job} has other flags; wait for it or scancel it' in captured.err
    assert re.search(f'act=wait: job {job} ended: JOB [0-9]+ ON .* CANCELLED AT', captured.err)
    assert _main(tmp_path, 'toy_program act=train,wait num_steps=3') == 0
    assert len(_starts(run_dir)) == 2


SWEEP = """
import sys
from launch import sweep
from launch.runs import flags
from launch.sweeps import grid, slurm
grid.PACKAGE, slurm._PAUSE = 'tests.support', 0.2
words = sweep.arguments_of(sys.argv[1:])
sys.exit(flags.main(sweep.Config, sweep.run, 'sweep', args=words))
"""


@needs_slurm
def test_jobs_of_which_the_sweep_does_not_know_are_refused(toys, tmp_path, capsys):
    assert _main(tmp_path, 'toy_program size=1,2') == 0
    for size in (1, 2):
        (tmp_path / f'size={size}' / 'done.json').unlink()
    name = slurm._name(grid.read(tmp_path).runs(tmp_path))
    command = [
        'sbatch',
        '--parsable',
        f'--job-name={name}',
        '--output=/dev/null',
        '--wrap=sleep 60',
    ]
    job = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    assert _main(tmp_path, 'toy_program') == errors.IN_USE
    assert f'job {job} is of this sweep, and of no run' in capsys.readouterr().err
    subprocess.run(['scancel', job], check=True)


@needs_slurm
@pytest.mark.parametrize(
    ('own', 'reason'),
    [
        ('--slurm_partition=moon', 'sbatch does not take the jobs: invalid partition specified'),
        ('--slurm_options=colour=red', 'sbatch does not take the jobs: sbatch: unrecognized opt'),
        ('--slurm_minutes=1', '--slurm_minutes: wanted at least 5, got 1'),
        ('--slurm_options=Moon', "wanted NAME=VALUE,NAME=VALUE, got 'Moon'"),
        ('--slurm_options=qos=x,array=1-2', '--slurm_options: the sweep sets array itself'),
    ],
)
def test_what_slurm_does_not_take_costs_one_line(toys, own, reason, tmp_path, capsys):
    assert _main(tmp_path, 'toy_program size=1,2', own) == errors.USAGE
    err = capsys.readouterr().err
    assert reason in err
    assert err.count('\n') == 1


def test_a_machine_without_slurm_and_flags_without_the_executor_cost_one_line(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv('PATH', str(tmp_path))
    assert _main(tmp_path / 'new', 'lm seed=0,1') == errors.USAGE
    wanted = 'wanted the commands of Slurm on PATH, got no sbatch and no squeue'
    assert capsys.readouterr().err == f'sweep: --executor=slurm: {wanted}\n'
    assert _main(tmp_path / 'new', 'lm seed=0,1', '--executor=local', '--slurm_gpus=1') == 2
    assert capsys.readouterr().err == 'sweep: --slurm_gpus: wanted --executor=slurm with it\n'
    assert not (tmp_path / 'new').exists()


@needs_slurm
@pytest.mark.slow
def test_two_seeds_of_a_program_that_trains(here, tmp_path, capsys):
    assert _main(tmp_path, f'nth_farthest seed=0,1 num_steps=2 {SMALL}') == 0
    assert '[2 configurations: 2 done]' in capsys.readouterr().out
    first, second = (saved_bytes.digest(tmp_path / f'seed={seed}', 2) for seed in (0, 1))
    assert first != second


def _warn(job):
    subprocess.run(['scancel', '--batch', '--signal=USR1', job], check=True)


def _preempt(job):
    del job
    command = ['sbatch', '--partition=urgent', '--nodes=2', '--cpus-per-task=2']
    command += ['--output=/dev/null', '--wrap=sleep 2']
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _requeue(job):
    subprocess.run(['scontrol', 'requeue', job], check=True)


@needs_slurm
@pytest.mark.slow
@pytest.mark.parametrize('act', [_warn, _preempt, _requeue])
def test_a_run_that_was_requeued_ends_in_the_same_bytes(act, here, tmp_path, capsys):
    line = f'nth_farthest seed=0,1 num_steps={STEPS} {SMALL}'
    run_dir = tmp_path / 'requeued' / 'seed=0'

    def disturb():
        metrics = run_dir / 'metrics.jsonl'
        _wait_for(lambda: metrics.exists() and metrics.stat().st_size > 2000, 120)
        act(_job(run_dir))

    with _meanwhile(disturb):
        assert _main(run_dir.parent, line, '--slurm_partition=spot') == 0
    log = (run_dir / 'output.log').read_text()
    assert 'resumes from the checkpoint of update ' in log
    assert 'pending   seed=0: job ' in capsys.readouterr().out
    assert _main(tmp_path / 'whole', line) == 0
    wanted = saved_bytes.digest(tmp_path / 'whole' / 'seed=0', STEPS)
    assert saved_bytes.digest(run_dir, STEPS) == wanted


@needs_slurm
@pytest.mark.slow
def test_the_script_of_the_documentation_runs_two_processes_and_is_requeued(here, tmp_path):
    page = (ROOT / 'docs' / 'scale.md').read_text()
    script = page.partition('```bash\n')[2].partition('```')[0]
    script = script.replace('--nodes=4', '--nodes=2').replace(' --gpus-per-node=8', '')
    flags = ' '.join(f'--{pair}' for pair in f'seed=0 num_steps=200 {SMALL}'.split())
    command = f'srun {sys.executable} -m launch.nth_farthest {flags} --run_dir='
    digests = []
    for name in ('whole', 'requeued'):
        run_dir, log = tmp_path / name, tmp_path / f'{name}.log'
        text = re.sub('^srun .*', f'{command}{run_dir}', script, flags=re.MULTILINE)
        sbatch = ['sbatch', '--parsable', f'--output={log}']
        done = subprocess.run(sbatch, input=text, check=True, capture_output=True, text=True)
        number = done.stdout.strip()
        if name == 'requeued':
            metrics = run_dir / 'metrics.jsonl'
            _wait_for(lambda path=metrics: path.exists() and path.stat().st_size > 500, 120)
            subprocess.run(['scancel', '--signal=TERM', number], check=True)
        _wait_for(lambda number=number: number not in slurm._queue(), 150)
        printed = log.read_text()
        assert '2 processes, 2 devices' in printed
        resumed = re.search('resumes from the checkpoint of update [1-9]', printed)
        assert bool(resumed) == (name == 'requeued'), printed
        digests.append(saved_bytes.digest(run_dir, 200))
    assert digests[0] == digests[1]
