"""Lets TensorFlow Datasets (TFDS) shuffle large splits without TensorFlow.

TFDS writes the examples of a split in the order of the hashes of their keys. Up to 1000 MiB it
sorts in memory, and above in a thousand files that it writes with TensorFlow. `without_tensorflow`
gives it buckets that are plain files, and a smaller memory; the order stays the same.
"""

from collections.abc import Iterator
import contextlib
import pathlib
import struct

from tensorflow_datasets.core import shuffle

_MEMORY = 64 << 20  # bytes of examples that are sorted without files
_BUFFER = 1 << 16  # bytes a bucket holds before it opens its file: a thousand stay below 64 MiB
_HEADER = struct.Struct('<16sQ')  # key, length of the example
_KEY_BYTES = 16


class Bucket:
    """Examples whose keys have a prefix in common, written in any order and read once.

    It has the methods of `tensorflow_datasets.core.shuffle._Bucket`; the file is there only between
    writing and `del_file`.
    """

    def __init__(self, path: pathlib.Path):
        self._path = pathlib.Path(path)
        self._buffer = bytearray()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, key: int, data: bytes) -> None:
        """Adds an example; keys are below 2 ** 128."""
        self._buffer += _HEADER.pack(key.to_bytes(_KEY_BYTES, 'little'), len(data)) + data
        self._length += 1
        if len(self._buffer) >= _BUFFER:
            self._flush()

    def read_values(self) -> Iterator[tuple[int, bytes]]:
        """Yields keys and examples in the order in which they were added."""
        self._flush()
        with self._path.open('rb') as file:
            while header := file.read(_HEADER.size):
                key, length = _HEADER.unpack(header)
                yield int.from_bytes(key, 'little'), file.read(length)

    def del_file(self) -> None:
        """Deletes the file."""
        self._path.unlink()

    def _flush(self) -> None:
        with self._path.open('ab') as file:  # open only now: a process may open few files
            file.write(self._buffer)
        self._buffer.clear()


@contextlib.contextmanager
def without_tensorflow() -> Iterator[None]:
    """Within its `with` block TFDS shuffles by way of `Bucket`."""
    before = shuffle._Bucket, shuffle.MAX_MEM_BUFFER_SIZE
    shuffle._Bucket, shuffle.MAX_MEM_BUFFER_SIZE = Bucket, _MEMORY
    try:
        yield
    finally:
        shuffle._Bucket, shuffle.MAX_MEM_BUFFER_SIZE = before
