"""The program on characters and bytes, from a text to samples and inspections."""

import contextlib
import io
import re

import numpy as np
import pytest

from launch import lm, trained
from launch.inspection import lm as inspection
from launch.inspection import tracing
from launch.runs import errors
from launch.runs import flags as flags_lib
from launch.training import experiment
from tests.support import text_folders

pytestmark = pytest.mark.usefixtures('compile_once', 'compile_quickly')
SIZES = (
    '--total_units=16 --num_heads=2 --attention_mlp_layers=1 --embedding_size=16 --dropout=0 '
    '--output_dropout=0 --softmax=full --unroll_length=8 --batch_size=4 --learning_rate=0.02 '
    '--schedule=constant --warmup_steps=0 --num_steps=40 --log_every=10 --num_words=12 '
    '--evaluation_batch=2'
)
LINES = 'Où est  l€été ?\n\tIci.\n\n'


def _run(*flags):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        found = lm.run(flags_lib.parse(lm.Config, flags, 'lm', lm.PRESETS))
    return found, out.getvalue()


@pytest.fixture(scope='module', params=['characters', 'bytes'])
def run(request, tmp_path_factory, compile_once, compile_quickly):
    """Returns the unit, the directory, the evaluation and the output of a trained run."""
    root = tmp_path_factory.mktemp(request.param)
    text_folders.write(root, {'book.txt': LINES * 200})
    flags = (
        *('--dataset=gutenberg', f'--data_dir={root / "book.txt"}', *SIZES.split()),
        *(f'--tokenizer={request.param}', f'--cache_dir={root / "cache"}'),
        f'--run_dir={root / "run"}',
    )
    return request.param, root / 'run', *_run(*flags)


def test_a_model_of_pieces_learns_and_calls_them_by_their_name(run):
    units, _, evaluation, out = run
    counts = re.search(r'gutenberg: ([\d,]+) / ([\d,]+) / ([\d,]+) (\w+) of train', out)
    assert counts[4] == units
    pieces = LINES if units == 'characters' else LINES.encode()
    total = sum(int(counts[i].replace(',', '')) for i in (1, 2, 3))
    assert total == 200 * len(pieces)
    assert f'perplexity per {units[:-1]} ' in out
    assert f'{units}/s' in out
    assert evaluation['unit'] == units[:-1]
    assert evaluation['vocab_size'] == (257 if units == 'bytes' else len({*LINES}) + 1)
    assert evaluation['splits']['test']['oov_rate'] == 0
    size = evaluation['texts']['test']
    num_tokens = evaluation['splits']['test']['words']
    bits = num_tokens * np.log2(evaluation['test']) / size['bytes']
    assert size['bits_per_byte'] == pytest.approx(bits)
    assert size['bytes'] == num_tokens if units == 'bytes' else size['bytes'] > num_tokens
    assert re.search(rf'bits per byte +[\d.]+ +{size["bits_per_byte"]:.3f}\n', out)
    assert 1 < evaluation['test'] < evaluation['ngrams']['unigram']['test']


def test_a_prompt_is_continued_without_spaces_between_its_pieces(run):
    flags = '--mode=generate', f'--run_dir={run[1]}', '--num_words=60', '--temperature=0'
    text, out = _run(*flags, '--prompt=Où est  ')
    assert out == f'{text}\n'
    assert text.startswith('Où est  ')
    assert len(text) == 8 + 60 if run[0] == 'characters' else len(text) <= 8 + 60


def test_unknown_pieces_of_a_prompt_are_named_unless_they_are_bytes(run, capsys):
    _run('--mode=generate', f'--run_dir={run[1]}', '--num_words=1', '--prompt=été\t🙂')
    err = capsys.readouterr().err
    unknown = "--prompt: not in the vocabulary, read as <unk>: '🙂'\n"
    assert err == (unknown if run[0] == 'characters' else '')


def test_a_run_from_python_encodes_and_decodes_the_text_as_it_is(run):
    model = trained.load(str(run[1]))
    text = ' Où\t l€été\n'
    ids = model.encode(text)
    assert len(ids) == 1 + len(text if run[0] == 'characters' else text.encode())
    assert model.decode(ids) == f'\n{text}'
    logits, _ = model.logits(ids)
    assert logits.shape == (len(ids), len(model.vocabulary))
    tokens = list(model.stream('été', 7))
    assert len(tokens) == 7
    assert model.generate('été', 7) == model.tokenizer.join(
        [*model.vocabulary.decode(model.encode('été')[1:]), *tokens]
    )


@pytest.mark.parametrize('prompt', ['', 'l€été \t'])
def test_an_inspection_shows_spaces_and_parts_of_characters(run, prompt):
    subject = inspection.inspect(tracing.Request(str(run[1]), 2, 12, 1, prompt))
    assert len(subject.examples) == 2
    for example in subject.examples:
        labels = [step.label for step in example.steps]
        assert len(labels) == 12
        assert labels[0] == '⏎'
        assert not any(label.isspace() or 'Ġ' in label for label in labels)
        if prompt:
            parts = ['â', 'Ĥ', '¬'] if run[0] == 'bytes' else ['€']
            assert labels[1 : 2 + len(parts)] == ['l', *parts]
            assert {'␣', '⇥'} < {*labels}
        else:
            assert example.title.startswith(f'{run[0][:-1]} ')
    inputs = subject.examples[0].inputs
    assert np.isfinite(inputs).all()


def test_runs_of_pieces_have_a_directory_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = []
    for tokenizer in (None, 'words', 'bytes'):
        config = lm.Config(dataset='text', data_dir='a.txt', tokenizer=tokenizer)
        names.append(experiment.default_directory(lm.EXPERIMENT, config))
    assert names == [*['runs/lm-text-a.txt-rmc'] * 2, 'runs/lm-text-a.txt-bytes-rmc']


def test_a_vocabulary_of_bytes_has_one_size(capsys):
    code = flags_lib.main(
        lm.Config, lm.run, 'lm', lm.PRESETS, ['--tokenizer=bytes', '--vocab_size=100']
    )
    assert code == errors.USAGE
    assert (
        '--vocab_size: wanted 0 or 257 with --tokenizer=bytes, got 100' in capsys.readouterr().err
    )
