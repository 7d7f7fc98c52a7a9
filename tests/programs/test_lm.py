"""The program from end to end on a tiny text: it learns, resumes, samples, measures, complains."""

import contextlib
import dataclasses
import errno
import io
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest

from launch import lm
from launch.language import corpus as corpus_lib
from launch.language import evaluation as evaluation_lib
from launch.language import model as model_lib
from launch.runs import checkpoint, directory, errors, metrics
from launch.runs import flags as flags_lib
from launch.trained import loading
from launch.training import devices, kernels, loop
from tasks import storage
from tests.support import compilers, saved_bytes, text_folders

pytestmark = pytest.mark.usefixtures('compile_once', 'compile_quickly')
ROOT = pathlib.Path(__file__).resolve().parents[2]
NUM_STEPS = 40
SIZES = (
    '--total_units=16 --num_heads=2 --attention_mlp_layers=1 --embedding_size=16 --dropout=0.2 '
    '--output_dropout=0.1 --softmax=full --unroll_length=5 --batch_size=4 --learning_rate=0.02 '
    f'--schedule=constant --warmup_steps=0 --num_steps={NUM_STEPS} --log_every=10 '
    '--evaluate_every=20 --save_every=20 --num_words=8'
)


class Run(NamedTuple):
    """A finished run of the program."""

    flags: list[str]
    run_dir: pathlib.Path
    evaluation: dict[str, object]
    out: str


def _write_corpus(folder, seed=0):
    """Writes three splits of sentences with a grammar, of 36 words with <unk> and <eos>."""
    rng = np.random.default_rng(seed)
    texts = {}
    for split, count in (('train', 300), ('valid', 40), ('test', 50)):
        lines = []
        for a, b, c in rng.integers(0, 11, (count, 3)):
            lines.append(f'the adj{a} noun{a} verb{b} the adj{c} noun{c}\n')
        texts[f'{split}.txt'] = ''.join(lines)
    return text_folders.write(folder, texts)


def _main(*flags):
    """Runs the program in this process and returns its exit code."""
    return flags_lib.main(lm.Config, lm.run, 'lm', lm.PRESETS, flags)


def _run(*flags):
    """Runs the program in this process and returns what it found and printed."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        found = lm.run(flags_lib.parse(lm.Config, flags, 'lm', lm.PRESETS))
    return found, out.getvalue()


def _fails(capsys, code, *flags):
    """Runs the program, checks its exit code and that it printed one line, and returns that."""
    capsys.readouterr()
    got = _main(*flags)
    err = capsys.readouterr().err
    assert (got, err.count('\n')) == (code, 1), err
    assert err.startswith('lm: ')
    return err


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Returns the flags that name a corpus and a cache."""
    root = tmp_path_factory.mktemp('data')
    folder = _write_corpus(root / 'text')
    return ['--dataset=text', f'--data_dir={folder}', f'--cache_dir={root / "cache"}']


@pytest.fixture(scope='module')
def trained(data, tmp_path_factory, compile_once, compile_quickly):
    """Returns a run that nothing disturbed; tests do not change it."""
    run_dir = tmp_path_factory.mktemp('trained')
    flags = [*data, *SIZES.split(), f'--run_dir={run_dir}']
    return Run(flags, run_dir, *_run(*flags))


def _elsewhere(trained, run_dir):
    return [*trained.flags[:-1], f'--run_dir={run_dir}']


def _copy(trained, tmp_path):
    return pathlib.Path(shutil.copytree(trained.run_dir, tmp_path / 'copy'))


def _training_perplexities(run_dir):
    rows = metrics.read_metrics(run_dir / 'metrics.jsonl')
    return [row['perplexity'] for row in rows if 'perplexity' in row]


def test_training_prints_falling_perplexities_and_where_its_files_are(trained):
    training = _training_perplexities(trained.run_dir)
    assert len(training) == NUM_STEPS // 10
    assert training == sorted(training, reverse=True)
    assert training[-1] < 0.7 * training[0]
    rows = metrics.read_metrics(trained.run_dir / 'metrics.jsonl')
    valid = {row['step']: row['valid_perplexity'] for row in rows if 'valid_perplexity' in row}
    final = trained.evaluation['splits']['valid']['perplexity']
    assert valid[20] > valid[40] == pytest.approx(final)
    assert f'step 10/{NUM_STEPS}' in trained.out
    assert 'words/s' in trained.out
    assert 'words of train / valid / test, a vocabulary of 36' in trained.out
    for name in ('perplexity.png', 'metrics.jsonl', 'evaluation.json'):
        assert str(trained.run_dir / name) in trained.out
        assert (trained.run_dir / name).exists()
    assert list((trained.run_dir / 'tensorboard').iterdir())
    about = directory.read_description(trained.run_dir)
    assert (about['unit'], about['units_per_update']) == ('words', 20)


def test_n_gram_models_of_the_same_text_are_listed_with_its_own(trained):
    found = trained.evaluation
    models = {**found['ngrams'], 'rmc': {s: x['perplexity'] for s, x in found['splits'].items()}}
    lines = {line.split()[0]: line.split()[1:] for line in trained.out.splitlines() if line.strip()}
    for name in ('unigram', 'bigram', 'rmc'):
        assert lines[name] == [f'{models[name][split]:.2f}' for split in ('valid', 'test')]
    # By the grammar: three words of eight (with <eos>) are a choice of 11; what the bigram cannot
    # know is which of `the` and the end of the line follows, and little else.
    assert models['bigram']['valid'] < models['unigram']['valid'] < 36
    assert 11 ** (3 / 8) < models['bigram']['valid'] < 1.5 * 11 ** (3 / 8) * 2 ** (2 / 8)


def test_an_lstm_of_as_many_parameters_and_an_adaptive_softmax_learn_too(trained, tmp_path):
    evaluation, out = _run(*_elsewhere(trained, tmp_path), '--core=lstm', '--softmax=adaptive')
    assert evaluation['core'] == 'lstm'
    counts = [
        int(text.split(' in the core')[0].split()[-1].replace(',', ''))
        for text in (trained.out, out)
    ]
    assert 0.85 * counts[0] < counts[1] <= counts[0]
    training = _training_perplexities(tmp_path)
    assert training[-1] < 0.7 * training[0]


def test_an_averaged_and_regularized_run_is_evaluated_sampled_and_loaded_by_its_average(
    trained, tmp_path
):
    words = '--average=0.5', '--weight_decay=0.1', '--variational_dropout', '--embedding_dropout=.1'
    evaluation, _ = _run(*_elsewhere(trained, tmp_path), *words, '--num_steps=20')
    read = '--mode=evaluate', f'--run_dir={tmp_path}', trained.flags[2], '--num_words=8'
    again, _ = _run(*read)
    assert {**again, 'unroll': None} == evaluation
    assert _run('--mode=generate', *read[1:])[0] == evaluation['sample']
    run = loading.load(tmp_path)
    corpus = corpus_lib.load(run.config)
    sizes = corpus.valid, run.config.evaluation_batch, 5
    score = model_lib.make_score(lm.make_model(run.config, 36), corpus.vocabulary)
    wanted = evaluation['splits']['valid']['perplexity']
    assert evaluation_lib.perplexity(score(run.params, *sizes)) == pytest.approx(wanted)
    state = loop.initial_state(run.config, lm.build(run.config))
    last = checkpoint.Reader(tmp_path).restore(state).state.params
    assert evaluation_lib.perplexity(score(last, *sizes)) != pytest.approx(wanted, rel=1e-3)


@pytest.mark.slow
def test_kill_9_then_sigterm_then_the_end_give_equal_bytes(trained, tmp_path, compile_once):
    words = [*_elsewhere(trained, tmp_path), '--save_every=1', '--log_every=1']
    environment = {**os.environ, **compile_once, 'JAX_DISABLE_MOST_OPTIMIZATIONS': '1'}
    for step, number in ((7, signal.SIGKILL), (17, signal.SIGTERM)):
        with subprocess.Popen(
            [sys.executable, '-m', 'launch.lm', *words],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            printed = []
            for line in process.stdout:
                printed.append(line)
                if line.startswith(f'step {step}/'):
                    process.send_signal(number)
                    break
            _, error = process.communicate(timeout=120)
        if number == signal.SIGKILL:
            assert process.returncode == -signal.SIGKILL, error
            killed = max(_saved(tmp_path))
            assert step - 1 <= killed < NUM_STEPS
    assert process.returncode == errors.INTERRUPTED, error
    assert f'resumes from the checkpoint of update {killed}\n' in printed
    last = max(_saved(tmp_path))
    assert 17 <= last < NUM_STEPS
    assert error == (
        f'lm: stopped by SIGTERM after update {last}, saved; run the same command again to resume\n'
    )
    evaluation, out = _run(*_elsewhere(trained, tmp_path))
    assert f'resumes from the checkpoint of update {last}' in out
    digests = {saved_bytes.digest(path, NUM_STEPS) for path in (tmp_path, trained.run_dir)}
    assert len(digests) == 1
    assert evaluation == trained.evaluation


def _saved(run_dir):
    """Returns the steps of whole checkpoints."""
    names = [path.name for path in (run_dir / 'checkpoints').iterdir()]
    return [int(name) for name in names if name.isdecimal()]


def test_generation_needs_no_corpus_and_depends_on_the_seed(trained, tmp_path):
    run_dir = _copy(trained, tmp_path)
    flags = '--mode=generate', f'--run_dir={run_dir}', '--num_words=12', '--prompt=the adj3'
    (first, out), again, other = (_run(*flags, f'--seed={seed}') for seed in (5, 5, 6))
    assert (first, out) == again
    assert first != other[0]
    assert out == f'{first}\n'
    assert first.startswith('the adj3')
    assert len(first.replace('\n', ' <eos> ').split()) == 2 + 12
    assert '<unk>' not in first


def test_an_evaluation_has_the_sample_that_generation_gives(trained):
    assert f'a sample: {trained.evaluation["sample"]}\n' in trained.out
    flags = '--mode=generate', f'--run_dir={trained.run_dir}', '--num_words=8'
    assert _run(*flags)[0] == trained.evaluation['sample']


def test_unknown_words_of_a_prompt_are_named_and_read_as_unk(trained, capsys):
    flags = ['--mode=generate', f'--run_dir={trained.run_dir}', '--num_words=2']
    assert _main(*flags, '--prompt=the xyzzy noun1 xyzzy plugh') == 0
    out, err = capsys.readouterr()
    assert out.startswith('the xyzzy noun1 xyzzy plugh')
    assert err == "--prompt: not in the vocabulary, read as <unk>: 'xyzzy', 'plugh'\n"


@pytest.mark.parametrize(
    ('flags', 'parts'),
    [
        ('--dataset=gigawrd', ['--dataset: wanted one of pydoc, text', "got 'gigawrd'"]),
        ('--datset=text', ['no flag --datset', 'did you mean dataset']),
        ('--preset=big', ['--preset: wanted one of cpu, paper', "'big'"]),
        ('--core=gru', ['--core: wanted one of rmc, lstm']),
        ('--mode=test', ['--mode: wanted one of train, evaluate, generate']),
        ('--softmax=sparse', ['--softmax: wanted one of full, adaptive']),
        ('--tokenizer=bpe', ['--tokenizer: wanted one of whitespace, words']),
        ('--dataset=text', ['wanted --data_dir=DIR']),
        ('--data_dir=texts', ['wanted no --data_dir', "'texts'"]),
        ('--total_units=16 --num_heads=3', ['--total_units: wanted a multiple of', '3, got 16']),
        ('--vocab_size=2', ['--vocab_size: wanted 0 (all) or at least 3, got 2']),
        (
            '--embedding_size=8 --softmax=adaptive',
            ['--embedding_size: wanted at least 16', 'got 8'],
        ),
        ('--gate_style=none --output_gate=True', ['wanted --gate_style=unit or memory, got none']),
        ('--dropout=1', ['--dropout: wanted at most 0.99, got 1']),
        ('--top_p=0', ['--top_p: wanted at least 0.001, got 0']),
        ('--mode=evaluate', ['--mode=evaluate: wanted --run_dir=DIR']),
        ('--mode=generate', ['--mode=generate: wanted --run_dir=DIR']),
        ('--mode=benchmark', ['--mode=benchmark: wanted --vocab_size=WORDS']),
        ('--target=h200', ['--target: wanted --mode=benchmark with it, got train']),
        ('--mode=benchmark --vocab_size=9 --target=h3', ['--target: wanted one of a100, ']),
        ('--gigaword_text=title', ['--gigaword_text: wanted one of document, summary, both']),
        ('--gigaword_text=both', ['--gigaword_text: wanted --dataset=gigaword, got pydoc']),
        ('--dataset=gutenberg', ['--dataset=gutenberg: wanted --data_dir=DIR']),
        ('--dtype=float16', ['--dtype: wanted one of float32, bfloat16']),
        ('--accumulate=0', ['--accumulate: wanted at least 1, got 0']),
        ('--num_processes=2', ['--num_processes=2: wanted --coordinator_address too']),
        ('--transformer_size=12', ['--transformer_size: wanted 0 or a multiple of', 'got 12']),
        (
            '--mode=generate --run_dir=x --num_processes=2 --process_id=0 '
            '--coordinator_address=a:1',
            ['--mode=generate: wanted one process, got 2'],
        ),
    ],
)
def test_bad_flags_get_one_line_and_touch_nothing(flags, parts, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = _fails(capsys, errors.USAGE, *flags.split())
    assert [part for part in parts if part not in line] == []
    assert list(tmp_path.iterdir()) == []


def _without_valid(folder):
    (folder / 'valid.txt').unlink()


def _with_empty_test(folder):
    (folder / 'test.txt').write_text('')


def _with_blank_train(folder):
    (folder / 'train.txt').write_text('\n \n\n')


def _with_latin_1(folder):
    with (folder / 'train.txt').open('ab') as file:
        file.write('caf\xe9\n'.encode('latin-1'))


def _short(folder):
    (folder / 'train.txt').write_text('a few words of one line\n')


def _gone(folder):
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ('damage', 'parts'),
    [
        (_without_valid, ['has no valid split', 'valid.txt']),
        (_with_empty_test, ['the test split (test.txt) is empty']),
        (_with_blank_train, ['train.txt holds no words: the train split']),
        (_with_latin_1, ['train.txt is not UTF-8', '0xe9', 'convert']),
        (
            _short,
            ['text in ', 'the train split has 7 words', '--batch_size x --unroll_length need 21'],
        ),
        (_gone, ['is neither a folder nor a file', 'data_dir']),
    ],
)
def test_bad_data_get_one_line(damage, parts, tmp_path, capsys):
    folder = _write_corpus(tmp_path / 'text')
    damage(folder)
    flags = ['--dataset=text', f'--data_dir={folder}', f'--cache_dir={tmp_path / "cache"}']
    line = _fails(capsys, errors.BAD_DATA, *flags, *SIZES.split(), f'--run_dir={tmp_path / "run"}')
    assert [part for part in parts if part not in line] == []


def test_a_text_of_few_words_is_too_small_for_an_adaptive_softmax(tmp_path, capsys):
    folder = _write_corpus(tmp_path / 'text')
    (folder / 'train.txt').write_text('a few words of text\n' * 20)
    flags = ['--dataset=text', f'--data_dir={folder}', f'--cache_dir={tmp_path / "cache"}']
    flags += [*SIZES.split(), '--softmax=adaptive', f'--run_dir={tmp_path / "run"}']
    line = _fails(capsys, errors.BAD_DATA, *flags)
    assert 'wanted at least 16 different words for --softmax=adaptive, got 7' in line


def test_a_text_that_changed_since_the_checkpoint_is_refused(trained, tmp_path, capsys):
    other = _write_corpus(tmp_path / 'other', seed=1)
    before = (trained.run_dir / corpus_lib.VOCABULARY).read_bytes()
    for mode in ('train', 'evaluate'):
        flags = *trained.flags, f'--data_dir={other}', f'--mode={mode}'
        line = _fails(capsys, errors.BAD_DATA, *flags)
        assert f'the data has changed since the checkpoint of step {NUM_STEPS}' in line
    assert (trained.run_dir / corpus_lib.VOCABULARY).read_bytes() == before


@pytest.mark.parametrize('change', ['--unroll_length=6', '--core=lstm', '--seed=1'])
def test_a_checkpoint_of_another_configuration_is_refused(change, trained, capsys):
    line = _fails(capsys, errors.MISMATCH, *trained.flags, change)
    name, value = change[2:].split('=')
    assert 'the checkpoint has another configuration' in line
    assert f'{name}: ' in line
    assert f'-> {value}' in line


def test_generation_refuses_a_flag_that_contradicts_the_checkpoint(trained, capsys):
    flags = '--mode=generate', f'--run_dir={trained.run_dir}', '--embedding_size=24'
    assert 'embedding_size: 16 -> 24' in _fails(capsys, errors.MISMATCH, *flags)


def test_a_checkpoint_older_than_a_flag_has_its_default(trained, tmp_path, monkeypatch, capsys):
    train, flags = loop.train, [*_elsewhere(trained, tmp_path), '--num_steps=1']

    def train_without_dtype(config, task, run_dir, metadata):
        older = {name: x for name, x in metadata['config'].items() if name != 'dtype'}
        return train(config, task, run_dir, {**metadata, 'config': older})

    with monkeypatch.context() as patch:
        patch.setattr(loop, 'train', train_without_dtype)
        evaluation, _ = _run(*flags)
    again, out = _run(*flags)
    assert again == evaluation
    assert 'changed' not in out
    line = _fails(capsys, errors.MISMATCH, *flags, '--dtype=bfloat16')
    assert 'dtype: float32 -> bfloat16' in line


def test_other_devices_are_reported(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, 'describe_devices', lambda: '3 x abacus')
    _, out = _run(*_elsewhere(trained, _copy(trained, tmp_path)))
    line = 'changed since the checkpoint: devices: 1 x cpu -> 3 x abacus; the last bits may differ'
    assert line in out


def test_the_benchmark_reports_memory_and_time_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = *SIZES.split(), '--mode=benchmark', '--vocab_size=50'
    costs, out = _run(*flags, '--repeats=2')
    assert 'memory of the compiled update, each device: 0.00 GB = ' in out
    assert 'words/s' in out
    params = int(re.search('rmc: ([0-9,]+) parameters', out)[1].replace(',', ''))
    assert costs['arguments_bytes'] > 3 * 4 * params  # with both moments of Adam
    assert costs['planned_bytes'] >= costs['arguments_bytes'] + costs['scratch_bytes']
    assert costs['per_second'] == pytest.approx(4 * 5 / costs['seconds'])
    assert costs['peak_bytes'] > costs['planned_bytes']
    compiled, out = _run(*flags, '--repeats=0')
    assert 'words/s' not in out
    assert compiled == {name: costs[name] for name in compiled}
    assert list(tmp_path.iterdir()) == []


@compilers.needed('gpu')
@pytest.mark.slow
@pytest.mark.parametrize(('target', 'count'), [('h200', 1), ('h200:2x2', 4)])
def test_the_update_of_a_model_is_planned_for_devices_that_are_not_here(target, count, tmp_path):
    path = tmp_path / 'costs.json'
    flags = *SIZES.split(), '--mode=benchmark', '--vocab_size=50', f'--target={target}'
    whole, out = _run(*flags, f'--output={path}')
    assert f'on {count} x NVIDIA H200 141GB HBM3e, planned' in out
    assert 'fits the 151.40 GB of each device' in out
    written = json.loads(path.read_text())
    assert written['config']['target'] == target
    assert written['program']['total'] == kernels.count(whole['program']) > 20
    assert {loop.steps for loop in whole['program'].loops} >= {5}  # the unrolls, back and forth
    assert whole['devices'] == count
    if count == 1:
        parts, _ = _run(*flags, '--accumulate=2')
        assert kernels.count(parts['program']) > 1.5 * kernels.count(whole['program'])
        half, _ = _run(*flags, '--dtype=bfloat16')
        assert half['arguments_bytes'] == whole['arguments_bytes']  # parameters stay float32


def test_a_changed_schedule_is_reported_and_training_resumes(trained, tmp_path):
    run_dir = _copy(trained, tmp_path)
    _, out = _run(*_elsewhere(trained, run_dir), f'--num_steps={NUM_STEPS + 2}')
    assert f'changed since the checkpoint: num_steps: {NUM_STEPS} -> {NUM_STEPS + 2}' in out
    assert f'resumes from the checkpoint of update {NUM_STEPS}\n' in out
    assert max(_saved(run_dir)) == NUM_STEPS + 2


def test_a_run_that_is_training_can_be_sampled_from(trained, capsys):
    with directory.owned(trained.run_dir):
        assert _main('--mode=generate', f'--run_dir={trained.run_dir}') == 0
    assert capsys.readouterr().out.split()


@pytest.mark.parametrize('mode', ['evaluate', 'generate'])
def test_what_can_only_be_read_is_evaluated_and_sampled_from(mode, trained, monkeypatch, capsys):
    def fail(path, *_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    before = sorted(trained.run_dir.rglob('*'))
    for module, name in [(storage, 'write_text'), (storage, 'lock'), (os, 'mkdir')]:
        monkeypatch.setattr(module, name, fail)
    monkeypatch.setattr('launch.runs.plots.plot_curves', lambda *_, **__: fail('curves.png'))
    assert _main(*trained.flags, f'--mode={mode}') == 0
    out, err = capsys.readouterr()
    wanted = ['evaluation.json', 'curves.png'] if mode == 'evaluate' else []
    lines = err.splitlines()
    assert ['Read-only file system' in line for line in lines] == [True] * len(wanted)
    assert all(name in line for name, line in zip(wanted, lines, strict=True))
    assert out
    assert sorted(trained.run_dir.rglob('*')) == before


@pytest.mark.parametrize('mode', ['evaluate', 'generate'])
def test_a_directory_without_checkpoints_is_refused_and_not_made(mode, tmp_path, capsys):
    absent, empty = tmp_path / 'absent', tmp_path / 'empty'
    (empty / 'checkpoints').mkdir(parents=True)
    line = _fails(capsys, errors.BAD_DATA, f'--mode={mode}', f'--run_dir={absent}')
    assert f'--run_dir={absent}' in line
    assert not absent.exists()
    line = _fails(capsys, errors.BAD_DATA, f'--mode={mode}', f'--run_dir={empty}')
    assert 'wanted a run with a checkpoint' in line


def test_a_vocabulary_that_is_not_the_checkpoints_is_refused_until_training_writes_it_again(
    trained, tmp_path, capsys
):
    run_dir = _copy(trained, tmp_path)
    path, generate = run_dir / corpus_lib.VOCABULARY, ('--mode=generate', f'--run_dir={run_dir}')
    first, second, *rest = path.read_text().splitlines(keepends=True)
    path.write_text(''.join([second, first, *rest]))
    line = _fails(capsys, errors.BAD_DATA, *generate)
    assert f'{path} is not the one that the checkpoint belongs to' in line
    path.unlink()
    assert f'{path} cannot be read' in _fails(capsys, errors.BAD_DATA, *generate)
    _run(*_elsewhere(trained, run_dir))
    assert _run(*generate, '--num_words=8')[0] == trained.evaluation['sample']


def _other(value):
    """Returns another value of the same kind."""
    if isinstance(value, bool):
        return not value
    return f'{value}x' if value is None or isinstance(value, str) else value + 1


def test_every_flag_is_refused_reported_or_free_when_a_run_is_resumed():
    on_resume = flags_lib.on_resume(lm.Config)
    saved = dataclasses.asdict(lm.Config())
    assert on_resume.keys() == saved.keys()
    for name, kind in on_resume.items():
        now = {**saved, name: _other(saved[name])}
        if kind == 'fixed':
            with pytest.raises(errors.RunError, match=f'{name}: {saved[name]} -> ') as stop:
                directory.check_config(saved, now, on_resume)
            assert stop.value.code == errors.MISMATCH
        else:
            lines = [f'{name}: {saved[name]} -> {now[name]}'] if kind == 'warn' else []
            assert directory.check_config(saved, now, on_resume) == lines


def test_what_a_model_is_and_what_it_was_trained_on_cannot_change():
    on_resume = flags_lib.on_resume(lm.Config)
    names = 'seed batch_size unroll_length dataset vocab_size tokenizer core total_units softmax'
    assert {on_resume[name] for name in names.split()} == {'fixed'}
    free = 'run_dir data_dir cache_dir log_every evaluate_every save_every keep mode prompt'
    assert {on_resume[name] for name in free.split()} == {'free'}


@pytest.mark.parametrize('preset', lm.PRESETS)
def test_every_preset_is_a_whole_configuration(preset):
    config = flags_lib.parse(lm.Config, [f'--preset={preset}'], 'lm', lm.PRESETS)
    assert config == lm.PRESETS[preset]
    assert flags_lib.parse(lm.Config, [], 'lm', lm.PRESETS) == lm.PRESETS['cpu']


def test_a_single_file_is_split_and_only_resumed_with_the_same_split(tmp_path, capsys):
    text = (_write_corpus(tmp_path / 'text') / 'train.txt').read_text()
    text_folders.write(tmp_path, {'book.txt': text})
    flags = '--dataset=text', f'--data_dir={tmp_path / "book.txt"}', *SIZES.split()
    flags = *flags, f'--run_dir={tmp_path / "run"}', f'--cache_dir={tmp_path / "cache"}'
    evaluation, _ = _run(*flags, '--num_steps=3', '--split_shares=0.8,0.1,0.1')
    lines = [split['words'] / 8 for split in evaluation['splits'].values()]
    assert lines == pytest.approx([30, 30], abs=1)
    for flag in ('--split_shares=0.9,0.05,0.05', '--split_seed=1'):
        wrong = _fails(capsys, errors.MISMATCH, *flags, '--split_shares=0.8,0.1,0.1', flag)
        assert flag.partition('=')[0].removeprefix('--') in wrong
