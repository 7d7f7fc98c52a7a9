"""The program on every dataset by name, from small prepared data to perplexities."""

import functools
import math

import pytest

from launch import lm
from launch.runs import errors, metrics
from launch.runs import flags as flags_lib
from tasks.text import corpora
from tasks.text.tfds import builders
from tests.data import test_tfds_preparing
from tests.support import prepared_corpora

pytestmark = pytest.mark.usefixtures('compile_once')
SIZES = (
    '--total_units=16 --num_heads=2 --attention_mlp_layers=1 --embedding_size=16 --dropout=0 '
    '--output_dropout=0 --unroll_length=5 --batch_size=4 --learning_rate=0.02 --num_steps=40 '
    '--log_every=10 --num_words=8'
)


def _train(dataset, data_dir, tmp_path, *flags):
    """Runs the program and returns what it measured."""
    words = [
        *(f'--dataset={dataset}', f'--data_dir={data_dir}', *SIZES.split(), *flags),
        *(f'--run_dir={tmp_path / "run"}', f'--cache_dir={tmp_path / "cache"}'),
    ]
    return lm.run(flags_lib.parse(lm.Config, words, 'lm', lm.PRESETS))


def _check(results, num_words):
    """Checks that a model has learned something of a text of so many different words."""
    assert all(map(math.isfinite, results.values()))
    assert 1 < results['rmc_valid'] < 0.7 * num_words
    assert results['rmc_test'] == pytest.approx(results['rmc_valid'], rel=0.3)


@pytest.mark.parametrize('dataset', prepared_corpora.PREPARE)
def test_a_prepared_data_set_is_trained_on(dataset, tmp_path, capsys):
    prepared_corpora.PREPARE[dataset](tmp_path / 'data')
    _check(_train(dataset, tmp_path / 'data', tmp_path), num_words=38)
    assert f'{dataset}: ' in capsys.readouterr().out


def test_a_data_set_that_tensorflow_prepared_gives_the_same_numbers(tmp_path):
    prepared_corpora.gigaword(tmp_path / 'data')
    first = _train('gigaword', tmp_path / 'data', tmp_path / 'array_record')
    prepared_corpora.as_tfrecord(tmp_path / 'data' / 'gigaword' / '1.2.0')
    assert _train('gigaword', tmp_path / 'data', tmp_path / 'tfrecord') == first


def test_gigaword_goes_all_the_way_from_its_archive(tmp_path, monkeypatch, capfd):
    """Download, check, prepare, count, encode, train; the second run needs no archive."""
    (tmp_path / 'published').mkdir()
    path = tmp_path / 'published' / 'ggw_data.zip'
    prepared_corpora.gigaword_archive(path, prepared_corpora.pairs())
    handler = functools.partial(test_tfds_preparing.Quiet, directory=path.parent)
    with test_tfds_preparing.serve(handler) as address:
        url_infos = {f'{address}/ggw_data.zip': prepared_corpora.info_of(path)}
        monkeypatch.setattr(builders.Gigaword, 'url_infos', url_infos)
        results = _train('gigaword', tmp_path / 'data', tmp_path)
    _check(results, num_words=38)
    assert 'preparing gigaword 1.2.0, once' in capfd.readouterr().err
    path.unlink()
    assert _train('gigaword', tmp_path / 'data', tmp_path) == results
    assert 'preparing' not in capfd.readouterr().err


def test_books_are_trained_on(tmp_path):
    for split, seeds in (('train', (1, 2, 3, 4)), ('valid', (5,)), ('test', (6,))):
        (tmp_path / 'books' / split).mkdir(parents=True)
        for seed in seeds:
            text = '\n\n'.join(f'{line}.' for line in prepared_corpora.sentences(60, seed))
            (tmp_path / 'books' / split / f'{seed}.txt').write_text(text)
    _check(_train('gutenberg', tmp_path / 'books', tmp_path), num_words=39)


def test_every_name_is_tried():
    assert {*prepared_corpora.PREPARE, 'gutenberg', 'text', 'pydoc'} == set(corpora.NAMES)


def test_a_transformer_learns_too(tmp_path):
    prepared_corpora.lm1b(tmp_path / 'data')
    sizes = '--core=transformer --transformer_layers=2 --transformer_heads=2 --transformer_memory=7'
    results = _train('lm1b', tmp_path / 'data', tmp_path, *sizes.split())
    assert 1 < results['transformer_valid'] < 30


def test_in_bfloat16_and_in_parts_it_learns_the_same(tmp_path):
    prepared_corpora.lm1b(tmp_path / 'data')
    plain = _train('lm1b', tmp_path / 'data', tmp_path / 'plain')
    parts = _train('lm1b', tmp_path / 'data', tmp_path / 'parts', '--accumulate=2')
    assert parts == pytest.approx(plain, rel=1e-3)
    rounded = _train('lm1b', tmp_path / 'data', tmp_path / 'bfloat16', '--dtype=bfloat16')
    assert rounded == pytest.approx(plain, rel=0.05)
    losses = [
        [row['loss'] for row in metrics.read_metrics(tmp_path / name / 'run/metrics.jsonl')[:4]]
        for name in ('plain', 'parts', 'bfloat16')
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[2] == pytest.approx(losses[0], rel=0.02)


def test_what_is_not_prepared_gets_one_line_that_says_where_to_put_it(tmp_path, capsys):
    flags = '--dataset=wikitext103', f'--data_dir={tmp_path}', f'--run_dir={tmp_path / "run"}'
    assert flags_lib.main(lm.Config, lm.run, 'lm', lm.PRESETS, flags) == errors.BAD_DATA
    line = capsys.readouterr().err
    assert line.count('\n') == 1
    for part in ('wiki.train.tokens', str(tmp_path / 'downloads' / 'manual')):
        assert part in line
