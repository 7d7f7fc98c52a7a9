"""Data sets as TensorFlow Datasets (TFDS) has them, made from their sources without TensorFlow.

The stock builders of TFDS read their sources with TensorFlow. Those here have the same names,
versions, features, checksums, examples and order of examples, so what either prepared is read by
both; https://www.tensorflow.org/datasets/catalog/overview. WikiText-103, which TFDS does not have,
is here too. `preparing` runs them.
"""

from collections.abc import Iterator, Mapping
import io
import json
import pathlib
import tarfile
from typing import IO, Any, ClassVar
import urllib.parse
import urllib.request
import zipfile

import tensorflow_datasets as tfds
from tensorflow_datasets.datasets.lm1b import lm1b_dataset_builder
from tensorflow_datasets.datasets.pg19 import pg19_dataset_builder
from tensorflow_datasets.summarization import gigaword

from tasks import base

Examples = Iterator[tuple[Any, dict[str, Any]]]  # key, features
UrlInfos = Mapping[str, tfds.download.checksums.UrlInfo]
_TIMEOUT = 30  # seconds


class _Unregistered:
    """A builder next to the stock builder of the same name, with what `preparing` reads of it."""

    manual_files: tuple[str, ...]  # what the user may provide, to prepare from
    manual_dir = pathlib.Path()  # where `preparing` found them, or where they belong
    url_infos: ClassVar[UrlInfos] = {}  # what is downloaded where they are not there
    bucket = ''  # what is downloaded, of files without checksums
    num_valid = 0  # examples of train that are held out where there is no validation split

    def __init_subclass__(cls) -> None:
        super().__init_subclass__(skip_registration=True)  # type: ignore[call-arg]

    @property
    def info(self) -> Any:
        """Returns what TFDS knows of the data set, which it is not to look for in its bucket.

        That leaves an empty temporary folder whenever a builder is made that is not prepared.
        """
        info = super().info  # type: ignore[misc]
        info.initialize_from_bucket = lambda: None
        return info


class Gigaword(_Unregistered, gigaword.Gigaword):
    """Articles' first sentences and their headlines, Rush et al. 2015.

    This is `org_data` of https://github.com/microsoft/unilm, 3.8 M pairs, lower-cased, digits as
    '#'; it is not GigaWord v5 (LDC2011T07), whose 4 B words are licensed.
    """

    name = 'gigaword'
    # The stock address leads to a page that asks whether one wants a file this large.
    url_infos: ClassVar[UrlInfos] = {
        'https://drive.usercontent.google.com/download?id=1USoQ8lJgN8kAWnUnRrupMGrPMLlDVqlV'
        '&export=download&confirm=t': next(iter(gigaword.Gigaword.url_infos.values()))
    }
    manual_files = ('ggw_data.zip',)

    def _split_generators(self, dl_manager: Any) -> dict[str, Examples]:
        archive = pathlib.Path(dl_manager.download(next(iter(self.url_infos))))
        parts = {'train': 'train', 'validation': 'dev', 'test': 'test'}
        return {
            split: _some(self._generate_examples(archive, part), f'{archive}: {part}')
            for split, part in parts.items()
        }

    def _generate_examples(self, archive: pathlib.Path, part: str) -> Examples:
        names = [f'org_data/{part}.{end}.txt' for end in ('src', 'tgt')]
        with (
            zipfile.ZipFile(archive) as file,
            file.open(names[0]) as documents,
            file.open(names[1]) as summaries,
        ):
            files = zip((documents, summaries), names, strict=True)
            texts = [_lines(member, f'{archive}: {name}', '\n') for member, name in files]
            for number, pair in enumerate(zip(*texts, strict=False)):
                document, summary = (
                    text.replace('<unk>', 'UNK') if part != 'test' else text for text in pair
                )
                yield number, {'document': document, 'summary': summary}


class Lm1b(_Unregistered, lm1b_dataset_builder.Builder):
    """The One Billion Word Benchmark, Chelba et al. 2013: shuffled sentences of news."""

    name = 'lm1b'
    pkg_dir_path = tfds.core.Path(lm1b_dataset_builder.__file__).parent
    url_infos: ClassVar[UrlInfos] = dict(lm1b_dataset_builder.Builder.url_infos)
    manual_files = ('1-billion-word-language-modeling-benchmark-r13output.tar.gz',)
    num_valid = 20_000  # sentences: it has no validation split of its own

    def _split_generators(self, dl_manager: Any) -> dict[str, Examples]:
        archive = pathlib.Path(dl_manager.download(next(iter(self.url_infos))))
        parts = {
            'train': 'training-monolingual.tokenized.shuffled/news.en-',
            'test': 'heldout-monolingual.tokenized.shuffled/news.en.heldout-',
        }
        return {
            split: _some(self._generate_examples(archive, prefix), f'{archive}: {prefix}*')
            for split, prefix in parts.items()
        }

    def _generate_examples(self, archive: pathlib.Path, prefix: str) -> Examples:
        wanted = f'{self.manual_files[0].partition(".")[0]}/{prefix}'
        with tarfile.open(archive, 'r:gz') as files:
            for member in files:
                if member.name.startswith(wanted) and (file := files.extractfile(member)):
                    name = pathlib.PurePosixPath(member.name).name
                    for number, line in enumerate(_lines(file, f'{archive}: {name}', None)):
                        yield f'{name}_{number}', {'text': line}


class Pg19(_Unregistered, pg19_dataset_builder.Builder):
    """Books of Project Gutenberg published before 1919, Rae et al. 2020: a file a book.

    The stock builder reads gs://deepmind-gutenberg; here the same files come over HTTPS, or out of
    a copy of that bucket. They have no published checksums.
    """

    name = 'pg19'
    pkg_dir_path = tfds.core.Path(pg19_dataset_builder.__file__).parent
    manual_files = ('deepmind-gutenberg/metadata.csv',)
    MANUAL_DOWNLOAD_INSTRUCTIONS = 'deepmind-gutenberg: a copy of gs://deepmind-gutenberg'
    bucket = 'https://storage.googleapis.com/deepmind-gutenberg'
    listing = 'https://storage.googleapis.com/storage/v1/b/deepmind-gutenberg/o'

    def _split_generators(self, dl_manager: Any) -> dict[str, Examples]:
        table = self.manual_dir / self.manual_files[0]
        copy = table.parent if table.is_file() else None
        if not copy:
            table = pathlib.Path(dl_manager.download(f'{self.bucket}/{table.name}'))
        rows = [row.split(',') for row in _text(table).splitlines()]
        known = {int(row[0]): row[1:] for row in rows}
        splits = {}
        for split in ('train', 'validation', 'test'):
            books = _books_in(copy / split) if copy else self._download(dl_manager, split)
            splits[split] = _some(self._generate_examples(books, known), f'{split}/*.txt')
        return splits

    def _generate_examples(
        self, books: Mapping[int, pathlib.Path], known: Mapping[int, list[str]]
    ) -> Examples:
        for book, path in books.items():
            example = {'book_text': _text(path).strip(), 'book_id': book}
            columns = ('book_title', 'publication_date', 'book_link')
            yield book, example | dict(zip(columns, known[book][:3], strict=True))

    def _download(self, dl_manager: Any, split: str) -> dict[int, pathlib.Path]:
        urls: dict[int, str] = {}
        page: dict[str, Any] = {'nextPageToken': ''}
        while 'nextPageToken' in page:
            query = {'prefix': f'{split}/', 'pageToken': page['nextPageToken']}
            address = f'{self.listing}?{urllib.parse.urlencode(query)}'
            with urllib.request.urlopen(address, timeout=_TIMEOUT) as answer:
                page = json.load(answer)
            names = [item['name'] for item in page.get('items', [])]
            urls |= {
                int(pathlib.PurePosixPath(name).stem): f'{self.bucket}/{name}'
                for name in names
                if name.endswith('.txt')
            }
        paths = dl_manager.download(urls)
        return {book: pathlib.Path(path) for book, path in paths.items()}


class WikiText103(_Unregistered, tfds.core.GeneratorBasedBuilder):
    """WikiText-103, Merity et al. 2016, https://arxiv.org/abs/1609.07843: an example a line.

    Blank lines are lines too. The counts of words are those published, one `<eos>` a line.
    """

    name = 'wikitext103'
    VERSION = tfds.core.Version('1.0.0')
    manual_files = ('wiki.train.tokens', 'wiki.valid.tokens', 'wiki.test.tokens')
    MANUAL_DOWNLOAD_INSTRUCTIONS = 'the three files of wikitext-103-v1.zip'
    num_words: Mapping[str, int] = {'train': 103_227_021, 'valid': 217_646, 'test': 245_569}
    num_types = 267_735  # of train, <eos> included

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description='WikiText-103 word level, one example a line.',
            features=tfds.features.FeaturesDict({'text': tfds.features.Text()}),
            homepage='https://arxiv.org/abs/1609.07843',
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Examples]:
        names = {'train': 'train', 'validation': 'valid', 'test': 'test'}
        return {
            split: self._generate_examples(self.manual_dir / f'wiki.{name}.tokens', name)
            for split, name in names.items()
        }

    def _generate_examples(self, path: pathlib.Path, part: str) -> Examples:
        num_words, types = 0, {b'<eos>'}
        with path.open('rb') as file:
            for number, line in enumerate(file):
                words = line.split()  # of bytes: at ASCII white space only
                num_words += len(words) + 1
                if part == 'train':
                    types.update(words)
                # Examples lie in the order of their keys, and the first bits of a key choose one
                # of a thousand buckets that are sorted apart.
                yield number << 104, {'text': _decode(line.removesuffix(b'\n'), str(path))}
        wanted = [self.num_words[part], self.num_types if part == 'train' else 1]
        if [num_words, len(types)] != wanted:
            found = f'{num_words:,} words' + f', {len(types):,} different' * (part == 'train')
            published = f'{wanted[0]:,}' + f' and {wanted[1]:,}' * (part == 'train')
            raise base.DataError(
                f'{path} is not WikiText-103: it has {found}, published are {published}; take the '
                'file of wikitext-103-v1.zip (word level, not raw), or --dataset=text'
            )


BUILDERS: dict[str, type] = {
    builder.name: builder for builder in (Gigaword, Lm1b, Pg19, WikiText103)
}


def _some(examples: Examples, what: str) -> Examples:
    first = next(examples, None)
    if first is None:
        raise base.DataError(f'{what} holds no texts: take the published files')
    yield first
    yield from examples


def _books_in(folder: pathlib.Path) -> dict[int, pathlib.Path]:
    return {int(path.stem): path for path in sorted(folder.glob('*.txt'))}


def _text(path: pathlib.Path) -> str:
    return _decode(path.read_bytes(), str(path))


def _decode(text: bytes, name: str) -> str:
    try:
        return text.decode('utf-8')
    except UnicodeDecodeError as error:
        raise base.DataError(f'{name} is not UTF-8: {error}; take the published file') from error


def _lines(file: IO[bytes], name: str, newline: str | None) -> Iterator[str]:
    """The lines of a file, stripped; `newline` as for `open`."""
    try:
        for line in io.TextIOWrapper(file, 'utf-8', newline=newline):
            yield line.strip()
    except UnicodeDecodeError as error:
        raise base.DataError(f'{name} is not UTF-8: {error}; take the published file') from error
