"""Disks that are really full, or can only be read, as root can mount them."""

import subprocess

import chex
import pytest

from launch import attention, lm
from launch.runs import errors, flags, metrics
from launch.training import loop
from tests.support import inspected, toy_task

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('compile_quickly')]
CONFIG = loop.Config(
    num_steps=200, batch_size=toy_task.B, log_every=1, evaluate_every=500, save_every=50
)


@pytest.fixture
def disk(tmp_path):
    """Returns a file system of 8 MB of its own."""
    path = tmp_path / 'disk'
    path.mkdir()
    command = ['mount', '-t', 'tmpfs', '-o', 'size=8m', 'none', str(path)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f'cannot mount a file system: {error}')
    yield path
    subprocess.run(['umount', str(path)], check=True)


def _fill(disk):
    with open(disk / 'filler', 'ab', buffering=0) as file:
        for size in (2**20, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue


def _train(disk, full):
    """Trains while the disk is full at some steps."""

    def on_step(step):
        if step == full.start:
            _fill(disk)
        if step == full.stop:
            (disk / 'filler').unlink()

    return loop.train(CONFIG, toy_task.make(on_step=on_step), str(disk / 'run'), {'config': {}})


def _steps(disk):
    return [row['step'] for row in metrics.read_metrics(disk / 'run' / 'metrics.jsonl')]


def test_a_disk_that_was_full_for_a_while_costs_lines_and_no_bit(disk, tmp_path, capsys):
    state = _train(disk, range(60, 165))
    whole = loop.train(CONFIG, toy_task.make(), str(tmp_path / 'whole'), {'config': {}})
    chex.assert_trees_all_equal(state, whole)
    steps = _steps(disk)
    assert {*range(1, 61), *range(166, 201)} <= set(steps)
    assert len(steps) < 150
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if 'No space left' in line and 'continues' in line]) == 4
    assert len([line for line in lines if 'is written again' in line]) == 2
    assert len(lines) == 6
    assert sorted(x.name for x in (disk / 'run/checkpoints').iterdir()) == ['200', '50']


def test_the_third_failed_save_ends_the_run_and_nothing_else_does(disk, capsys):
    with pytest.raises(errors.RunError, match='3 saves in a row failed') as caught:
        _train(disk, range(20, 300))
    assert caught.value.code == errors.CANNOT_SAVE
    assert 'continues without' in capsys.readouterr().err
    (disk / 'filler').unlink()
    assert _train(disk, range(0)).step == _steps(disk)[-1] == 200


def test_a_run_on_a_disk_that_can_only_be_read_is_evaluated_sampled_and_shown(
    disk, tmp_path, monkeypatch, capsys
):
    inspected.lm_run(disk)
    run_dir = disk / 'run'
    mounted = subprocess.run(['mount', '-o', 'remount,ro', str(disk)], check=False)
    assert mounted.returncode == 0
    with pytest.raises(OSError, match='Read-only file system'):
        (run_dir / 'file').touch()
    monkeypatch.chdir(tmp_path)
    program = lm.Config, lm.run, 'lm', lm.PRESETS
    assert flags.main(*program, ['--mode=generate', f'--run_dir={run_dir}']) == 0
    program = attention.Config, attention.run, 'attention', None
    assert flags.main(*program, [f'--run_dir={run_dir}', '--num_examples=1', '--max_steps=3']) == 0
    assert capsys.readouterr().err == ''
    assert (tmp_path / 'attention.html').is_file()
