"""Evaluation from end to end on a tiny text: what training leaves, what is measured and kept."""

import contextlib
import io
import json
import os
import pathlib
import shutil
import signal

import numpy as np
import pytest

from launch import lm, report
from launch.language import evaluation as evaluation_lib
from launch.runs import directory, errors
from launch.runs import flags as flags_lib
from tasks import base
from tests.support import text_folders

pytestmark = pytest.mark.usefixtures('compile_once', 'compile_quickly')
SIZES = (
    '--core=lstm --lstm_size=7 --embedding_size=16 --softmax=full --schedule=constant '
    '--warmup_steps=0 --unroll_length=9 --batch_size=4 --num_steps=3 --log_every=1 --num_words=2 '
    '--evaluation_batch=3'
)


def _run(*flags):
    """Runs the program in this process and returns what it found and printed."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        found = lm.run(flags_lib.parse(lm.Config, flags, 'lm', lm.PRESETS))
    return found, out.getvalue()


def _read(run_dir, name=directory.EVALUATION):
    return json.loads((pathlib.Path(run_dir) / name).read_text())


@pytest.fixture(scope='module')
def trained(tmp_path_factory, compile_once, compile_quickly):
    """Returns a trained run, its flags and its evaluation; tests do not change it."""
    root = tmp_path_factory.mktemp('root')
    rng = np.random.default_rng(3)
    texts = {}
    for split, count in (('train', 1500), ('valid', 300), ('test', 700)):
        words = [f'w{rank}' for rank in rng.zipf(1.5, count) % 29]
        texts[f'{split}.txt'] = ' '.join(words) + '\n'
    text_folders.write(root / 'text', texts)
    cache = f'--cache_dir={root / "cache"}'
    flags = ['--dataset=text', f'--data_dir={root / "text"}', cache, *SIZES.split()]
    evaluation, _ = _run(*flags, f'--run_dir={root / "run"}')
    return root / 'run', flags, evaluation


def _evaluate(trained, run_dir, *flags):
    """Evaluates a copy of the run, with no more flags than it needs."""
    free = trained[1][2], '--num_words=2'
    return _run('--mode=evaluate', f'--run_dir={run_dir}', *free, *flags)


@pytest.fixture(scope='module')
def evaluated(trained, tmp_path_factory):
    """Returns a copy of the run that was evaluated, its evaluation, and what was printed."""
    run_dir = shutil.copytree(trained[0], tmp_path_factory.mktemp('evaluated') / 'run')
    return pathlib.Path(run_dir), *_evaluate(trained, run_dir)


def _copy(run_dir, tmp_path):
    return pathlib.Path(shutil.copytree(run_dir, tmp_path / 'copy'))


def test_training_leaves_a_description_of_the_run(trained):
    about = _read(trained[0], 'run.json')
    assert about['program'] == 'lm'
    assert about['config']['unroll_length'] == 9
    assert (about['unit'], about['units_per_update']) == ('words', 36)
    assert about['measure'] == 'valid_perplexity'
    assert about['parameters'] > 500


def test_training_leaves_the_quick_part_of_an_evaluation(trained):
    run_dir, _, found = trained
    evaluation = _read(run_dir)
    assert evaluation == found
    facts = {'program': 'lm', 'step': 3, 'core': 'lstm', 'dataset': 'text'}
    assert {name: evaluation[name] for name in facts} == facts
    assert evaluation['test'] == evaluation['splits']['test']['perplexity']
    assert evaluation['splits']['valid']['words'] == 301  # with an <eos>
    assert evaluation['unroll'] is None
    assert not (run_dir / 'unroll.png').exists()


def test_evaluation_adds_unroll_lengths_to_the_same_numbers(trained, evaluated):
    run_dir, found, out = evaluated
    evaluation = _read(run_dir)
    assert evaluation == found
    assert {**evaluation, 'unroll': None} == _read(trained[0])
    assert evaluation['unroll']['words'] == 701
    assert evaluation['unroll']['carried'] == evaluation['test']
    assert len(set(evaluation['unroll']['perplexities'])) == 6
    for title in ('perplexity per word', 'times in train', 'state reset every', '<unk> is 0.00%'):
        assert title in out
    for name in (directory.EVALUATION, 'frequency.png', 'unroll.png'):
        assert str(run_dir / name) in out
        assert (run_dir / name).exists()


def test_evaluating_again_gives_the_same_bytes(trained, evaluated, tmp_path):
    run_dir = _copy(trained[0], tmp_path)
    _evaluate(trained, run_dir)
    again = (run_dir / directory.EVALUATION).read_bytes()
    assert again == (evaluated[0] / directory.EVALUATION).read_bytes()


def test_evaluation_takes_a_text_that_was_moved(trained, tmp_path):
    moved = shutil.copytree(trained[1][1].removeprefix('--data_dir='), tmp_path / 'moved')
    run_dir = _copy(trained[0], tmp_path)
    flags = '--dataset=text', f'--data_dir={moved}', '--evaluation_words=1'
    assert {**_evaluate(trained, run_dir, *flags)[0], 'unroll': None} == trained[2]


def test_unroll_lengths_stay_until_the_model_changes(trained, evaluated, tmp_path):
    run_dir = _copy(evaluated[0], tmp_path)
    finished, out = _run(*trained[1], f'--run_dir={run_dir}')  # there is nothing left to train
    assert finished['unroll'] == evaluated[1]['unroll']
    assert 'state reset every' in out
    assert _read(run_dir) == finished
    later, out = _run(*trained[1], f'--run_dir={run_dir}', '--num_steps=4')
    assert later['unroll'] is None
    assert 'state reset every' not in out
    assert _read(run_dir) == later


def test_dynamic_evaluation_stands_beside_the_same_numbers_and_stays(trained, evaluated, tmp_path):
    run_dir = _copy(trained[0], tmp_path)
    found, out = _evaluate(trained, run_dir, '--dynamic_evaluation=0.5', '--dynamic_decay=0.01')
    assert {**found, 'dynamic': None} == evaluated[1]
    dynamic = found['dynamic']
    facts = {'learning_rate': 0.5, 'decay': 0.01, 'window': 9, 'streams': 1}
    assert {name: dynamic[name] for name in facts} == facts
    for split in ('valid', 'test'):
        assert dynamic[split] < 0.9 * found['splits'][split]['perplexity']
    assert f'dynamic evaluation: {dynamic["valid"]:.2f} of validation' in out
    assert 'not comparable' in out
    again, _ = _evaluate(trained, run_dir)
    assert again == found == evaluation_lib.load(run_dir)
    forged = {**found, 'dynamic': {**dynamic, 'test': 'low'}}
    directory.write_json(run_dir / directory.EVALUATION, forged)
    with pytest.raises(base.DataError, match=r'dynamic\.test'):
        evaluation_lib.load(run_dir)


@pytest.mark.parametrize(
    ('words', 'wanted'),
    [
        ('--dynamic_evaluation=0.1', '_evaluation: wanted --mode=evaluate with it, got train'),
        ('--dynamic_decay=0', '_decay: wanted --dynamic_evaluation with it, got 0'),
        (
            '--mode=evaluate --run_dir=x --dynamic_decay=0.1',
            '_decay: wanted --dynamic_evaluation with it, got 0',
        ),
    ],
)
def test_flags_of_dynamic_evaluation_that_would_do_nothing_are_refused(words, wanted, capsys):
    run = lambda config: None  # noqa: E731
    assert flags_lib.main(lm.Config, run, 'lm', lm.PRESETS, words.split()) == errors.USAGE
    assert f'--dynamic{wanted}' in capsys.readouterr().err


def test_a_damaged_evaluation_is_replaced(trained, tmp_path):
    run_dir = _copy(trained[0], tmp_path)
    (run_dir / directory.EVALUATION).write_text('{"program": "lm"')
    _run(*trained[1], f'--run_dir={run_dir}')
    assert _read(run_dir) == trained[2]


def test_a_long_text_is_cut_and_the_tables_say_so(trained, tmp_path):
    run_dir = _copy(trained[0], tmp_path)
    _, out = _evaluate(trained, run_dir, '--evaluation_words=650')
    assert '(of the first 650 of 701 words of test)' in out
    unroll = _read(run_dir)['unroll']
    assert unroll['words'] == 650
    assert unroll['carried'] != _read(run_dir)['test']
    _, out = _evaluate(trained, run_dir, '--evaluation_words=0')
    assert '(of all 701 words of test)' in out


def test_a_signal_stops_an_evaluation_and_leaves_what_was_there(
    trained, tmp_path, monkeypatch, capsys
):
    run_dir = _copy(trained[0], tmp_path)
    before = (run_dir / directory.EVALUATION).read_bytes()
    windows = []

    def interrupt(counter, words):
        windows.append(words)
        if len(windows) == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(evaluation_lib._Counter, '__call__', interrupt)
    flags = ['--mode=evaluate', f'--run_dir={run_dir}', trained[1][2]]
    assert flags_lib.main(lm.Config, lm.run, 'lm', lm.PRESETS, flags) == errors.INTERRUPTED
    line = 'lm: stopped by SIGTERM; run the same command again to resume\n'
    assert capsys.readouterr().err == line
    assert (run_dir / directory.EVALUATION).read_bytes() == before
    assert len(windows) == 4


def test_the_report_compares_such_runs(trained, evaluated, tmp_path, capsys):
    runs = [str(evaluated[0]), str(_copy(trained[0], tmp_path))]
    out = tmp_path / 'out'
    assert flags_lib.main(report.Config, report.run, 'report', args=[*runs, f'--output={out}']) == 0
    printed = capsys.readouterr().out
    for title in ('as in Table 2', 'as in Table 3', 'as in Figure 12'):
        assert printed.count(title) == 1
    names = {'frequency.png', 'unroll.png', 'valid_perplexity.png', 'table.csv', 'table.md'}
    assert {path.name for path in out.iterdir()} == names
