"""What runs have reached, out of the files that they write."""

import json

import pytest

from launch.runs import directory
from launch.sweeps import grid
from launch.sweeps import results as results_lib

GRID = grid.parse(['lm', 'core=rmc,lstm', 'seed=2,10,1', 'num_steps=8'])


@pytest.fixture
def runs(tmp_path):
    return GRID.runs(tmp_path)


def _write(run, values=(0.25, 0.5, 0.375), higher=True, describe=True):
    """Writes a run of 8 updates, 30 s each, that measures at 2, 4 and 6; with values None, none."""
    run.folder.mkdir()
    rows = [{'step': step, 'loss': 1.0, 'seconds': 60.0} for step in (2, 4, 6, 8)]
    rows += [{'step': 2 * k + 2, 'score': value} for k, value in enumerate(values)]
    rows.sort(key=lambda row: row['step'])
    (run.folder / 'metrics.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    if describe:
        directory.describe(run.folder, 'lm', {}, 3, 'words', 5, 'score', higher)


def test_a_run_is_read_with_the_time_it_has_trained_until_each_value(runs):
    _write(runs[1])
    result = results_lib.read(runs[1])
    assert (result.run, result.state, result.measure) == (runs[1], 'begun', 'score')
    assert result.steps == [2, 4, 6]
    assert result.seconds == [60.0, 120.0, 180.0]
    assert result.values == [0.25, 0.5, 0.375]
    assert (result.num_updates, result.all_seconds) == (8, 240.0)


def test_a_value_between_two_lines_of_the_clock_stands_between_their_times(runs):
    _write(runs[1])
    with (runs[1].folder / 'metrics.jsonl').open('a') as file:
        file.write('{"step": 9, "score": 0.4}\n{"step": 12, "seconds": 40}\n')
    assert results_lib.read(runs[1]).seconds[-1] == pytest.approx(250)


def test_a_run_that_has_not_begun_or_not_described_itself_has_nothing(runs):
    waiting = results_lib.read(runs[1])
    assert (waiting.state, waiting.values, waiting.best) == ('waiting', [], None)
    assert (waiting.num_updates, waiting.all_seconds, waiting.reached(0)) == (0, 0.0, None)
    _write(runs[1], describe=False)
    begun = results_lib.read(runs[1])
    assert (begun.state, begun.measure, begun.values, begun.num_updates) == ('begun', '', [], 8)


@pytest.mark.parametrize(
    ('higher', 'best', 'target', 'index'),
    [
        (True, 0.5, 0.3, 1),
        (True, 0.5, 0.25, 0),
        (True, 0.5, 0.6, None),
        (False, 0.25, 0.25, 0),
        (False, 0.25, 0.375, 0),
        (False, 0.25, 0.2, None),
    ],
)
def test_the_best_value_and_where_a_target_was_reached_depend_on_what_is_better(
    higher, best, target, index, runs
):
    _write(runs[1], higher=higher)
    result = results_lib.read(runs[1])
    assert result.best == best
    assert result.reached(target) == index


def test_a_run_is_done_if_it_ended_well_with_the_very_flags(runs):
    _write(runs[1])
    assert not results_lib.is_done(runs[1])
    results_lib.mark_done(runs[1])
    assert results_lib.is_done(runs[1])
    assert results_lib.read(runs[1]).state == 'done'
    longer = GRID._replace(fixed={'num_steps': '9'}).runs(runs[1].folder.parent)[1]
    assert not results_lib.is_done(longer)
    assert results_lib.read(longer).state == 'begun'


def test_the_table_has_a_line_for_each_configuration_in_order(runs):
    _write(runs[1])
    results_lib.mark_done(runs[1])
    _write(runs[5], values=())
    results = [results_lib.read(run) for run in runs]
    lines = [line.split() for line in results_lib.table(results, 0.3).splitlines()]
    header = 'configuration state best score last score 0.3 at update at minute minutes updates'
    assert lines[0] == header.split()
    seeds = ('1', '2', '10')
    names = [f'core={core},seed={seed}' for core in ('rmc', 'lstm') for seed in seeds]
    assert [line[0] for line in lines[1:7]] == names
    assert lines[2][1:] == ['done', '0.5', '0.375', '4', '2.0', '4.0', '8']
    assert lines[6][1:] == ['begun', '?', '?', 'never', '4.0', '8']
    assert lines[1][1:] == ['waiting', '?', '?', 'never', '0.0', '0']
    assert 'at update' not in results_lib.table(results)


def _write_seeds(runs, rmc=(1.0, 2.0, 3.0)):
    """Writes three runs of a core, whose last value is their best, and one of the other."""
    for run, value in zip(runs, rmc, strict=False):
        _write(run, values=(0.5, value), describe=False)
    _write(runs[3], values=(4.0,), describe=False)
    for run in runs[:4]:
        config, start = {'seed': run.configuration['seed']}, {'command': f'train {run.name}'}
        facts = config, 3, 'words', 5, 'score', True
        directory.describe(run.folder, 'lm', *facts, start=start)


def test_seeds_are_a_row_of_their_mean_and_standard_error(runs):
    _write_seeds(runs)
    results = [results_lib.read(run) for run in runs]
    rows = results_lib.mean_rows(results, 2.0)
    assert rows[0][1:6] == ['n', 'best score', 'last', 'reached 2', 'at update']
    # a deviation of 1 over the root of 3; seeds 2 and 10 reach 2 at update 4
    wanted = ['core=rmc', '3', '2.00 ± 0.58', '2.00 ± 0.58', '2 of 3', '4 ± 0', '4 ± 0', '8']
    assert rows[1] == wanted
    assert rows[2] == ['core=lstm', '1', '4', '4', '1 of 1', '2', '4', '8']
    assert results_lib.mean_rows(results[:1]) == []
    lines = results_lib.table(results).splitlines()
    assert lines[8].split()[:6] == ['mean', '±', 'standard', 'error', 'n', 'best']


def test_the_page_and_the_facts_name_the_runs_of_every_number(runs):
    _write_seeds(runs)
    results = [results_lib.read(run) for run in runs]
    page = results_lib.page('A title', results)
    assert page.startswith('# A title\n\n| mean ± standard error | n | best score | last |')
    assert '\n| core=rmc | 3 | 2.00 ± 0.58 | 2.00 ± 0.58 | 4 ± 0 | 8 |\n' in page
    assert f'- core=rmc,seed=2: `{runs[1].folder}`, seed 2, revision not recorded' in page
    assert '  `train core=lstm,seed=1`' in page
    assert 'core=lstm,seed=10:' not in page  # has not begun
    facts = results_lib.facts(results)
    names = ['core=rmc', 'core=lstm', *(run.name for run in runs)]
    assert [row['configuration'] for row in facts] == names
    assert facts[0]['best_standard_error'] == pytest.approx(1 / 3**0.5)
    assert facts[0]['seeds'] == '1; 2; 10'
    assert facts[2]['command'] == 'train core=rmc,seed=1'
    assert facts[7]['best'] is None


def test_results_are_apart_that_cannot_be_compared(runs):
    _write_seeds(runs)
    results = [results_lib.read(run) for run in runs]
    assert [len(group) for group in results_lib.by_setting(results).values()] == [4]
    config = {'dataset': 'pydoc', 'evaluation_batch': 4}
    about = {**results[0].description, 'config': config}
    groups = results_lib.by_setting([results[0]._replace(description=about), *results[1:]])
    assert list(groups) == ["Python's documentation, 4 streams", 'unnamed corpus']
    assert [len(group) for group in groups.values()] == [1, 3]


def test_a_result_in_short(runs):
    _write(runs[1])
    result = results_lib.read(runs[1])
    assert results_lib.describe(result) == 'score 0.375 (best 0.5), 4.0 min'
    waiting = results_lib.read(runs[0])
    assert results_lib.describe(waiting) == 'nothing measured'
