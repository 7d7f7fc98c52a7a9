"""Small data sets of TensorFlow Datasets, of about 2,000 words, prepared under a folder.

Each function returns the `data_dir` that it was given. The texts are sentences with a grammar, so
that a language model learns something; they differ between splits and from data set to data set.
"""

import hashlib
import io
import json
import pathlib
import random
import struct
import tarfile
import zipfile

from array_record.python import array_record_module
from tensorflow_datasets.core.download import checksums

from tasks import base
from tasks.text.tfds import builders, preparing

SHARDS = 2  # of a train split in tfrecord


def sentences(count, seed):
    """Returns sentences of seven words, of 36 different ones."""
    rng = random.Random(seed)
    words = [(rng.randrange(11), rng.randrange(11), rng.randrange(11)) for _ in range(count)]
    return [f'the adj{a} noun{a} verb{b} the adj{c} noun{c}' for a, b, c in words]


def gigaword(data_dir):
    """Prepares `gigaword`: 200 documents to train on, 30 to validate, 40 to test."""
    return prepare('gigaword', data_dir, pairs())


def pairs():
    """Returns the examples of a small gigaword."""
    sizes = {'train': 200, 'validation': 30, 'test': 40}
    return {
        split: [
            {'document': f'{text} .', 'summary': ' '.join(text.split()[:3])}
            for text in sentences(size, seed)
        ]
        for seed, (split, size) in enumerate(sizes.items())
    }


def lm1b(data_dir):
    """Prepares `lm1b`: 250 sentences, of which the last 25 validate, and 40 to test."""
    sizes = {'train': 250, 'test': 40}
    texts = {split: sentences(size, seed + 3) for seed, (split, size) in enumerate(sizes.items())}
    return prepare(
        'lm1b', data_dir, {split: [{'text': t} for t in lines] for split, lines in texts.items()}
    )


def pg19(data_dir):
    """Prepares `pg19`: five books to train on, one to validate and two to test."""
    books = {'train': range(11, 16), 'validation': range(21, 22), 'test': range(31, 33)}
    return prepare('pg19', data_dir, {split: list(map(book, ids)) for split, ids in books.items()})


def book(number):
    """Returns the example of a book of 40 lines in 10 paragraphs."""
    lines = sentences(40, number)
    paragraphs = ['\n'.join(lines[i : i + 4]) for i in range(0, 40, 4)]
    return {
        'book_text': '\n\n'.join(paragraphs),
        'book_id': number,
        'book_title': f'Title {number}',
        'publication_date': str(1800 + number),
        'book_link': f'http://www.gutenberg.org/ebooks/{number}',
    }


def wikitext103(data_dir):
    """Prepares `wikitext103`: 250, 30 and 40 lines, and one blank line each."""
    sizes = {'train': 250, 'validation': 30, 'test': 40}
    return prepare(
        'wikitext103',
        data_dir,
        {
            split: [{'text': text} for text in ['', *sentences(size, seed + 40)]]
            for seed, (split, size) in enumerate(sizes.items())
        },
    )


PREPARE = {'gigaword': gigaword, 'lm1b': lm1b, 'pg19': pg19, 'wikitext103': wikitext103}


def prepare(name, data_dir, examples):
    """Prepares a data set of these examples by split, as array_record."""
    builder = builders.BUILDERS[name](data_dir=str(data_dir))
    generators = {
        split: ((number << 104, example) for number, example in enumerate(rows))
        for split, rows in examples.items()
    }
    builder._split_generators = lambda dl_manager: generators
    preparing._generate(builder, pathlib.Path(data_dir, 'downloads'), base.SILENT)
    return data_dir


def as_tfrecord(folder):
    """Rewrites a prepared data set as TFDS writes it with TensorFlow."""
    for path in sorted(folder.glob('*.array_record-*')):
        records = array_record_module.ArrayRecordReader(str(path)).read_all()
        shards = SHARDS if '-train.' in path.name else 1
        size = -(-len(records) // shards)
        stem = path.name.split('.')[0]
        for shard in range(shards):
            part = records[shard * size : (shard + 1) * size]
            name = f'{stem}.tfrecord-{shard:05}-of-{shards:05}'
            (folder / name).write_bytes(tfrecord(part))
        path.unlink()
    info = folder / 'dataset_info.json'
    record = json.loads(info.read_text())
    record['fileFormat'] = 'tfrecord'
    for split in record['splits']:
        count = sum(map(int, split['shardLengths']))
        shards = SHARDS if split['name'] == 'train' else 1
        size = -(-count // shards)
        split['shardLengths'] = [str(min(size, count - size * i)) for i in range(shards)]
    info.write_text(json.dumps(record))


def tfrecord(records):
    """Returns the bytes of a tfrecord file."""
    parts = []
    for record in records:
        length = struct.pack('<Q', len(record))
        parts += [length, _masked_crc(length), record, _masked_crc(record)]
    return b''.join(parts)


def _masked_crc(data):
    """Returns the checksum of tfrecord: CRC-32C, rotated by 15 bits, plus a constant."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return struct.pack('<I', ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def gigaword_archive(path, examples):
    """Writes `ggw_data.zip` of examples, with a blank at the end of lines as in the original."""
    names = {'train': 'train', 'validation': 'dev', 'test': 'test'}
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for split, rows in examples.items():
            for field, end in (('document', 'src'), ('summary', 'tgt')):
                text = ''.join(f'{row[field]} \n' for row in rows)
                archive.writestr(f'org_data/{names[split]}.{end}.txt', text)


def lm1b_archive(path, files):
    """Writes the archive of lm1b: the lines of `train` and `test` by the name of their file."""
    top = '1-billion-word-language-modeling-benchmark-r13output'
    folders = {'train': 'training-monolingual', 'test': 'heldout-monolingual'}
    with tarfile.open(path, 'w:gz') as archive:
        for split, parts in files.items():
            for name, lines in parts.items():
                data = ''.join(f'{line}\n' for line in lines).encode()
                info = tarfile.TarInfo(f'{top}/{folders[split]}.tokenized.shuffled/{name}')
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))


def pg19_copy(folder, books):
    """Writes a copy of the bucket of pg19: examples by split."""
    folder.mkdir(parents=True)
    rows = []
    for split, examples in books.items():
        (folder / split).mkdir()
        for row in examples:
            text = f'\n{row["book_text"]}\n'
            (folder / split / f'{row["book_id"]}.txt').write_text(text)
            columns = ('book_id', 'book_title', 'publication_date', 'book_link')
            rows.append(','.join(str(row[column]) for column in columns))
    (folder / 'metadata.csv').write_text('\n'.join(rows) + '\n')


def info_of(path):
    """Returns size and checksum of a file as TFDS keeps them."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return checksums.UrlInfo(size=path.stat().st_size, checksum=digest, filename=path.name)
