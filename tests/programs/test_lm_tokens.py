"""The program on characters, bytes and subwords, from a text to samples and inspections."""

import contextlib
import io
import re
import sys

import numpy as np
import pytest
import tokenizers

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


@pytest.fixture(scope='module', params=['characters', 'bytes', 'subwords'])
def run(request, tmp_path_factory, compile_once, compile_quickly):
    """Returns the unit, the directory, the evaluation and the output of a trained run."""
    root = tmp_path_factory.mktemp(request.param)
    return request.param, root / 'run', *_run(*_flags(root, request.param))


def _flags(root, tokenizer):
    text_folders.write(root, {'book.txt': LINES * 200})
    return (
        *('--dataset=gutenberg', f'--data_dir={root / "book.txt"}', *SIZES.split()),
        *(f'--tokenizer={tokenizer}', f'--cache_dir={root / "cache"}', f'--run_dir={root / "run"}'),
    )


def _main(flags):
    return flags_lib.main(lm.Config, lm.run, 'lm', lm.PRESETS, list(flags))


def test_a_model_of_pieces_learns_and_calls_them_by_their_name(run):
    units, _, evaluation, out = run
    counts = re.search(r'gutenberg: ([\d,]+) / ([\d,]+) / ([\d,]+) (\w+) of train', out)
    assert counts[4] == units
    tokenizer = trained.load(str(run[1])).tokenizer
    total = sum(int(counts[i].replace(',', '')) for i in (1, 2, 3))
    assert total == 200 * len(tokenizer.cut(LINES))
    assert f'perplexity per {units[:-1]} ' in out
    assert f'{units}/s' in out
    assert evaluation['unit'] == units[:-1]
    alphabet = len({*LINES}) - 1 if units == 'characters' else len(tokenizer.always)
    assert evaluation['vocab_size'] == alphabet + 2
    assert (alphabet > 255) == (units == 'subwords') == (run[1] / 'tokenizer.json').exists()
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
    if run[0] == 'subwords':
        assert len(text.encode()) >= 8 + 60
    else:
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
    most = len(text if run[0] == 'characters' else text.encode())
    assert len(ids) < most if run[0] == 'subwords' else len(ids) == 1 + most
    assert model.decode(ids) == f'\n{text}'
    logits, _ = model.logits(ids)
    assert logits.shape == (len(ids), len(model.vocabulary))
    tokens = list(model.stream('été', 7))
    assert len(tokens) == 7
    kept = {'vocabulary.txt', *(['tokenizer.json'] if run[0] == 'subwords' else [])}
    assert {*model.servable().files} == kept
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
        if prompt and run[0] != 'subwords':
            parts = ['â', 'Ĥ', '¬'] if run[0] == 'bytes' else ['€']
            assert labels[1 : 2 + len(parts)] == ['l', *parts]
            assert {'␣', '⇥'} < {*labels}
        elif not prompt:
            assert example.title.startswith(f'{run[0][:-1]} ')
    inputs = subject.examples[0].inputs
    assert np.isfinite(inputs).all()


@pytest.mark.parametrize('run', ['subwords'], indirect=True)
def test_a_run_of_subwords_goes_on_with_its_own_alone(run, capsys, monkeypatch):
    installed = tokenizers.__version__
    monkeypatch.setattr(tokenizers, '__version__', '0.0.1')
    flags = _flags(run[1].parent, 'subwords')
    for mode in (['--num_steps=41'], ['--mode=evaluate']):
        assert _main([*flags, *mode]) == errors.BAD_DATA
        line = f'of step 40 wants data prepared by tokenizers {installed}, got tokenizers 0.0.1: '
        assert line in capsys.readouterr().err
    assert _main(['--mode=generate', f'--run_dir={run[1]}', '--num_words=1']) == 0
    path = run[1] / 'tokenizer.json'
    kept = path.read_text('utf-8')
    path.write_text(kept.replace('"Ġest"', '"Ġost"'), 'utf-8')
    assert _main(['--mode=generate', f'--run_dir={run[1]}', '--num_words=1']) == errors.BAD_DATA
    assert 'is not the one that the checkpoint belongs to' in capsys.readouterr().err
    path.write_text(kept, 'utf-8')
    monkeypatch.undo()
    assert _run(*flags, '--mode=evaluate')[0]['test'] == run[2]['test']


def test_without_the_package_of_subwords_one_line_names_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tokenizers', None)
    assert _main(_flags(tmp_path, 'subwords')) == errors.BAD_DATA
    err = capsys.readouterr().err
    assert err.count('\n') == 1
    assert '--tokenizer=subwords wants a package: pip install tokenizers' in err
    assert not (tmp_path / 'run').exists()


def test_runs_of_pieces_have_a_directory_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = []
    for tokenizer in (None, 'words', 'bytes', 'subwords'):
        config = lm.Config(dataset='text', data_dir='a.txt', tokenizer=tokenizer)
        names.append(experiment.default_directory(lm.EXPERIMENT, config))
    kinds = 'rmc', 'rmc', 'bytes-rmc', 'subwords-rmc'
    assert names == [f'runs/lm-text-a.txt-{kind}' for kind in kinds]


@pytest.mark.parametrize(
    ('tokenizer', 'size', 'wanted'),
    [('bytes', 300, '0 or 257'), ('subwords', 256, '0 or at least 257')],
)
def test_all_bytes_have_room_in_a_vocabulary(tokenizer, size, wanted, capsys):
    assert _main([f'--tokenizer={tokenizer}', f'--vocab_size={size}']) == errors.USAGE
    line = f'--vocab_size: wanted {wanted} with --tokenizer={tokenizer}, got {size}\n'
    assert line in capsys.readouterr().err
