import struct
import sys
import tracemalloc

from array_record.python import array_record_module
import pytest
from tensorflow_datasets.proto import tf_example_pb2

from tasks import base
from tasks.text.tfds import records as records_lib
from tests.support import prepared_corpora


def example(**texts):
    record = tf_example_pb2.Example()
    for name, text in texts.items():
        content = text if isinstance(text, bytes) else text.encode()
        record.features.feature[name].bytes_list.value.append(content)
    return record.SerializeToString()


def write(path, file_format, records):
    if file_format == 'tfrecord':
        path.write_bytes(prepared_corpora.tfrecord(records))
        return records_lib.Shard(path, len(records))
    writer = array_record_module.ArrayRecordWriter(str(path), 'group_size:1')
    for record in records:
        writer.write(record)
    writer.close()
    return records_lib.Shard(path, len(records))


FORMATS = ('array_record', 'tfrecord')


@pytest.fixture(params=FORMATS)
def split(request, tmp_path):
    """Three shards of 4, 1 and 3 records: documents d0 to d7 and summaries s0 to s7."""
    shards, first = [], 0
    for number, count in enumerate((4, 1, 3)):
        records = [example(document=f'd{i}', summary=f's{i}') for i in range(first, first + count)]
        shards.append(write(tmp_path / str(number), request.param, records))
        first += count
    return records_lib.Split(shards, request.param, 0, 8, 0)


def texts_of(split, *fields):
    return [text for block in records_lib.read(split, fields) for text in block]


def test_records_are_read_in_their_order(split):
    assert texts_of(split, 'document') == [f'd{i}' for i in range(8)]


def test_the_fields_of_a_record_follow_each_other(split):
    assert texts_of(split._replace(stop=2), 'summary', 'document') == ['s0', 'd0', 's1', 'd1']


def test_every_range_of_records_can_be_read(split):
    for start in range(9):
        for stop in range(start, 9):
            wanted = [f'd{i}' for i in range(start, stop)]
            assert texts_of(split._replace(start=start, stop=stop), 'document') == wanted


def test_the_size_of_a_block_does_not_matter(split, monkeypatch):
    for size in (1, 40, 10_000):
        monkeypatch.setattr(records_lib, '_BLOCK', size)
        assert texts_of(split, 'document') == [f'd{i}' for i in range(8)]
    monkeypatch.setattr(records_lib, '_BLOCK', 1 << 20)
    blocks = list(records_lib.read(split, ['document']))
    assert [len(block) for block in blocks] == [4, 1, 3]


def test_tfrecord_is_read_as_its_format_is_described(tmp_path):
    record = example(text='ä')
    content = struct.pack('<QI', len(record), 0) + record + struct.pack('<I', 0)
    (tmp_path / 'a').write_bytes(content + content)
    split = records_lib.Split([records_lib.Shard(tmp_path / 'a', 2)], 'tfrecord', 0, 2, 0)
    assert texts_of(split, 'text') == ['ä', 'ä']


@pytest.mark.parametrize('file_format', records_lib.FILE_FORMATS)
def test_memory_is_bounded_by_the_block(tmp_path, monkeypatch, file_format):
    monkeypatch.setattr(records_lib, '_BLOCK', 1 << 14)
    shard = write(tmp_path / 'a', file_format, [example(text=50 * f'{i} ') for i in range(3000)])
    assert shard.path.stat().st_size > 390_000
    tracemalloc.start()
    split = records_lib.Split([shard], file_format, 0, 3000, 0)
    count = sum(map(len, records_lib.read(split, ['text'])))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 3000
    assert peak < 250_000


def check(split, message, *fields):
    with pytest.raises(base.DataError, match=message) as caught:
        texts_of(split, *fields)
    assert '\n' not in str(caught.value)


def test_a_cut_file_is_named(split):
    path = split.shards[2].path
    whole = path.read_bytes()
    for size in (0, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        check(split, f'{path} is damaged .*delete the folder {path.parent}', 'document')


def test_a_file_cut_between_records_is_noticed(tmp_path):
    shard = write(tmp_path / 'a', 'tfrecord', [example(text='x')])
    split = records_lib.Split([shard._replace(num_records=2)], 'tfrecord', 0, 2, 0)
    check(split, 'it has 1 records, wanted 2', 'text')


def test_a_file_that_vanished_is_named(split):
    path = split.shards[1].path
    path.unlink()
    check(split, f'{path} (cannot be read|is damaged)', 'document')


def test_a_changed_byte_of_array_record_is_noticed(tmp_path):
    shard = write(tmp_path / 'a', 'array_record', [example(text=100 * f'{i} ') for i in range(99)])
    content = bytearray(shard.path.read_bytes())
    content[len(content) // 2] ^= 1
    shard.path.write_bytes(content)
    check(records_lib.Split([shard], 'array_record', 0, 99, 0), 'a is damaged', 'text')


@pytest.mark.parametrize('file_format', records_lib.FILE_FORMATS)
@pytest.mark.parametrize(
    ('record', 'message'),
    [
        (example(title='x'), 'a record has no text document or text'),
        (b'\xff\xff\xff', 'a record is no tf.train.Example'),
        (example(document='x', text=b'\xff'), 'a text is not UTF-8'),
    ],
    ids=['no_text', 'no_example', 'no_utf_8'],  # bytes of an example may differ by process
)
def test_other_records_are_refused(tmp_path, file_format, record, message):
    shard = write(tmp_path / 'a', file_format, [record])
    check(records_lib.Split([shard], file_format, 0, 1, 0), message, 'document', 'text')


def test_without_array_record_tfrecord_is_read_and_the_other_refused(tmp_path, monkeypatch):
    shards = {kind: write(tmp_path / kind, kind, [example(document='d')]) for kind in FORMATS}
    monkeypatch.setitem(sys.modules, 'array_record.python', None)
    parts = {kind: records_lib.Split([shards[kind]], kind, 0, 1, 0) for kind in FORMATS}
    assert texts_of(parts['tfrecord'], 'document') == ['d']
    check(parts['array_record'], 'not there on .*: prepare the data set on Linux as tfrecord')
