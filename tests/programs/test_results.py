"""What runs have reached, out of the files that they write."""

import json

import pytest

from launch.runs import directory
from launch.sweeps import grid
from launch.sweeps import results as results_lib

GRID = grid.parse(['lm', 'core=rmc,lstm', 'seed=2,10,1', 'num_steps=8'])
POINT = 'rmc', '2'


def _write_run(folder, point=POINT, values=(0.25, 0.5, 0.375), higher=True, describe=True):
    """Writes a run of 8 updates, 30 s each, that measures at 2, 4 and 6; with values None, none."""
    run_dir = folder / GRID.name(point)
    run_dir.mkdir(parents=True)
    rows = [{'step': step, 'loss': 1.0, 'seconds': 60.0} for step in (2, 4, 6, 8)]
    rows += [{'step': 2 * k + 2, 'score': value} for k, value in enumerate(values)]
    rows.sort(key=lambda row: row['step'])
    (run_dir / 'metrics.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    if describe:
        directory.describe(run_dir, 'lm', {}, 3, 'words', 5, 'score', higher)
    return run_dir


def test_a_run_is_read_with_the_time_it_has_trained_until_each_value(tmp_path):
    _write_run(tmp_path)
    result = results_lib.read_point(tmp_path, GRID, POINT)
    assert (result.point, result.state, result.measure) == (POINT, 'begun', 'score')
    assert result.steps == [2, 4, 6]
    assert result.seconds == [60.0, 120.0, 180.0]
    assert result.values == [0.25, 0.5, 0.375]
    assert (result.last_step, result.all_seconds) == (8, 240.0)


def test_a_value_between_two_lines_of_the_clock_stands_between_their_times(tmp_path):
    run_dir = _write_run(tmp_path)
    with (run_dir / 'metrics.jsonl').open('a') as file:
        file.write('{"step": 9, "score": 0.4}\n{"step": 12, "seconds": 40}\n')
    assert results_lib.read_point(tmp_path, GRID, POINT).seconds[-1] == pytest.approx(250)


def test_a_run_that_has_not_begun_or_not_described_itself_has_nothing(tmp_path):
    waiting = results_lib.read_point(tmp_path, GRID, POINT)
    assert (waiting.state, waiting.values, waiting.best) == ('waiting', [], None)
    assert (waiting.last_step, waiting.all_seconds, waiting.passed(0)) == (0, 0.0, None)
    _write_run(tmp_path, describe=False)
    begun = results_lib.read_point(tmp_path, GRID, POINT)
    assert (begun.state, begun.measure, begun.values, begun.last_step) == ('begun', '', [], 8)


@pytest.mark.parametrize(
    ('higher', 'best', 'level', 'place'),
    [
        (True, 0.5, 0.3, 1),
        (True, 0.5, 0.25, 0),
        (True, 0.5, 0.6, None),
        (False, 0.25, 0.25, 0),
        (False, 0.25, 0.375, 0),
        (False, 0.25, 0.2, None),
    ],
)
def test_the_best_value_and_where_a_level_was_passed_depend_on_what_is_better(
    higher, best, level, place, tmp_path
):
    _write_run(tmp_path, higher=higher)
    result = results_lib.read_point(tmp_path, GRID, POINT)
    assert result.best == best
    assert result.passed(level) == place


def test_a_run_is_done_if_it_ended_well_with_the_very_flags(tmp_path):
    _write_run(tmp_path)
    assert not results_lib.is_done(tmp_path, GRID, POINT)
    results_lib.mark_done(tmp_path, GRID, POINT)
    assert results_lib.is_done(tmp_path, GRID, POINT)
    assert results_lib.read_point(tmp_path, GRID, POINT).state == 'done'
    longer = GRID._replace(fixed={'num_steps': '9'})
    assert not results_lib.is_done(tmp_path, longer, POINT)
    assert results_lib.read_point(tmp_path, longer, POINT).state == 'begun'


def test_the_table_has_a_row_for_each_point_in_order(tmp_path):
    _write_run(tmp_path)
    results_lib.mark_done(tmp_path, GRID, POINT)
    _write_run(tmp_path, ('lstm', '10'), values=())
    results = results_lib.read(tmp_path, GRID)
    lines = [line.split() for line in results_lib.table(GRID, results, 0.3).splitlines()]
    header = 'point state best score last score 0.3 at update at minute minutes updates'
    assert lines[0] == header.split()
    seeds = ('1', '2', '10')
    names = [f'core={core},seed={seed}' for core in ('rmc', 'lstm') for seed in seeds]
    assert [line[0] for line in lines[1:]] == names
    assert lines[2][1:] == ['done', '0.5', '0.375', '4', '2.0', '4.0', '8']
    assert lines[6][1:] == ['begun', '?', '?', 'never', '4.0', '8']
    assert lines[1][1:] == ['waiting', '?', '?', 'never', '0.0', '0']
    assert 'at update' not in results_lib.table(GRID, results)


def test_a_run_of_several_networks_has_their_ranges(tmp_path):
    run_dir = _write_run(tmp_path)
    rows = [{'step': 9, 'score': 0.5, 'seed_0_score': 0.4, 'seed_1_score': 0.6}]
    (run_dir / 'metrics.jsonl').write_text(json.dumps(rows[0]) + '\n')
    _write_run(tmp_path, ('lstm', '10'))
    results = results_lib.read(tmp_path, GRID)
    assert [list(result.ranges) for result in results if result.values] == [[(0.4, 0.6)], []]
    lines = results_lib.table(GRID, results).splitlines()
    assert 'best mean score' in lines[0]
    assert 'last (range)' in lines[0]
    assert lines[2].split()[2:] == ['0.5', '0.5', '(0.4', 'to', '0.6)', '0.0', '9']


def test_a_result_in_a_few_words(tmp_path):
    _write_run(tmp_path)
    result = results_lib.read_point(tmp_path, GRID, POINT)
    assert results_lib.describe(result) == 'score 0.375 (best 0.5), 4.0 min'
    waiting = results_lib.read_point(tmp_path, GRID, ('rmc', '1'))
    assert results_lib.describe(waiting) == 'nothing measured'
