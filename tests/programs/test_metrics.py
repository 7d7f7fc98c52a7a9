"""Metrics in files: one line a step, without repeats, however often a run was stopped."""

import json

import numpy as np
import pytest

from launch.runs import errors
from launch.runs import metrics as metrics_lib


def _lines(run_dir):
    return (run_dir / 'metrics.jsonl').read_text().splitlines()


def _write(run_dir, start, steps):
    with metrics_lib.Metrics(run_dir, start, tensorboard=False) as metrics:
        for step in steps:
            metrics.write(step, {'loss': step + 0.5})


def test_each_step_is_one_line_of_json_at_once(tmp_path):
    with metrics_lib.Metrics(tmp_path, tensorboard=False) as metrics:
        metrics.write(10, {'loss': np.float32(5.25), 'words': np.int64(7)})
        assert _lines(tmp_path) == ['{"step": 10, "loss": 5.25, "words": 7}']
        metrics.write(20, {'loss': 4.5})
    assert metrics_lib.read_metrics(tmp_path / 'metrics.jsonl') == [
        {'step': 10, 'loss': 5.25, 'words': 7},
        {'step': 20, 'loss': 4.5},
    ]


def test_numbers_that_are_not_finite_are_null(tmp_path):
    with metrics_lib.Metrics(tmp_path, tensorboard=True) as metrics:
        metrics.write(1, {'a': float('nan'), 'b': np.float32('inf'), 'c': -np.inf, 'd': 2.5})

    def refuse(word):
        raise AssertionError(word)

    row = json.loads(_lines(tmp_path)[0], parse_constant=refuse)
    assert row == {'step': 1, 'a': None, 'b': None, 'c': None, 'd': 2.5}


def test_a_resumed_run_drops_later_steps_and_repeats_none(tmp_path):
    _write(tmp_path, 0, [10, 20, 30])
    _write(tmp_path, 20, [30, 40])
    steps = [row['step'] for row in metrics_lib.read_metrics(tmp_path / 'metrics.jsonl')]
    assert steps == [10, 20, 30, 40]
    _write(tmp_path, 0, [10])
    assert _lines(tmp_path) == ['{"step": 10, "loss": 10.5}']


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
    with pytest.raises(errors.RunError, match=r'metrics\.jsonl cannot be written') as caught:
        metrics_lib.Metrics(tmp_path / 'file')
    assert caught.value.code == errors.CANNOT_SAVE


def _events(folder):
    """Returns (step, tag) of each scalar and the steps where a resumed run began."""
    from tensorboardX.proto import event_pb2

    scalars, starts = [], []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:
            size = int.from_bytes(data[:8], 'little')
            event = event_pb2.Event.FromString(data[12 : 12 + size])
            data = data[12 + size + 4 :]
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


def test_points_are_the_numbers_of_a_column():
    rows = [{'step': 1, 'a': 7.0}, {'step': 2, 'a': None}, {'step': 3}, {'step': 4, 'a': 5}]
    assert metrics_lib.points([*rows, {'step': 5, 'a': 'x'}], 'a') == [(1, 7.0), (4, 5)]


def test_training_seconds_add_up_and_lie_between_the_lines_of_the_log():
    rows = [{'step': 10, 'seconds': 4.0}, {'step': 10, 'accuracy': 0.5}, {'step': 30, 'seconds': 6}]
    assert metrics_lib.training_seconds(rows, [0, 5, 10, 20, 30, 40]) == [0, 2, 4, 7, 10, 10]
    assert metrics_lib.training_seconds([], [7]) == [0]
