"""Metrics in files: one line a step, without repeats, however often a run was stopped."""

import contextlib
import json
import resource
import socket
import time

import numpy as np
import pytest

from launch.runs import errors, events
from launch.runs import metrics as metrics_lib


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr(time, 'time', lambda: 1234567890.54)


def _lines(run_dir):
    return (run_dir / 'metrics.jsonl').read_text().splitlines()


def _write(run_dir, start, steps):
    with metrics_lib.Metrics(run_dir, start, tensorboard=False) as metrics:
        for step in steps:
            metrics.write(step, {'loss': step + 0.5})


def test_each_step_is_one_line_of_json_at_once(tmp_path):
    with metrics_lib.Metrics(tmp_path, tensorboard=False) as metrics:
        metrics.write(10, {'loss': np.float32(5.25), 'words': np.int64(7)})
        assert _lines(tmp_path) == ['{"step": 10, "loss": 5.25, "words": 7, "time": 1234567890.5}']
        metrics.write(20, {'loss': 4.5})
    assert metrics_lib.read_metrics(tmp_path / 'metrics.jsonl') == [
        {'step': 10, 'loss': 5.25, 'words': 7, 'time': 1234567890.5},
        {'step': 20, 'loss': 4.5, 'time': 1234567890.5},
    ]


def test_numbers_that_are_not_finite_are_null(tmp_path):
    with metrics_lib.Metrics(tmp_path, tensorboard=True) as metrics:
        metrics.write(1, {'a': float('nan'), 'b': np.float32('inf'), 'c': -np.inf, 'd': 2.5})

    def refuse(word):
        raise AssertionError(word)

    row = json.loads(_lines(tmp_path)[0], parse_constant=refuse)
    del row['time']
    assert row == {'step': 1, 'a': None, 'b': None, 'c': None, 'd': 2.5}


def test_a_resumed_run_drops_later_steps_and_repeats_none(tmp_path):
    _write(tmp_path, 0, [10, 20, 30])
    _write(tmp_path, 20, [30, 40])
    steps = [row['step'] for row in metrics_lib.read_metrics(tmp_path / 'metrics.jsonl')]
    assert steps == [10, 20, 30, 40]
    _write(tmp_path, 0, [10])
    assert _lines(tmp_path) == ['{"step": 10, "loss": 10.5, "time": 1234567890.5}']


def test_lines_cut_short_are_dropped(tmp_path):
    _write(tmp_path, 0, [10, 20])
    with open(tmp_path / 'metrics.jsonl', 'ab') as file:
        file.write(b'{"step": 15}\n[3]\n{"loss": 3}\n\xff\xfe\n{"step": 18, "lo')
    _write(tmp_path, 20, [30])
    steps = [row['step'] for row in metrics_lib.read_metrics(tmp_path / 'metrics.jsonl')]
    assert steps == [10, 20, 15, 30]
    assert len(_lines(tmp_path)) == 4


def test_a_missing_file_holds_no_metrics(tmp_path):
    assert metrics_lib.read_metrics(tmp_path / 'absent.jsonl') == []


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(errors.RunError, match='file cannot be written') as caught:
        metrics_lib.Metrics(tmp_path / 'file')
    assert caught.value.code == errors.CANNOT_SAVE


def _records(data):
    """Returns the records of an event file, with size and checksums."""
    records = []
    while data:
        end = 16 + int.from_bytes(data[:8], 'little')
        records.append(data[:end])
        data = data[end:]
    return records


def _events(folder):
    """Returns (step, tag) of each scalar and the steps where a resumed run began."""
    from tensorboardX.proto import event_pb2

    scalars, starts = [], []
    for path in sorted(folder.iterdir()):
        for record in _records(path.read_bytes()):
            event = event_pb2.Event.FromString(record[12:-4])
            scalars += [(event.step, value.tag) for value in event.summary.value]
            if event.session_log.status == event_pb2.SessionLog.START:
                starts.append(event.step)
    return scalars, starts


def test_tensorboard_holds_the_finite_scalars_and_hides_repeats(tmp_path):
    for start in (0, 10):
        with metrics_lib.Metrics(tmp_path, start) as metrics:
            metrics.write(start + 10, {'loss': 2.5, 'bad': float('nan')})
    scalars, starts = _events(tmp_path / 'tensorboard')
    assert scalars == [(10, 'loss'), (20, 'loss')]
    assert starts == [1, 11]


def test_event_files_have_the_bytes_that_tensorboardx_would_write(tmp_path, monkeypatch):
    from tensorboardX import writer

    monkeypatch.setattr(time, 'time', lambda: 1234567890.5)
    other = writer.SummaryWriter(str(tmp_path), purge_step=8, filename_suffix='.7')
    other.add_scalar('loss', 2.5, 9)
    other.close()
    path = events.path(tmp_path, 7)
    assert path.name == f'events.out.tfevents.1234567890.{socket.gethostname()}.7'
    version, _again, start, scalar = _records(path.read_bytes())
    assert events.header(7) == version + start
    assert events.scalars(9, {'loss': 2.5}) == scalar


@contextlib.contextmanager
def _full_disk(run_dir):
    """Lets no file of a run grow by more than 30 bytes, which is less than any of their records."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    sizes = [path.stat().st_size for path in run_dir.rglob('*') if path.is_file()]
    resource.setrlimit(resource.RLIMIT_FSIZE, (min(sizes) + 30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_costs_whole_lines_and_one_warning(tmp_path, capsys):
    with metrics_lib.Metrics(tmp_path) as metrics:
        metrics.write(1, {'loss': 1.5})
        with _full_disk(tmp_path):
            for step in range(2, 40):
                metrics.write(step, {'loss': 2.5, 'a': 1.25, 'b': 2.5, 'c': 5})
        metrics.write(40, {'loss': 4.5})
    assert [json.loads(line)['step'] for line in _lines(tmp_path)] == [1, 40]
    assert _events(tmp_path / 'tensorboard')[0] == [(1, 'loss'), (40, 'loss')]
    lines = capsys.readouterr().err.splitlines()
    for name in ('metrics.jsonl', 'events.out.tfevents'):
        told = [line for line in lines if name in line]
        assert len(told) == 2
        assert 'cannot be written: File too large; training continues without' in told[0]
        assert 'is written again; 38 updates are missing in it' in told[1]
    assert len(lines) == 4


def test_a_disk_that_stays_full_does_not_keep_the_files_from_closing(tmp_path, capsys):
    metrics = metrics_lib.Metrics(tmp_path)
    metrics.write(1, {'loss': 1.5})
    with _full_disk(tmp_path):
        metrics.write(2, {'loss': 2.5, 'a': 1.25, 'b': 2.5, 'c': 5})
        metrics.close()
    assert len(_lines(tmp_path)) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_points_are_the_numbers_of_a_column():
    rows = [{'step': 1, 'a': 7.0}, {'step': 2, 'a': None}, {'step': 3}, {'step': 4, 'a': 5}]
    assert metrics_lib.points([*rows, {'step': 5, 'a': 'x'}], 'a') == [(1, 7.0), (4, 5)]


def test_training_seconds_add_up_and_lie_between_the_lines_of_the_log():
    rows = [{'step': 10, 'seconds': 4.0}, {'step': 10, 'accuracy': 0.5}, {'step': 30, 'seconds': 6}]
    assert metrics_lib.training_seconds(rows, [0, 5, 10, 20, 30, 40]) == [0, 2, 4, 7, 10, 10]
    assert metrics_lib.training_seconds([], [7]) == [0]
