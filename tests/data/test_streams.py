import dataclasses
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

from tasks import base
from tasks.text import corpora, tokenizing, vocabulary
from tasks.text import streams as streams_lib
from tests.support import recorded_progress, text_folders

ALL_FILES = ['manifest.json', 'vocabulary.txt', 'train.bin', 'valid.bin', 'test.bin']


class InterruptedByUserError(Exception):
    pass


def text_corpus(splits, fingerprint='f'):
    """A corpus of three lists of words, in blocks of two."""

    def blocks(split):
        words = splits[split].split()
        return (words[i : i + 2] for i in range(0, len(words), 2))

    return corpora.Corpus('toy', fingerprint, blocks)


CORPUS = text_corpus({'train': 'a b a <eos> a c <eos>', 'valid': 'b d <eos>', 'test': 'c <eos>'})


class TestPrepare:
    def check(self, streams):
        words = streams.vocabulary
        assert words.words == ('a', '<eos>', 'b', 'c', '<unk>')
        assert words.decode(streams.train) == ['a', 'b', 'a', '<eos>', 'a', 'c', '<eos>']
        assert words.decode(streams.valid) == ['b', '<unk>', '<eos>']
        assert words.decode(streams.test) == ['c', '<eos>']

    def names(self, folder):
        paths = (path.name for path in folder.rglob('*'))
        return sorted(name for name in paths if not name.endswith('.lock'))

    def test_a_corpus_is_encoded_into_memory_mapped_files(self, tmp_path):
        streams = streams_lib.prepare(CORPUS, tmp_path / 'new' / 'cache')
        self.check(streams)
        assert isinstance(streams.train, np.memmap)
        assert streams.train.dtype == np.uint16
        assert not streams.train.flags.writeable

    def test_a_second_time_nothing_is_read_or_written(self, tmp_path):
        first = streams_lib.prepare(CORPUS, tmp_path)
        times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')}
        progress = recorded_progress.Recorder()
        unreadable = corpora.Corpus('toy', 'f', lambda split: pytest.fail('was read'))
        second = streams_lib.prepare(unreadable, tmp_path, progress=progress)
        self.check(second)
        assert second.key == first.key
        assert not progress.lines + progress.updates
        assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')}

    def test_other_sources_and_options_have_other_caches(self, tmp_path):
        other = text_corpus(dict.fromkeys(corpora.SPLITS, 'x y z'), 'g')
        streams = [
            streams_lib.prepare(CORPUS, tmp_path),
            streams_lib.prepare(CORPUS, tmp_path, vocab_size=3),
            streams_lib.prepare(other, tmp_path),
        ]
        assert len({one.key for one in streams}) == 3
        assert streams[1].vocabulary.words == ('a', '<eos>', '<unk>')
        assert streams[2].vocabulary.words == ('x', 'y', 'z', '<eos>', '<unk>')
        assert streams_lib.prepare(CORPUS, tmp_path, vocab_size=0).key == streams[0].key

    @pytest.mark.parametrize(('size', 'dtype'), [(1 << 16, np.uint16), (65537, np.int32)])
    def test_ids_are_stored_in_two_bytes_where_they_fit(self, tmp_path, size, dtype):
        words = ' '.join(f'w{i}' for i in range(size - 2))
        corpus = text_corpus({'train': words, 'valid': 'new', 'test': 'new'})
        streams = streams_lib.prepare(corpus, tmp_path)
        assert len(streams.vocabulary) == size
        assert streams.train.dtype == dtype
        assert streams.vocabulary.decode(streams.train) == words.split()
        assert streams.valid[0] == streams.vocabulary.unk == size - 1

    @pytest.mark.parametrize(
        ('name', 'harm'),
        list(itertools.product(ALL_FILES, ['delete', 'empty', 'cut', 'lengthen', 'flip a bit'])),
    )
    def test_a_damaged_cache_is_made_again_with_a_notice(self, tmp_path, name, harm):
        streams_lib.prepare(CORPUS, tmp_path)
        (path,) = tmp_path.rglob(name)
        whole = self.names(tmp_path)
        content, stat = path.read_bytes(), path.stat()
        path.write_bytes(
            {
                'delete': b'',
                'empty': b'',
                'cut': content[:-3],
                'lengthen': content + b'\n\n',
                'flip a bit': content[:-1] + bytes([content[-1] ^ 1]),
            }[harm]
        )
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        if harm == 'delete':
            path.unlink()
        progress = recorded_progress.Recorder()
        self.check(streams_lib.prepare(CORPUS, tmp_path, progress=progress))
        (line,) = progress.lines
        assert 'is damaged (' in line
        assert self.names(tmp_path) == whole
        assert path.read_bytes() == content

    def test_what_was_encoded_is_opened_by_its_key_unless_it_is_damaged(self, tmp_path):
        streams = streams_lib.prepare(CORPUS, tmp_path)
        self.check(streams_lib.cached('toy', streams.key, tmp_path))
        assert streams_lib.cached('toy', f'{streams.key[:-1]}x', tmp_path) is None
        assert streams_lib.cached('other', streams.key, tmp_path) is None
        (path,) = tmp_path.rglob('valid.bin')
        path.write_bytes(path.read_bytes()[::-1])
        assert streams_lib.cached('toy', streams.key, tmp_path) is None

    def test_a_preparation_that_fails_leaves_nothing(self, tmp_path):
        def blocks(split):
            if split == 'test':
                raise base.DataError('the disk burns')
            return CORPUS.blocks(split)

        with pytest.raises(base.DataError, match='the disk burns'):
            streams_lib.prepare(corpora.Corpus('toy', 'f', blocks), tmp_path)
        assert self.names(tmp_path) == []
        self.check(streams_lib.prepare(CORPUS, tmp_path))

    @pytest.mark.parametrize('num_blocks', range(1, 9))  # 4 to count, 4 to encode train
    def test_what_is_raised_at_any_block_leaves_nothing(self, tmp_path, num_blocks):
        read = []

        def blocks(split):
            for block in CORPUS.blocks(split):
                read.append(block)
                if len(read) == num_blocks:
                    raise InterruptedByUserError
                yield block

        with pytest.raises(InterruptedByUserError):
            streams_lib.prepare(corpora.Corpus('toy', 'f', blocks), tmp_path)
        assert len(read) == num_blocks
        assert self.names(tmp_path) == []
        self.check(streams_lib.prepare(CORPUS, tmp_path))

    def test_after_a_kill_preparation_starts_cleanly(self, tmp_path):
        code = (
            'import os, signal, sys\n'
            'from tasks.text import corpora, streams\n'
            'def blocks(split):\n'
            '    yield ["half"]\n'
            '    if split == "valid": os.kill(os.getpid(), signal.SIGKILL)\n'
            'streams.prepare(corpora.Corpus("toy", "f", blocks), sys.argv[1])\n'
        )
        done = subprocess.run([sys.executable, '-c', code, str(tmp_path)], check=False)
        assert done.returncode == -9
        (left,) = (path for path in tmp_path.iterdir() if path.is_dir())
        self.check(streams_lib.prepare(CORPUS, tmp_path))
        assert left.suffix == '.building'
        assert not left.exists()

    def test_many_types_are_spilled_and_the_streams_stay_the_same(self, tmp_path, monkeypatch):
        splits = {'train': ' '.join(f'w{i * i % 101}' for i in range(500)), 'valid': 'w1 w2'}
        corpus = text_corpus({**splits, 'test': 'w4 v'})
        plain = streams_lib.prepare(corpus, tmp_path / 'plain', 20)
        monkeypatch.setattr(vocabulary, 'MAX_TYPES', 7)
        left = []
        monkeypatch.setattr(  # the room that the counts took is free when it is asked for
            streams_lib,
            '_check_space',
            lambda folder, *_: left.extend(path.name for path in folder.parent.iterdir()),
        )
        spilled = streams_lib.prepare(corpus, tmp_path / 'spilled', 20)
        assert left == ['whole']
        for path in plain.train.filename.parent.iterdir():
            other = spilled.train.filename.parent / path.name
            assert other.read_bytes() == path.read_bytes()
        assert len(self.names(tmp_path / 'spilled')) == 1 + 5

    def test_a_disk_without_room_is_named_before_anything_is_encoded(self, tmp_path, monkeypatch):
        usage = streams_lib.shutil.disk_usage(tmp_path)._replace(free=13)
        monkeypatch.setattr(streams_lib.shutil, 'disk_usage', lambda path: usage)
        monkeypatch.setattr(streams_lib, '_encode', lambda *a: pytest.fail('was encoded'))
        message = f'{tmp_path} has 0 MB free, toy takes 0 MB there: make room'
        with pytest.raises(base.DataError, match=message):  # 7 words of 2 bytes
            streams_lib.prepare(CORPUS, tmp_path)
        assert self.names(tmp_path) == []

    @pytest.mark.parametrize('split', corpora.SPLITS)
    def test_a_split_without_words_is_refused(self, tmp_path, split):
        splits = dict.fromkeys(corpora.SPLITS, 'a <eos>') | {split: '<eos> <eos> <eos>'}
        with pytest.raises(base.DataError, match=f'the {split} split of toy holds no words'):
            streams_lib.prepare(text_corpus(splits), tmp_path)
        places = {split: tmp_path / 'a.txt'}
        corpus = dataclasses.replace(text_corpus(splits), places=places)
        with pytest.raises(base.DataError, match=f'{tmp_path}/a.txt holds no words: the {split}'):
            streams_lib.prepare(corpus, tmp_path)
        assert self.names(tmp_path) == []

    def updates(self, folder, num_bytes):
        corpus = corpora.Corpus('toy', 'f', CORPUS.blocks, num_bytes)
        progress = recorded_progress.Recorder()
        streams_lib.prepare(corpus, folder, progress=progress)
        assert progress.lines == []
        return progress.updates

    def test_progress_counts_words_of_those_that_were_counted(self, tmp_path):
        assert self.updates(tmp_path, {}) == [
            *[('toy train: counted', done, None, 'words') for done in (0, 2, 4, 6, 7)],
            *[('toy train: encoded', done, 7, 'words') for done in (0, 2, 4, 6, 7)],
            *[('toy valid: encoded', done, None, 'words') for done in (0, 2, 3)],
            *[('toy test: encoded', done, None, 'words') for done in (0, 2)],
        ]

    def test_the_bytes_of_a_split_tell_about_how_many_words_it_has(self, tmp_path):
        updates = self.updates(tmp_path, {'train': 24})  # 'a b a <eos> a c <eos> ' and 2 more
        # After 2 words 4 bytes were read, after 4 words 4 + 8, then 16, then 22.
        counted = [(0, None), (2, 12), (4, 8), (6, 9), (7, 8)]
        assert updates[:5] == [('toy train: counted', *pair, 'words') for pair in counted]
        assert updates[6] == ('toy train: encoded', 2, 7, 'words')

    def test_a_guess_is_never_below_what_is_done(self, tmp_path):
        assert self.updates(tmp_path, {'train': 1})[4] == ('toy train: counted', 7, 7, 'words')

    def test_a_cache_that_cannot_be_written_is_named(self, tmp_path):
        (tmp_path / 'file').write_text('in the way')
        with pytest.raises(base.DataError, match=r'cannot prepare toy in .*file') as caught:
            streams_lib.prepare(CORPUS, tmp_path / 'file')
        assert '\n' not in str(caught.value)

    def test_a_limit_without_room_for_words_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match='vocab_size'):
            streams_lib.prepare(CORPUS, tmp_path, vocab_size=2)

    def test_all_bytes_have_an_id_and_unseen_characters_are_unknown(self, tmp_path):
        texts = {'train': 'a\tb\r\n', 'valid': 'b c\n', 'test': 'é\n'}
        text_folders.write(tmp_path, {f'{split}.txt': text for split, text in texts.items()})
        for tokenizer, size in (('bytes', 257), ('characters', 6)):
            corpus = corpora.load('text', tmp_path, tokenizer)
            streams = streams_lib.prepare(corpus, tmp_path / 'cache')
            assert len(streams.vocabulary) == size
            join = tokenizing.make(tokenizer).join
            assert join(streams.vocabulary.decode(streams.train)) == texts['train']
            found = [join(streams.vocabulary.decode(x)) for x in (streams.valid, streams.test)]
            known = 'b c\n', 'é\n'
            assert found == list(known if tokenizer == 'bytes' else ('b<unk><unk>\n', '<unk>\n'))

    def test_progress_counts_what_the_tokens_are(self, tmp_path):
        texts = {'train': 'ab\n', 'valid': 'c\n', 'test': 'd\n'}
        text_folders.write(tmp_path, {f'{split}.txt': text for split, text in texts.items()})
        progress = recorded_progress.Recorder()
        corpus = corpora.load('text', tmp_path, 'characters')
        streams_lib.prepare(corpus, tmp_path / 'cache', progress=progress)
        assert progress.updates[1] == ('text train: counted', 3, None, 'characters')

    def test_words_and_bytes_of_the_text_are_kept_for_all_tokens_alike(self, tmp_path):
        texts = {'train': 'Où  est-il ?\nLà', 'valid': 'b c\n', 'test': 'é\n\n'}
        text_folders.write(tmp_path, {f'{split}.txt': text for split, text in texts.items()})
        for tokenizer in tokenizing.NAMES:
            corpus = corpora.load('text', tmp_path, tokenizer)
            streams = streams_lib.prepare(corpus, tmp_path / 'cache')
            assert streams.sizes == {'train': (4, 18), 'valid': (2, 4), 'test': (1, 4)}
            again = streams_lib.cached('text', streams.key, tmp_path / 'cache')
            assert again.sizes == streams.sizes

    def test_a_cache_without_sizes_is_read_and_one_that_lost_them_is_made_again(self, tmp_path):
        (tmp_path / 'text').mkdir()
        for split in corpora.SPLITS:
            (tmp_path / 'text' / f'{split}.txt').write_text(f'{split} a b')
        corpus = corpora.load('text', tmp_path / 'text')
        old = dataclasses.replace(corpus, texts=None)  # as of earlier versions
        progress = recorded_progress.Recorder()
        assert streams_lib.prepare(old, tmp_path, progress=progress).sizes == {}
        assert streams_lib.prepare(corpus, tmp_path, progress=progress).sizes == {}
        new = streams_lib.prepare(corpus, tmp_path / 'new', progress=progress)
        assert not progress.lines
        sizes = new.train.filename.parent / 'sizes.json'
        for harm in (lambda: sizes.unlink(), lambda: sizes.write_text('{}')):
            harm()
            again = streams_lib.prepare(corpus, tmp_path / 'new', progress=progress)
            assert again.sizes == new.sizes
        assert ['is damaged (' in line for line in progress.lines] == [True, True]

    def test_files_become_streams(self, tmp_path):
        for split in corpora.SPLITS:
            (tmp_path / f'{split}.txt').write_text(f'{split} a b\n\na b {split}\n')
        corpus = corpora.load('text', tmp_path)
        streams = streams_lib.prepare(corpus, tmp_path / 'cache', vocab_size=4)
        assert streams.vocabulary.words == ('<eos>', '<unk>', 'a', 'b')
        np.testing.assert_array_equal(streams.test, [1, 2, 3, 0, 0, 2, 3, 1, 0])
        np.testing.assert_array_equal(streams.vocabulary.counts, [3, 2, 2, 2])
        assert isinstance(streams.vocabulary, vocabulary.Vocabulary)
