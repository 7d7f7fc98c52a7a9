"""Reads the records of data sets that TensorFlow Datasets (TFDS) prepared, without TensorFlow.

A split lies in shards, files of records; a record is a serialised `tf.train.Example`. Two formats
of shards are read, in blocks, so that memory does not grow with the corpus:
  array_record  what this package writes; its reader checks the hash of every chunk. Its package is
                not there for every platform.
  tfrecord      what TFDS writes with TensorFlow by default: for each record its length (8 bytes,
                little endian), a checksum of that (4), the record, and its checksum (4), see
                https://www.tensorflow.org/tutorials/load_data/tfrecord. Checksums are skipped:
                CRC32C in Python would take longer than all the rest. Lengths and the number of
                records have to fit, which finds a cut file.
"""

from collections.abc import Callable, Iterator, Sequence
import os
import pathlib
import platform
import struct
from typing import Any, NamedTuple

from google.protobuf import message
from tensorflow_datasets.proto import tf_example_pb2

from tasks import base

_BLOCK = 1 << 18  # bytes of records that are held at a time
_HEADER = struct.Struct('<Q4x')  # the length of a record and its checksum
_FOOTER = 4  # bytes, the checksum of the record


class Shard(NamedTuple):
    """A file of records."""

    path: pathlib.Path
    num_records: int


class Split(NamedTuple):
    """Consecutive records."""

    shards: Sequence[Shard]
    file_format: str  # of `FILE_FORMATS`
    start: int  # the first record of the shards that is read
    stop: int  # the record before which reading stops
    num_bytes: int  # about, of its records


def read(split: Split, fields: Sequence[str]) -> Iterator[list[str]]:
    """Reads texts in the order of the records.

    Args:
      split: what to read.
      fields: the names of the texts of a record that are wanted.

    Yields:
      The texts of about 256 KiB of records: of each record all fields in their order.

    Raises:
      DataError: a file cannot be read, is damaged, or its records do not have these fields.
    """
    first = 0  # of the shard's records
    for shard in split.shards:
        start, stop = max(split.start - first, 0), min(split.stop - first, shard.num_records)
        if start < stop:
            yield from _texts(shard, _READERS[split.file_format](shard, start, stop), fields)
        first += shard.num_records


def _texts(
    shard: Shard, blocks: Iterator[list[bytes]], fields: Sequence[str]
) -> Iterator[list[str]]:
    parse = tf_example_pb2.Example.FromString
    try:
        for block in blocks:
            examples = [parse(record).features.feature for record in block]
            texts = (example[field].bytes_list.value[0] for example in examples for field in fields)
            yield [text.decode() for text in texts]
    except UnicodeDecodeError as error:
        raise _damaged(shard, 'a text is not UTF-8') from error
    except message.DecodeError as error:
        raise _damaged(shard, 'a record is no tf.train.Example') from error
    except IndexError as error:  # a feature that is not there is empty
        raise _damaged(shard, f'a record has no text {" or ".join(fields)}') from error


def array_record_module() -> Any:
    """Returns the module that reads and writes array_record.

    Raises:
      DataError: it is not installed; for some platforms it cannot be.
    """
    try:
        from array_record.python import array_record_module
    except ImportError as error:
        raise base.DataError(
            f'the format array_record, in which data sets of TFDS are prepared, needs the package '
            f'array_record, which is not there on {platform.system()} {platform.machine()} '
            f'({error}): prepare the data set on Linux as tfrecord, or use pydoc, text or gutenberg'
        ) from error
    return array_record_module


def _read_array_record(shard: Shard, start: int, stop: int) -> Iterator[list[bytes]]:
    module = array_record_module()
    try:
        reader = module.ArrayRecordReader(str(shard.path), 'readahead_buffer_size:0')
        _check_count(shard, reader.num_records())
        step = max(1, _BLOCK * shard.num_records // shard.path.stat().st_size)
        for first in range(start, stop, step):
            yield reader.read(first, min(first + step, stop))
        reader.close()
    except OSError as error:
        raise base.DataError(f'{shard.path} cannot be read: {error.strerror}') from error
    except (RuntimeError, ValueError) as error:
        raise _damaged(shard, str(error).splitlines()[0]) from error


def _read_tfrecord(shard: Shard, start: int, stop: int) -> Iterator[list[bytes]]:
    block: list[bytes] = []
    size = number = 0
    try:
        for record in _records(shard):
            if start <= number < stop:
                block.append(record)
                size += len(record)
            if size >= _BLOCK:
                yield block
                block, size = [], 0
            number += 1
    except OSError as error:
        raise base.DataError(f'{shard.path} cannot be read: {error.strerror}') from error
    if block:
        yield block
    _check_count(shard, number)


def _records(shard: Shard) -> Iterator[bytes]:
    size = shard.path.stat().st_size
    with shard.path.open('rb') as file:
        while header := file.read(_HEADER.size):
            length = _HEADER.unpack(header)[0] if len(header) == _HEADER.size else size
            if length + _FOOTER > size - file.tell():
                raise _damaged(shard, 'it ends inside a record')
            yield file.read(length)
            file.seek(_FOOTER, os.SEEK_CUR)


_READERS: dict[str, Callable[[Shard, int, int], Iterator[list[bytes]]]] = {
    'array_record': _read_array_record,
    'tfrecord': _read_tfrecord,
}
FILE_FORMATS = tuple(_READERS)


def _check_count(shard: Shard, found: int) -> None:
    if found != shard.num_records:
        raise _damaged(shard, f'it has {found:,} records, wanted {shard.num_records:,}')


def _damaged(shard: Shard, reason: str) -> base.DataError:
    return base.DataError(
        f'{shard.path} is damaged ({reason}): delete the folder {shard.path.parent} to prepare '
        'it again'
    )
