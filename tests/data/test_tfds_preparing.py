import contextlib
import functools
import http.server
import itertools
import json
import pathlib
import shutil
import sys
import tempfile
import threading
import time
import urllib.parse

import pytest
import tensorflow_datasets as tfds

from tasks import base
from tasks.text import corpora
from tasks.text.tfds import builders, preparing
from tests.support import prepared_corpora, recorded_progress

ROOT = pathlib.Path(__file__).resolve().parents[2]
NOWHERE = 'http://127.0.0.1:9/ggw_data.zip'  # nothing answers at this port


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """A small `ggw_data.zip` that counts as the published one, at an address without a server."""
    path = tmp_path / 'published' / 'ggw_data.zip'
    path.parent.mkdir()
    prepared_corpora.gigaword_archive(path, prepared_corpora.pairs())
    info = prepared_corpora.info_of(path)
    monkeypatch.setattr(builders.Gigaword, 'url_infos', {NOWHERE: info})
    return path


@pytest.fixture
def manual(tmp_path, archive):
    """The archive where a user puts it; its data_dir is `tmp_path`."""
    path = tmp_path / 'downloads' / 'manual' / 'ggw_data.zip'
    path.parent.mkdir(parents=True)
    return pathlib.Path(shutil.copy(archive, path))


@contextlib.contextmanager
def serve(handler):
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()
        thread.join()


class StoppedError(Exception):
    pass


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def words_of(name, data_dir, split='train'):
    return list(itertools.chain.from_iterable(corpora.load(name, data_dir).blocks(split)))


def check(message, name, data_dir):
    start = time.perf_counter()
    with pytest.raises(base.DataError, match=message) as caught:
        preparing.prepared(name, data_dir)
    assert '\n' not in str(caught.value)
    return time.perf_counter() - start


def test_a_file_of_the_user_is_prepared_without_a_network(tmp_path, manual, capfd):
    wanted = [row['document'].split() for row in prepared_corpora.pairs()['train']]
    words = ' '.join(words_of('gigaword', tmp_path)).split(' <eos>')
    assert sorted(filter(None, map(str.split, words))) == sorted(wanted)
    assert [path.name for path in (tmp_path / 'gigaword').iterdir() if path.is_dir()] == ['1.2.0']
    assert capfd.readouterr() == ('', '')
    manual.unlink()
    assert words_of('gigaword', tmp_path)


def test_no_temporary_folder_is_left(tmp_path, manual, monkeypatch):
    folder = tmp_path / 'temporary'
    folder.mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(folder))
    for _ in range(2):  # as it is prepared, and when it is there
        assert words_of('gigaword', tmp_path)
        assert list(folder.iterdir()) == []


def test_a_source_is_downloaded(tmp_path, archive, monkeypatch):
    with serve(functools.partial(Quiet, directory=archive.parent)) as address:
        info = prepared_corpora.info_of(archive)
        url_infos = {f'{address}/ggw_data.zip': info}
        monkeypatch.setattr(builders.Gigaword, 'url_infos', url_infos)
        assert len(words_of('gigaword', tmp_path)) == 200 * 9


def test_a_download_with_another_checksum_is_refused(tmp_path, archive, monkeypatch):
    with serve(functools.partial(Quiet, directory=archive.parent)) as address:
        info = prepared_corpora.info_of(archive)
        info.checksum = 64 * '0'
        url_infos = {f'{address}/ggw_data.zip': info}
        monkeypatch.setattr(builders.Gigaword, 'url_infos', url_infos)
        check('the downloaded ggw_data.zip is not the published file', 'gigaword', tmp_path)
        assert not (tmp_path / 'gigaword' / '1.2.0').exists()
        monkeypatch.setattr(builders.Gigaword, 'url_infos', {f'{address}/none': info})
        check('gigaword .*404', 'gigaword', tmp_path)


def test_books_are_listed_page_by_page_and_downloaded(tmp_path, monkeypatch):
    books = {'train': [11, 12, 13], 'validation': [21], 'test': [31, 32]}
    rows = {split: list(map(prepared_corpora.book, ids)) for split, ids in books.items()}
    prepared_corpora.pg19_copy(tmp_path / 'bucket', rows)

    class Bucket(Quiet):
        """Answers as the storage service does, with two names a page."""

        def do_GET(self):
            url = urllib.parse.urlsplit(self.path)
            if url.path != '/list':
                return super().do_GET()
            query = dict(urllib.parse.parse_qsl(url.query))
            folder, first = query['prefix'], int(query.get('pageToken') or 0)
            names = sorted(path.name for path in (tmp_path / 'bucket' / folder).iterdir())
            page = {'items': [{'name': folder + name} for name in names[first : first + 2]]}
            if first + 2 < len(names):
                page['nextPageToken'] = str(first + 2)
            self.send_response(200)
            self.end_headers()
            return self.wfile.write(json.dumps(page).encode())

    with serve(functools.partial(Bucket, directory=tmp_path / 'bucket')) as address:
        monkeypatch.setattr(builders.Pg19, 'bucket', address)
        monkeypatch.setattr(builders.Pg19, 'listing', f'{address}/list')
        assert len(words_of('pg19', tmp_path / 'data')) == 3 * 290
        assert len(words_of('pg19', tmp_path / 'data', 'test')) == 2 * 290
        wanted = ' '.join(row['book_text'] for row in rows['test']).split()
        found = words_of('pg19', tmp_path / 'data', 'test')
        assert sorted(word for word in found if word != '<eos>') == sorted(wanted)


@pytest.mark.parametrize('place', ['.', 'downloads/manual'])
def test_wikitext_is_prepared_from_its_files_in_their_order(tmp_path, monkeypatch, place):
    folder = tmp_path / place
    folder.mkdir(parents=True, exist_ok=True)
    for part in ('train', 'valid', 'test'):
        (folder / f'wiki.{part}.tokens').write_text(f' \n = {part} = \n' + 'a b\n' * 1200)
    counts = dict.fromkeys(('train', 'valid', 'test'), 3605)
    monkeypatch.setattr(builders.WikiText103, 'num_words', counts)
    monkeypatch.setattr(builders.WikiText103, 'num_types', 5)
    found = words_of('wikitext103', tmp_path, 'valid')
    assert found == ['<eos>', '=', 'valid', '=', '<eos>', *(['a', 'b', '<eos>'] * 1200)]


class TestMissing:
    def test_gigaword_names_at_once_the_file_that_is_missing(self, tmp_path, monkeypatch):
        (info,) = builders.Gigaword.url_infos.values()
        monkeypatch.setattr(builders.Gigaword, 'url_infos', {NOWHERE: info})
        message = (
            f'gigaword 1.2.0 is not prepared in {tmp_path} and 127.0.0.1 cannot be reached: put '
            r'ggw_data.zip \(578,402,958 bytes, sha256 bc0c4a2e[0-9a-f]*8b\) into '
            f'{tmp_path}/downloads/manual'
        )
        assert check(message, 'gigaword', tmp_path) < 1
        assert list(tmp_path.iterdir()) == []

    def test_a_host_that_does_not_answer_is_not_waited_for(self, tmp_path, monkeypatch):
        given_up = threading.Event()

        def hang(*arguments):
            given_up.wait()
            raise TimeoutError

        monkeypatch.setattr(preparing.socket, 'create_connection', hang)
        assert check('drive.usercontent.google.com cannot be reached', 'gigaword', tmp_path) < 1
        given_up.set()

    def test_a_proxy_is_asked_in_place_of_the_host(self, tmp_path, archive, monkeypatch):
        asked = []

        def refuse(address, timeout):
            asked.append(address)
            raise OSError

        monkeypatch.setattr(preparing.socket, 'create_connection', refuse)
        monkeypatch.setenv('https_proxy', 'http://proxy.example:3128')
        monkeypatch.setattr(builders.Gigaword, 'url_infos', {'https://a.example/x': None})
        assert not preparing._is_reachable('https://a.example/x')
        assert asked == [('proxy.example', 3128)]

    @pytest.mark.parametrize(
        ('name', 'files'),
        [
            ('lm1b', '1-billion-word-language-modeling-benchmark-r13output.tar.gz .1,792,209,805'),
            ('pg19', 'deepmind-gutenberg/metadata.csv .*a copy of gs://deepmind-gutenberg'),
            ('wikitext103', 'wiki.train.tokens, wiki.valid.tokens, wiki.test.tokens'),
        ],
    )
    def test_the_others_say_so_too(self, tmp_path, monkeypatch, name, files):
        monkeypatch.setattr(preparing, '_is_reachable', lambda address: False)
        check(f'{name} .* is not prepared in {tmp_path}.*: put {files}', name, tmp_path)

    def test_another_version_is_named(self, tmp_path, archive):
        prepared_corpora.gigaword(tmp_path)
        (tmp_path / 'gigaword' / '1.2.0').rename(tmp_path / 'gigaword' / '1.1.0')
        check(r'gigaword 1.2.0 is not prepared in .* \(only 1.1.0 is\)', 'gigaword', tmp_path)

    def test_the_data_dir_is_that_of_tfds(self):
        folder = pathlib.Path(tfds.core.constants.DATA_DIR).expanduser()  # $TFDS_DATA_DIR
        found = pathlib.Path(preparing._builder('gigaword', None).data_path)
        assert found == folder / 'gigaword' / '1.2.0'


class TestDamaged:
    def test_a_file_with_another_checksum_is_refused(self, tmp_path, manual):
        content = bytearray(manual.read_bytes())
        content[100] ^= 1
        manual.write_bytes(content)
        check(f'{manual} is not the published file: wanted [0-9,]* bytes', 'gigaword', tmp_path)
        manual.write_bytes(content[:-100])
        check(f'{manual} is not the published file', 'gigaword', tmp_path)
        assert not (tmp_path / 'gigaword' / '1.2.0').exists()

    @pytest.mark.parametrize('content', [b'', b'no archive', b'PK\x05\x06' + 18 * b'\0'])
    def test_an_archive_that_is_none_is_refused(self, tmp_path, manual, monkeypatch, content):
        manual.write_bytes(content)
        infos = {NOWHERE: prepared_corpora.info_of(manual)}
        monkeypatch.setattr(builders.Gigaword, 'url_infos', infos)
        check('cannot prepare gigaword from ggw_data.zip', 'gigaword', tmp_path)

    def test_a_cut_archive_of_sentences_is_refused(self, tmp_path, monkeypatch):
        path = tmp_path / 'downloads' / 'manual' / builders.Lm1b.manual_files[0]
        path.parent.mkdir(parents=True)
        lines = prepared_corpora.sentences(3000, 1)
        prepared_corpora.lm1b_archive(path, {'train': {'news.en-1': lines}, 'test': {}})
        path.write_bytes(path.read_bytes()[:-5000])
        infos = {NOWHERE: prepared_corpora.info_of(path)}
        monkeypatch.setattr(builders.Lm1b, 'url_infos', infos)
        check('cannot prepare lm1b from 1-billion', 'lm1b', tmp_path)

    @pytest.mark.parametrize('name', preparing._DESCRIPTIONS)
    def test_a_folder_that_is_not_whole_is_not_used(self, tmp_path, archive, name):
        prepared_corpora.gigaword(tmp_path)
        folder = tmp_path / 'gigaword' / '1.2.0'
        (folder / name).unlink()
        check(f'{folder} is not a whole data set', 'gigaword', tmp_path)

    def test_a_missing_shard_is_named(self, tmp_path):
        prepared_corpora.gigaword(tmp_path)
        (shard,) = (tmp_path / 'gigaword' / '1.2.0').glob('*-test.*')
        shard.unlink()
        check(f'{shard} is missing: delete the folder {shard.parent}', 'gigaword', tmp_path)

    def test_a_missing_split_is_named(self, tmp_path):
        examples = prepared_corpora.pairs()
        del examples['validation']
        prepared_corpora.prepare('gigaword', tmp_path, examples)
        check('1.2.0 has no validation split', 'gigaword', tmp_path)

    def test_a_damaged_description_is_named(self, tmp_path):
        prepared_corpora.gigaword(tmp_path)
        (tmp_path / 'gigaword' / '1.2.0' / 'dataset_info.json').write_text('{"name": ')
        check('its dataset_info.json is damaged', 'gigaword', tmp_path)

    def test_other_formats_are_refused(self, tmp_path):
        prepared_corpora.gigaword(tmp_path)
        info = tmp_path / 'gigaword' / '1.2.0' / 'dataset_info.json'
        info.write_text(info.read_text().replace('"array_record"', '"riegeli"'))
        for path in info.parent.glob('*.array_record-*'):
            path.rename(str(path).replace('array_record', 'riegeli'))
        check('is in the format riegeli: wanted array_record or tfrecord', 'gigaword', tmp_path)

    def test_a_folder_that_cannot_be_written_is_named(self, tmp_path, manual):
        (tmp_path / 'gigaword').write_text('a file is in the way')
        check(f'gigaword cannot be prepared or read: .*{tmp_path}', 'gigaword', tmp_path)


def test_a_killed_preparation_starts_again_cleanly(tmp_path, manual):
    left = [
        tmp_path / 'gigaword' / '1.2.0.building' / 'data' / 'gigaword' / '1.2.0.incomplete',
        tmp_path / 'downloads' / 'gigaword' / 'ggw_data.tmp.1234',
    ]
    for folder in left:
        folder.mkdir(parents=True)
        (folder / 'half').touch()
    assert len(words_of('gigaword', tmp_path)) == 200 * 9
    assert not any(folder.exists() for folder in left)
    folder = tmp_path / 'gigaword'
    assert sorted(path.name for path in folder.iterdir()) == ['1.2.0', '1.2.0.lock']


def test_what_is_raised_while_preparing_leaves_nothing(tmp_path, manual, monkeypatch):
    def stop(self, *arguments):
        yield next(generate(self, *arguments))
        raise KeyboardInterrupt

    generate = builders.Gigaword._generate_examples
    monkeypatch.setattr(builders.Gigaword, '_generate_examples', stop)
    with pytest.raises(KeyboardInterrupt):
        corpora.load('gigaword', tmp_path)
    assert [path.name for path in (tmp_path / 'gigaword').iterdir()] == ['1.2.0.lock']
    monkeypatch.setattr(builders.Gigaword, '_generate_examples', generate)
    assert len(words_of('gigaword', tmp_path)) == 200 * 9


def test_what_a_signal_raises_keeps_its_message(tmp_path, manual, monkeypatch):
    def stop(self, example):
        raise StoppedError('stopped by SIGINT')

    monkeypatch.setattr(tfds.features.FeaturesDict, 'encode_example', stop)
    with pytest.raises(StoppedError, match=r'^stopped by SIGINT$'):
        corpora.load('gigaword', tmp_path)


def test_a_preparation_reports_its_start_and_every_so_many_examples(tmp_path, manual, monkeypatch):
    monkeypatch.setattr(preparing, '_REPORT_EVERY', 70)
    progress = recorded_progress.Recorder()
    corpora.load('gigaword', tmp_path, progress=progress)
    assert progress.lines == ['preparing gigaword 1.2.0, once']
    assert progress.updates == [
        *[('gigaword train: prepared', done, None, 'examples') for done in (0, 70, 140)],
        ('gigaword validation: prepared', 0, None, 'examples'),
        ('gigaword test: prepared', 0, None, 'examples'),
    ]
    again = recorded_progress.Recorder()
    corpora.load('gigaword', tmp_path, progress=again)
    assert again.lines + again.updates == []


def test_without_array_record_nothing_is_prepared(tmp_path, manual, monkeypatch):
    monkeypatch.setitem(sys.modules, 'array_record.python', None)
    monkeypatch.setattr(builders.Gigaword, '_split_generators', lambda *_: pytest.fail('was read'))
    with pytest.raises(base.DataError, match='the package array_record, which is not there on'):
        corpora.load('gigaword', tmp_path)


def test_without_tfds_the_data_sets_that_need_it_are_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, 'tasks.text.tfds.preparing')
    monkeypatch.delattr(sys.modules['tasks.text.tfds'], 'preparing', raising=False)
    monkeypatch.setitem(sys.modules, 'tensorflow_datasets', None)
    with pytest.raises(base.DataError, match='lm1b needs a package that cannot') as caught:
        corpora.load('lm1b', tmp_path)
    assert '\n' not in str(caught.value)
