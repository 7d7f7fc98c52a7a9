"""The program that compares runs: what it prints, draws and refuses."""

import csv
import json
import pathlib

import pytest

from launch import report
from launch.reports import accuracy_figure, seeds
from launch.runs import directory, errors, flags, metrics, plots
from tests.programs import test_perplexities


def _rows(first=120.0, column='valid_perplexity', unit='words'):
    """Returns metrics of six updates: 10 s each, 5 s from the fourth on, measured at 3 and 6."""
    rows = []
    for step in range(1, 7):
        seconds = 10.0 if step < 4 else 5.0
        rows.append({'loss': 6 - step / 2, f'{unit}_per_second': 500 / seconds, 'seconds': seconds})
        rows[-1] = {'step': step, **rows[-1]}
        if step % 3 == 0:
            rows.append({'step': step, column: first / step})
    return rows


def _make(folder, rows=None, evaluation=None, **changes):
    """Writes a run's directory."""
    folder.mkdir(parents=True)
    lines = [json.dumps(row) + '\n' for row in (_rows() if rows is None else rows)]
    (folder / 'metrics.jsonl').write_text(''.join(lines))
    facts = {
        'program': 'lm',
        'config': {'core': 'rmc', 'dataset': 'text'},
        'parameters': 12_345,
        'unit': 'words',
        'units_per_update': 500,
        'measure': 'valid_perplexity',
    }
    directory.describe(folder, **{**facts, **changes})
    if evaluation:
        directory.write_json(folder / 'evaluation.json', evaluation)
    return folder


def _main(*words):
    return flags.main(report.Config, report.run, 'report', args=[str(word) for word in words])


def _printed(capsys, *words):
    """Runs the program and returns the cells of each line that it printed."""
    assert _main(*words) == 0, capsys.readouterr().err
    return [line.split() for line in capsys.readouterr().out.splitlines()]


RMC = 'Relational Memory Core'


def _points(picture):
    """Returns the points of the curves of a picture."""
    return {name: curve.points for name, curve in picture[0].items()}


@pytest.fixture
def curves(monkeypatch):
    """Returns (curves, keywords) of each picture that a test plots; the files are empty."""
    seen = []

    def plot_curves(series, output, **facts):
        seen.append((series, facts))
        pathlib.Path(output).touch()

    monkeypatch.setattr(plots, 'plot_curves', plot_curves)
    return seen


def test_a_run_is_a_line_of_the_table(tmp_path, capsys):
    run = _make(tmp_path / 'a', evaluation={'program': 'other', 'test': 37.125})
    _, title, header, line = _printed(capsys, run, f'--output={tmp_path / "out"}')[:4]
    assert title == ['own', 'text']
    assert header == [
        'run',
        'n',
        'parameters',
        'updates',
        'seen',
        'measure',
        'best',
        'last',
        'test',
        'speed',
    ]
    # 3,000 words in 45 s of training
    wanted = 'Relational Memory Core 1 12,345 6 3,000 words valid_perplexity 20 20 37.12 67 words/s'
    assert line == wanted.split()
    names = ['table.csv', 'table.md', 'valid_perplexity.png']
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == names


@pytest.mark.parametrize(
    ('heads', 'column', 'line'),
    [
        (
            ['mlp'],
            'accuracy',
            "published: the paper's RMC 0.91, from answers alone, after",
        ),
        (['mlp', 'distances'], 'accuracy', 'published numbers are left out: they are of 8 vectors'),
        (['mlp'], 'training_accuracy', "published: the paper's RMC 0.91"),
    ],
)
def test_published_numbers_are_next_to_runs_of_the_same_task_and_training(
    heads, column, line, tmp_path, curves, capsys
):
    facts = {'program': 'nth_farthest', 'unit': 'sequences', 'measure': 'accuracy'}
    runs = []
    for head in heads:
        config = {'core': 'rmc', 'num_objects': 8, 'num_dims': 16, 'head': head}
        rows = [{'step': 1, 'accuracy': 0.5, 'training_accuracy': 0.5}]
        runs.append(_make(tmp_path / head, rows, config=config, **facts))
    assert _main(*runs, f'--y={column}', f'--output={tmp_path / "out"}') == 0
    assert f'\n{line}' in capsys.readouterr().out
    shown = heads == ['mlp'] and column == 'accuracy'
    assert curves[0][1]['baselines'] == ({"the paper's RMC": 0.91} if shown else {})


def test_the_best_is_not_the_last_and_an_accuracy_is_best_where_it_is_high(
    tmp_path, capsys, curves
):
    values = (0.5, 0.75, 0.25)
    for column, best in (('valid_accuracy', '0.75'), ('valid_loss', '0.25')):
        rows = [{'step': step, column: value} for step, value in enumerate((*values, 0.5), 1)]
        run = _make(tmp_path / column, rows, measure=column, unit='sequences')
        line = _printed(capsys, run, f'--output={tmp_path}')[3]
        assert line[5:] == ['4', '2,000', 'sequences', column, best, '0.5', '?', '?']


def test_curves_are_over_what_runs_count(tmp_path, curves):
    one = _make(tmp_path / 'one')
    two = _make(tmp_path / 'two', _rows(240.0), units_per_update=1000)
    _main(one, two, f'--output={tmp_path}')
    assert _points(curves[0]) == {
        f'{RMC}: one': [(1500, 40.0), (3000, 20.0)],
        f'{RMC}: two': [(3000, 80.0), (6000, 40.0)],
    }
    assert curves[0][1]['x_label'] == 'words seen'
    assert curves[0][1]['log_scale']
    _main(one, '--x=words', f'--output={tmp_path}')
    assert _points(curves[1]) == {RMC: [(1500, 40.0), (3000, 20.0)]}


def test_curves_are_over_updates_or_minutes_of_training(tmp_path, curves):
    run = _make(tmp_path / 'a')
    _main('--x', 'steps', run, f'--output={tmp_path}')
    _main(run, '--x=minutes', f'--output={tmp_path}')
    assert _points(curves[0]) == {RMC: [(3, 40.0), (6, 20.0)]}
    assert _points(curves[1]) == {RMC: [(0.5, 40.0), (0.75, 20.0)]}
    labels = ['updates', 'minutes of training, without compiling']
    assert [facts['x_label'] for _, facts in curves] == labels


def test_minutes_of_an_evaluation_between_two_lines_are_those_between(tmp_path, curves):
    rows = [{'step': 4, 'seconds': 60.0}, {'step': 5, 'valid_perplexity': 9.0}]
    run = _make(tmp_path / 'a', [*rows, {'step': 8, 'seconds': 120.0}])
    _main(run, '--x=minutes', f'--output={tmp_path}')
    assert _points(curves[0]) == {RMC: [(1.5, 9.0)]}


@pytest.mark.parametrize(
    ('config', 'label'),
    [
        ({'head': 'distances'}, f'{RMC}, with auxiliary losses'),
        ({'head': 'mlp'}, RMC),
        ({'curriculum': 'naive'}, f'{RMC}, naive curriculum'),
        ({'curriculum': 'mix'}, RMC),
        ({'curriculum': None}, RMC),
    ],
)
def test_the_label_of_a_run_names_the_help_that_it_was_trained_with(
    config, label, tmp_path, curves, capsys
):
    run = _make(tmp_path / 'a', config={'core': 'rmc', **config})
    assert _main(run, f'--output={tmp_path}') == 0
    assert capsys.readouterr().out.splitlines()[3].startswith(f'{label}  ')
    assert list(curves[0][0]) == [label]


def test_runs_that_count_different_things_are_drawn_apart(tmp_path, curves, capsys):
    one, two = _make(tmp_path / 'one', unit='frames'), _make(tmp_path / 'two')
    _main(one, two, f'--output={tmp_path}')
    assert [facts['x_label'] for _, facts in curves] == ['environment steps', 'words seen']
    assert _main(one, two, '--x=words') == errors.USAGE
    wanted = "--x: wanted one of steps, minutes, got 'words'; the runs count different things"
    assert wanted in capsys.readouterr().err


def test_perplexities_of_other_streams_are_not_compared_in_silence(tmp_path, capsys, curves):
    for streams in (16, 64):
        _make(tmp_path / str(streams), config={'core': 'rmc', 'evaluation_batch': streams})
    runs = tmp_path / '16', tmp_path / '64'
    for some, told in ((runs[:1], False), (runs, True)):
        assert _main(*some, f'--output={tmp_path}') == 0
        line = '2 tasks that cannot be compared, each in a table and pictures of its own\n'
        assert (line in capsys.readouterr().out) == told
    titles = [facts['title'] for _, facts in curves]
    assert [title.split(', ')[-1] for title in titles] == ['16 streams', '16 streams', '64 streams']


def test_runs_that_measure_different_things_have_a_picture_each(tmp_path, curves, capsys):
    frames = _make(
        tmp_path / 'frames',
        _rows(column='return', unit='frames'),
        measure='return',
        unit='frames',
        program='pacman',
    )
    words = _make(tmp_path / 'words')
    out = tmp_path / 'out'
    _main(frames, words, f'--output={out}')
    names = ['return-pacman.png', 'table.csv', 'table.md', 'valid_perplexity-own-text.png']
    assert sorted(path.name for path in out.iterdir()) == names
    assert [facts['log_scale'] for _, facts in curves] == [False, True]
    assert [list(series) for series, _ in curves] == [[RMC], [RMC]]
    capsys.readouterr()
    for flag in ('--y=loss', '--x=steps'):
        assert _main(frames, words, flag, f'--output={tmp_path / "a.png"}') == errors.USAGE
        assert 'wanted a folder, for pictures of 2 tasks' in capsys.readouterr().err
    assert _main(words, '--y=loss', f'--output={tmp_path / "deep" / "a.png"}') == 0
    assert [path.name for path in (tmp_path / 'deep').iterdir()] == ['a.png']


def test_a_run_is_shown_once_and_runs_of_one_name_by_their_paths(tmp_path, curves, capsys):
    one, two = _make(tmp_path / 'x' / 'run'), _make(tmp_path / 'y' / 'run')
    lines = _printed(capsys, one, two, f'{one}/', f'--output={tmp_path}')
    assert [line[3] for line in lines[3:5]] == [str(one), str(two)]
    assert list(curves[0][0]) == [f'{RMC}: {one}', f'{RMC}: {two}']


def test_runs_with_nothing_to_plot_are_reported(tmp_path, curves, capsys):
    run = _make(tmp_path / 'young', [{'step': 2, 'loss': 7.5, 'seconds': 3.0}])
    assert _main(run, f'--output={tmp_path / "out"}') == 0
    out = capsys.readouterr().out
    assert out.startswith('young: nothing to plot, no valid_perplexity yet\n')
    assert 'picture' not in out
    assert _main(run, '--x=minutes', '--y=loss', f'--output={tmp_path / "out"}') == 0
    assert 'loss.png' in capsys.readouterr().out


def _make_programs(folder, task='program', evaluated=True, **changes):
    """Writes the directory of a run of `learning_to_execute`."""
    config = {'core': 'rmc', 'task': task, 'nesting': 2, 'length': 5, 'dialect': 'sonnet'}
    config |= {'decoding': 'non_autoregressive', 'curriculum': 'mix', **changes}
    accuracies = {'character_accuracy': 0.625, 'sequence_accuracy': 0.25}
    facts = {'program': 'learning_to_execute', 'sequences': 640, 'test': 0.625, **accuracies}
    return _make(
        folder,
        _rows(3.0, 'character_accuracy', 'sequences'),
        evaluation={**config, **facts} if evaluated else None,
        program='learning_to_execute',
        config=config,
        unit='sequences',
        measure='character_accuracy',
    )


@pytest.fixture
def figures(monkeypatch):
    """Returns (curves, label) of each Figure 8 that a test draws."""
    seen = []
    monkeypatch.setattr(
        accuracy_figure,
        'draw',
        lambda runs, curves, output, label: seen.append((curves, label)),
    )
    return seen


def test_programs_are_compared_as_in_table_1_and_figure_8(tmp_path, capsys, curves, figures):
    one, two = _make_programs(tmp_path / 'one'), _make_programs(tmp_path / 'two', nesting=3)
    young = _make_programs(tmp_path / 'young', 'addition', evaluated=False)
    words = _make(tmp_path / 'words')
    lines = _printed(capsys, one, two, young, words, f'--output={tmp_path / "out"}')
    assert ['Learning', 'to', 'Execute,', 'program,', 'nesting', '3,', 'length', '5'] in lines
    assert [*RMC.split(), '12,345', '62.5', '(25.0)'] in lines
    tables = [' '.join(line) for line in lines if line[:3] == ['accuracy', 'in', '%']]
    assert [table.split(' of test, ')[1] for table in tables] == [
        'nesting 2, length 5, as in Table 1',
        'nesting 3, length 5, as in Table 1',
    ]
    assert ['picture', str(tmp_path / 'out' / 'programs.png')] in lines
    points = [(3, 1.0), (6, 0.5)]
    assert _points(figures[0]) == {'one': points, 'two': points, 'young': points}
    assert figures[0][1] == 'updates'


def test_figure_8_is_over_the_unit_asked_for_and_in_folders_only(tmp_path, curves, figures):
    run = _make_programs(tmp_path / 'run')
    assert _main(run, '--x=minutes', f'--output={tmp_path}') == 0
    assert _points(figures[0]) == {'run': [(0.5, 1.0), (0.75, 0.5)]}
    assert figures[0][1].startswith('minutes of training')
    assert _main(run, f'--output={tmp_path / "alone.png"}') == 0
    assert len(figures) == 1


def test_without_programs_there_is_no_figure_8(tmp_path, curves, figures, capsys):
    _main(_make(tmp_path / 'words'), f'--output={tmp_path}')
    assert figures == []
    assert 'Table 1' not in capsys.readouterr().out


def _fails(capsys, code, *words):
    capsys.readouterr()
    got = _main(*words)
    err = capsys.readouterr().err
    assert (got, err.count('\n')) == (code, 1), err
    assert err.startswith('report: ')
    return err


def _damage(folder, name, text):
    (_make(folder) / name).write_text(text)
    return folder


def test_what_is_no_run_is_refused_in_one_line(tmp_path, capsys):
    good, empty, older = _make(tmp_path / 'good'), tmp_path / 'empty', _make(tmp_path / 'older')
    empty.mkdir()
    (older / 'run.json').unlink()
    programs = _make_programs(tmp_path / 'p', evaluated=False)
    (programs / 'evaluation.json').write_text('{"program": "learning_to_execute"}')
    description = (programs / 'run.json').read_text().replace('"task"', '"no task"')
    (programs / 'run.json').write_text(description)
    for run, reason in (
        (tmp_path / 'absent', "absent: wanted a run's directory, there is no such folder"),
        (empty, 'it has no metrics.jsonl'),
        (_damage(tmp_path / 'a', 'metrics.jsonl', 'text\n'), 'has no metrics yet'),
        (_damage(tmp_path / 'b', 'run.json', '{"unit": '), 'run.json cannot be read'),
        (_damage(tmp_path / 'c', 'evaluation.json', '[]'), 'wanted an object of JSON, got list'),
        (_damage(tmp_path / 'd', 'evaluation.json', '{"program": "lm"}'), '--mode=evaluate'),
        (programs, 'p: has no character_accuracy, sequence_accuracy, sequences, task: evaluate'),
        (older, "older: wanted a run's directory, it has no run.json"),
        (
            _damage(tmp_path / 'e', 'run.json', '{"unit": "words"}'),
            'run.json has no config, measure,',
        ),
    ):
        line = _fails(capsys, errors.BAD_DATA, good, run, f'--output={tmp_path / "out"}')
        assert reason in line
    assert not (tmp_path / 'out').exists()


def test_bad_flags_are_refused_in_one_line(tmp_path, capsys):
    run = _make(tmp_path / 'a')
    assert 'the following arguments are required: runs' in _fails(capsys, errors.USAGE)
    line = _fails(capsys, errors.USAGE, run, '--x=frames')
    assert "--x: wanted one of steps, minutes, words, got 'frames'" in line
    line = _fails(capsys, errors.USAGE, run, '--y=valid_los')
    known = 'loss, seconds, valid_perplexity, words_per_second'
    assert f"--y: wanted one of {known}, got 'valid_los'" in line
    assert 'no flag --outptu' in _fails(capsys, errors.USAGE, run, '--outptu=b')


def test_a_folder_that_cannot_be_written_is_named(tmp_path, capsys):
    run = _make(tmp_path / 'a')
    (tmp_path / 'file').write_text('')
    line = _fails(capsys, errors.CANNOT_SAVE, run, f'--output={tmp_path / "file"}')
    assert 'file: cannot be written' in line


def test_reading_changes_nothing_in_a_run(tmp_path):
    run = _make(tmp_path / 'a')
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    _main(run, f'--output={tmp_path / "out"}')
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    assert len(metrics.read_metrics(run / 'metrics.jsonl')) == 8


def _make_seeds(folder, core, values, **flags):
    """Writes runs of seeds 0, 1 and so on; each has measured one value at update 3, one at 6."""
    paths = []
    for seed, value in enumerate(values):
        rows = [{'step': step, 'valid_perplexity': value * step} for step in (3, 6)]
        config = {'core': core, 'dataset': 'text', 'seed': seed, 'run_dir': str(seed), **flags}
        start = {'revision': 'abc', 'host': 'here', 'command': f'train {core} {seed}'}
        path = folder / f'{core}-{seed}'
        paths.append(_make(path, rows, {'test': value}, config=config, start=start))
    return paths


def test_seeds_are_a_mean_in_tables_and_pictures_that_can_be_traced(tmp_path, curves, capsys):
    rmc = _make_seeds(tmp_path, 'rmc', (1.0, 2.0, 3.0))
    lstm = _make_seeds(tmp_path, 'lstm', (4.0,))
    lines = _printed(capsys, *rmc, *lstm, f'--output={tmp_path / "out"}')
    # a deviation of 6 at update 6, of 3 at update 3 and of 1 in test, each over the root of 3
    wanted = '3 12,345 6 3,000 words valid_perplexity 6.0 ± 1.7 12.0 ± 3.5 2.00 ± 0.58 ?'
    assert lines[3] == [*RMC.split(), *wanted.split()]
    assert lines[4] == [
        'LSTM',
        '1',
        '12,345',
        '6',
        '3,000',
        'words',
        'valid_perplexity',
        '12',
        '24',
        '4',
        '?',
    ]
    mean = curves[0][0][RMC]
    assert mean.points == [(1500, 6.0), (3000, 12.0)]
    assert mean.errors == pytest.approx([3 / 3**0.5, 6 / 3**0.5])
    assert mean.singles == [[(1500, 3 * x), (3000, 6 * x)] for x in (1, 2, 3)]
    assert curves[0][1]['styles'][RMC]['color'] == plots.CORES['rmc'][1]
    with (tmp_path / 'out' / 'table.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [(row['run'], row['n']) for row in rows] == [
        *((RMC, '3'), ('rmc-0', '1'), ('rmc-1', '1'), ('rmc-2', '1'), ('LSTM', '1'))
    ]
    assert float(rows[0]['last']) == 12
    assert float(rows[0]['last_standard_error']) == pytest.approx(6 / 3**0.5)
    assert rows[0]['seeds'] == '0; 1; 2'
    assert rows[2]['command'] == 'train rmc 1'
    page = (tmp_path / 'out' / 'table.md').read_text()
    assert f'| {RMC} | 3 | 12,345 | 6 | 3,000 words | valid_perplexity | 6.0 ± 1.7 |' in page
    assert f'- rmc-2: `{rmc[2]}`, seed 2, revision abc, on here' in page
    assert '  `train lstm 0`' in page


def test_pictures_have_the_formats_asked_for(tmp_path, curves, capsys):
    run = _make(tmp_path / 'a')
    assert _main(run, f'--output={tmp_path / "out"}', '--formats=pdf,svg') == 0
    names = sorted(path.name for path in (tmp_path / 'out').iterdir())
    assert names == ['table.csv', 'table.md', 'valid_perplexity.pdf', 'valid_perplexity.svg']
    assert _main(run, f'--output={tmp_path / "one.pdf"}') == 0
    assert (tmp_path / 'one.pdf').exists()
    line = _fails(capsys, errors.USAGE, run, '--formats=png,gif')
    assert "--formats: wanted some of png,pdf,svg, got 'png,gif'" in line


def test_programs_of_several_seeds_are_one_curve_and_one_row(tmp_path, curves, figures, capsys):
    runs = [_make_programs(tmp_path / name, seed=seed) for seed, name in enumerate('ab')]
    lines = _printed(capsys, *runs, f'--output={tmp_path / "out"}')
    assert [*f'{RMC}, n = 2 12,345 62.5 ± 0 (25 ± 0)'.split()] in lines
    same = [(3, 1.0), (6, 0.5)]
    assert figures[0][0] == {'a': seeds.mean_curve([same, same])}


def test_language_models_on_one_text_meet_in_one_table_whatever_their_tokens(
    tmp_path, capsys, curves
):
    for unit, corpus in (('byte', 'c0ffee'), ('character', 'beef')):
        evaluation = {**test_perplexities._with_text(unit, corpus, 2.0), 'program': 'lm'}
        _make(tmp_path / unit, evaluation=evaluation, data=corpus)
    runs = tmp_path / 'byte', tmp_path / 'character'
    assert _main(*runs, f'--output={tmp_path / "out"}', '--y=loss') == 0
    out = capsys.readouterr().out
    table = out[out.index('the text of text, whatever the tokens') :]
    assert [line.split()[3:4] for line in table.splitlines()[2:4]] == [['own'], ['own']]
    assert [word for word in table.split() if word in ('bytes', 'characters')][-2:] == [
        'bytes',
        'characters',
    ]
