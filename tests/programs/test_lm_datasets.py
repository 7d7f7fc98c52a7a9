"""The program on every dataset by name, from small prepared data to perplexities."""

import functools
import re

import pytest

from launch import lm
from launch.language import corpus as corpus_lib
from launch.runs import errors, metrics
from launch.runs import flags as flags_lib
from launch.training import experiment
from tasks.text import corpora, python_docs
from tasks.text.tfds import builders
from tests.data import test_tfds_preparing
from tests.support import prepared_corpora, text_folders

pytestmark = pytest.mark.usefixtures('compile_once', 'compile_quickly')
SIZES = (
    '--core=lstm --lstm_size=12 --embedding_size=16 --softmax=full --dropout=0 --output_dropout=0 '
    '--unroll_length=5 --batch_size=4 --learning_rate=0.02 --schedule=constant --warmup_steps=0 '
    '--num_steps=40 --log_every=10 --num_words=8'
)
SENTENCE = re.compile(r'the adj(\d+) noun\1 verb\d+ the adj(\d+) noun\2')


def _books(data_dir):
    files = {}
    for split, seeds in (('train', (1, 2, 3, 4)), ('valid', (5,)), ('test', (6,))):
        for seed in seeds:
            lines = prepared_corpora.sentences(60, seed)
            files[f'{split}/{seed}.txt'] = '\n\n'.join(f'{line}.' for line in lines)
    text_folders.write(data_dir, files)


PREPARE = {**prepared_corpora.PREPARE, 'gutenberg': _books}


def _config(dataset, data_dir, tmp_path, *flags):
    words = [
        *(f'--dataset={dataset}', f'--data_dir={data_dir}', *SIZES.split(), *flags),
        *(f'--run_dir={tmp_path / "run"}', f'--cache_dir={tmp_path / "cache"}'),
    ]
    return flags_lib.parse(lm.Config, words, 'lm', lm.PRESETS)


def _train(*args):
    """Runs the program and returns what its evaluation found, without the sample."""
    return {**lm.run(_config(*args)), 'sample': None}


def _check(evaluation, num_words):
    """Checks that a model has learned something of a text of so many different words."""
    valid, test = (evaluation['splits'][split]['perplexity'] for split in ('valid', 'test'))
    assert evaluation['vocab_size'] == num_words
    assert 1 < valid < 0.7 * num_words
    assert test == pytest.approx(valid, rel=0.3)


@pytest.mark.parametrize('dataset', PREPARE)
def test_a_data_set_is_trained_on(dataset, tmp_path, capsys):
    PREPARE[dataset](tmp_path / 'data')
    config = _config(dataset, tmp_path / 'data', tmp_path)
    task, corpus = lm.build(config), corpus_lib.load(config)
    assert task.data == corpus.key
    ids = [word for step in range(12) for word in task.batch(step).inputs[:, 2]]
    assert len(SENTENCE.findall(' '.join(corpus.vocabulary.decode(ids)))) >= 4
    _check(
        _train(dataset, tmp_path / 'data', tmp_path), 37 if '.' in corpus.vocabulary.words else 36
    )
    assert f'{dataset}: ' in capsys.readouterr().out


def test_a_data_set_that_tensorflow_prepared_gives_the_same_batches(tmp_path):
    prepared_corpora.gigaword(tmp_path / 'data')
    array_record = corpus_lib.load(_config('gigaword', tmp_path / 'data', tmp_path / '1'))
    prepared_corpora.as_tfrecord(tmp_path / 'data' / 'gigaword' / '1.2.0')
    tfrecord = corpus_lib.load(_config('gigaword', tmp_path / 'data', tmp_path / '2'))
    assert tfrecord.vocabulary.words == array_record.vocabulary.words
    for split in ('train', 'valid', 'test'):
        assert getattr(tfrecord, split).tolist() == getattr(array_record, split).tolist()


def test_gigaword_goes_all_the_way_from_its_archive(tmp_path, monkeypatch, capfd):
    """Download, check, prepare, count, encode, train; the second run needs no archive."""
    (tmp_path / 'published').mkdir()
    path = tmp_path / 'published' / 'ggw_data.zip'
    prepared_corpora.gigaword_archive(path, prepared_corpora.pairs())
    handler = functools.partial(test_tfds_preparing.Quiet, directory=path.parent)
    with test_tfds_preparing.serve(handler) as address:
        url_infos = {f'{address}/ggw_data.zip': prepared_corpora.info_of(path)}
        monkeypatch.setattr(builders.Gigaword, 'url_infos', url_infos)
        evaluation = _train('gigaword', tmp_path / 'data', tmp_path)
    _check(evaluation, num_words=37)
    assert 'preparing gigaword 1.2.0, once\n' in capfd.readouterr().out
    path.unlink()
    assert _train('gigaword', tmp_path / 'data', tmp_path) == evaluation
    assert 'preparing' not in capfd.readouterr().out


def test_every_name_is_tried():
    assert {*PREPARE, 'text', 'pydoc'} == set(corpora.NAMES)


def test_without_flags_the_documentation_of_python_is_read(tmp_path, monkeypatch):
    texts = {'train': 'An Object is an object. ' * 700, 'valid': 'an object', 'test': 'objects'}
    monkeypatch.setattr(python_docs, 'read', lambda split: [(texts[split], 'Last.')])
    monkeypatch.setattr(python_docs, 'fingerprint', lambda: 'c0ffee')
    config = flags_lib.parse(lm.Config, [f'--cache_dir={tmp_path}'], 'lm', lm.PRESETS)
    corpus = corpus_lib.load(config)
    assert sorted(corpus.vocabulary.words) == [
        *('.', '<eos>', '<unk>', 'an', 'is', 'last', 'object'),
    ]
    words = corpus.vocabulary.decode(corpus.train[-8:])
    assert words == ['is', 'an', 'object', '.', '<eos>', 'last', '.', '<eos>']


@pytest.mark.slow
def test_the_documentation_of_python_is_trained_on(tmp_path):
    small = '--core=lstm --lstm_size=8 --embedding_size=16 --batch_size=4 --num_steps=3'
    words = [*small.split(), f'--run_dir={tmp_path / "run"}', f'--cache_dir={tmp_path / "cache"}']
    evaluation = lm.run(flags_lib.parse(lm.Config, words, 'lm', lm.PRESETS))
    assert (evaluation['dataset'], evaluation['vocab_size']) == ('pydoc', 10_000)
    assert evaluation['ngrams']['bigram']['test'] < evaluation['test'] < 11_000


def test_a_transformer_learns_too(tmp_path):
    prepared_corpora.lm1b(tmp_path / 'data')
    sizes = '--core=transformer --transformer_layers=2 --transformer_heads=2 --transformer_memory=7'
    flags = *sizes.split(), '--transformer_size=16'
    assert 1 < _train('lm1b', tmp_path / 'data', tmp_path, *flags)['test'] < 30


def test_in_bfloat16_and_in_parts_it_learns_the_same(tmp_path):
    prepared_corpora.lm1b(tmp_path / 'data')
    changes = {'plain': (), 'parts': ('--accumulate=2',), 'bfloat16': ('--dtype=bfloat16',)}
    found, losses = {}, {}
    for name, flags in changes.items():
        found[name] = _train('lm1b', tmp_path / 'data', tmp_path / name, *flags)['test']
        rows = metrics.read_metrics(tmp_path / name / 'run' / 'metrics.jsonl')
        losses[name] = [row['loss'] for row in rows if 'loss' in row]
    assert found['parts'] == pytest.approx(found['plain'], rel=1e-3)
    assert found['bfloat16'] == pytest.approx(found['plain'], rel=0.05)
    assert losses['parts'] == pytest.approx(losses['plain'], rel=1e-4)
    assert losses['bfloat16'] == pytest.approx(losses['plain'], rel=0.02)
    assert losses['bfloat16'] != losses['plain']


def test_what_is_not_prepared_gets_one_line_with_the_place_for_it(tmp_path, capsys):
    flags = '--dataset=wikitext103', f'--data_dir={tmp_path}', f'--run_dir={tmp_path / "run"}'
    assert flags_lib.main(lm.Config, lm.run, 'lm', lm.PRESETS, flags) == errors.BAD_DATA
    line = capsys.readouterr().err
    assert line.count('\n') == 1
    for part in ('wiki.train.tokens', str(tmp_path / 'downloads' / 'manual')):
        assert part in line


def test_each_folder_of_texts_has_a_default_run_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = [
        experiment.default_directory(lm.EXPERIMENT, lm.Config(dataset='text', data_dir=folder))
        for folder in ('books', 'more/books')
    ]
    assert places == ['runs/lm-text-books-rmc', 'runs/lm-text-more-books-rmc']


@pytest.mark.parametrize('flag', [{'split_shares': '0.8,0.1,0.1'}, {'split_seed': 1}])
def test_how_a_text_is_split_is_a_flag_of_your_own_texts_alone(flag):
    (name,) = flag
    for dataset in ('pydoc', 'wikitext103'):
        wanted = f'--{name}: wanted --dataset=text or gutenberg with it, got {dataset}'
        with pytest.raises(ValueError, match=wanted):
            lm.Config(dataset=dataset, **flag)
    lm.Config(dataset='text', data_dir='book.txt', **flag)
