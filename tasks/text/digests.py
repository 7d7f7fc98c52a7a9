"""SHA-256 sums of files, by which a text and an encoded corpus are known and found altered."""

import contextlib
import hashlib
import pathlib

from tasks import base, storage

_LARGE = 1 << 30  # bytes; digests of such files are remembered


def digest(path: pathlib.Path, cache_dir: pathlib.Path) -> str:
    """Returns the SHA-256 of a file; of a large one, remembered by path, size and time of change.

    Args:
      path: the file.
      cache_dir: the folder to remember it in; where it cannot be written, nothing is remembered.

    Returns:
      The digest in hex.

    Raises:
      DataError: the file cannot be read.
    """
    try:
        stat = path.stat()
        if stat.st_size < _LARGE:
            return storage.sha256(path)
        identity = f'{path.resolve()}\n{stat.st_size}\n{stat.st_mtime_ns}\n{stat.st_ctime_ns}'
        memo = cache_dir / 'digests' / hashlib.sha256(identity.encode()).hexdigest()
        with contextlib.suppress(OSError):
            return _remembered(memo, path)
        return storage.sha256(path)
    except OSError as error:
        raise base.DataError(f'{path} cannot be read: {error.strerror}') from error


def _remembered(memo: pathlib.Path, path: pathlib.Path) -> str:
    """Returns what a file holds, the digest of another one; writes it if it is not there."""
    if not memo.is_file():
        memo.parent.mkdir(parents=True, exist_ok=True)
        with storage.lock(memo.with_name(f'{memo.name}.lock')):
            if not memo.is_file():  # another process may have been faster
                storage.write_text(memo, storage.sha256(path))
    return memo.read_text()
