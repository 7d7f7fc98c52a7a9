"""Evaluation from end to end on a tiny text: what training leaves, what is measured and written."""

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
from launch.runs import errors
from launch.runs import flags as flags_lib

pytestmark = pytest.mark.usefixtures('compile_once')
SIZES = (
    '--core=lstm --lstm_size=7 --embedding_size=16 --softmax=full --schedule=constant '
    '--unroll_length=9 --batch_size=4 --num_steps=3 --log_every=1 --num_words=2 '
    '--evaluation_batch=3'
)


def _run(*flags):
    """Runs the program in this process and returns what it measured and printed."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        results = lm.run(flags_lib.parse(lm.Config, flags, 'lm', lm.PRESETS))
    return results, out.getvalue()


def _read(run_dir, name='evaluation.json'):
    return json.loads((pathlib.Path(run_dir) / name).read_text())


@pytest.fixture(scope='module')
def trained(tmp_path_factory, compile_once):
    """Returns a trained run, its cache and what it measured; tests do not change it."""
    root = tmp_path_factory.mktemp('root')
    rng = np.random.default_rng(3)
    (root / 'text').mkdir()
    for split, count in (('train', 1500), ('valid', 300), ('test', 700)):
        words = [f'w{rank}' for rank in rng.zipf(1.5, count) % 29]
        (root / 'text' / f'{split}.txt').write_text(' '.join(words) + '\n')
    cache = f'--cache_dir={root / "cache"}'
    flags = ['--dataset=text', f'--data_dir={root / "text"}', cache, *SIZES.split()]
    results, _ = _run(*flags, f'--run_dir={root / "run"}')
    return root / 'run', cache, results


@pytest.fixture(scope='module')
def evaluated(trained, tmp_path_factory):
    """Returns a copy of the run that was evaluated, what was measured and printed."""
    run_dir = shutil.copytree(trained[0], tmp_path_factory.mktemp('evaluated') / 'run')
    results, out = _run(
        '--mode=evaluate', f'--run_dir={run_dir}', trained[1], '--evaluation_batch=3'
    )
    return pathlib.Path(run_dir), results, out


def test_training_says_what_the_run_is(trained):
    about = _read(trained[0], 'run.json')
    assert about['program'] == 'lm'
    assert about['config']['unroll_length'] == 9
    assert (about['unit'], about['units_per_update']) == ('words', 36)
    assert about['measure'] == 'valid_perplexity'
    assert about['parameters'] == _read(trained[0])['parameters'] > 500


def test_training_leaves_the_quick_part_of_an_evaluation(trained):
    run_dir, _, results = trained
    evaluation = _read(run_dir)
    assert (evaluation['step'], evaluation['core'], evaluation['dataset']) == (3, 'lstm', 'text')
    assert evaluation['test'] == evaluation['splits']['test']['perplexity'] == results['lstm_test']
    assert evaluation['splits']['valid']['words'] == 301  # with an <eos>
    assert evaluation['unroll'] is None
    assert not (run_dir / 'unroll.png').exists()


def test_evaluation_adds_unroll_lengths_to_the_same_numbers(trained, evaluated):
    run_dir, results, out = evaluated
    assert results == trained[2]
    evaluation = _read(run_dir)
    assert {**evaluation, 'unroll': None} == _read(trained[0])
    assert evaluation['unroll']['words'] == 701
    assert evaluation['unroll']['carried'] == evaluation['test']
    assert len(set(evaluation['unroll']['perplexities'])) == 6
    for title in ('perplexity per word', 'times in train', 'state anew every', '<unk> is 0.00%'):
        assert title in out
    for name in ('evaluation.json', 'frequency.png', 'unroll.png'):
        assert str(run_dir / name) in out
        assert (run_dir / name).exists()


def test_evaluating_again_gives_the_same_bytes(trained, evaluated, tmp_path):
    run_dir = shutil.copytree(trained[0], tmp_path / 'run')
    _run('--mode=evaluate', f'--run_dir={run_dir}', trained[1], '--evaluation_batch=3')
    again = (run_dir / 'evaluation.json').read_bytes()
    assert again == (evaluated[0] / 'evaluation.json').read_bytes()


def test_a_long_text_is_cut_and_that_is_said(trained, tmp_path):
    run_dir = shutil.copytree(trained[0], tmp_path / 'run')
    flags = ['--evaluation_words=650', '--evaluation_batch=3']
    _, out = _run('--mode=evaluate', f'--run_dir={run_dir}', trained[1], *flags)
    assert 'unroll lengths: on the first 650 of 701 words of test; --evaluation_words=0' in out
    unroll = _read(run_dir)['unroll']
    assert unroll['words'] == 650
    assert unroll['carried'] != _read(run_dir)['test']


def test_a_signal_stops_an_evaluation_and_leaves_what_was_there(
    trained, tmp_path, monkeypatch, capsys
):
    run_dir = shutil.copytree(trained[0], tmp_path / 'run')
    before = (run_dir / 'evaluation.json').read_bytes()
    windows = []

    def interrupt(ticker, words):
        windows.append(words)
        if len(windows) == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(evaluation_lib.Ticker, '__call__', interrupt)
    flags = ['--mode=evaluate', f'--run_dir={run_dir}', trained[1]]
    assert flags_lib.main(lm.Config, lm.run, 'lm', lm.PRESETS, flags) == errors.INTERRUPTED
    assert (
        capsys.readouterr().err == 'lm: stopped by SIGTERM; run the same command again to resume\n'
    )
    assert (run_dir / 'evaluation.json').read_bytes() == before
    assert len(windows) == 4


def test_the_report_lays_such_runs_over_each_other(trained, evaluated, tmp_path, capsys):
    shutil.copytree(trained[0], tmp_path / 'older')
    (tmp_path / 'older' / 'run.json').unlink()
    runs = [str(evaluated[0]), str(tmp_path / 'older')]
    out = tmp_path / 'out'
    assert flags_lib.main(report.Config, report.run, 'report', args=[*runs, f'--output={out}']) == 0
    printed = capsys.readouterr().out
    for title in ('as in Table 2', 'as in Table 3', 'as in Figure 12'):
        assert printed.count(title) == 1
    names = ['frequency.png', 'unroll.png', 'valid_perplexity.png']
    assert sorted(path.name for path in out.iterdir()) == names
