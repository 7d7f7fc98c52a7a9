"""Opens data sets of TensorFlow Datasets (TFDS), and prepares those that are not there yet.

A prepared data set is the folder `<data_dir>/<name>/<version>` of TFDS, made by `build_once`.
Sources lie in `<data_dir>/downloads/manual` or in `<data_dir>` itself, or come over the network.
"""

from collections.abc import Iterable, Iterator
import contextlib
import io
import pathlib
import shutil
import socket
import tarfile
import threading
from typing import Any
import urllib.parse
import urllib.request
import zipfile
import zlib

from google.protobuf import json_format
import tensorflow_datasets as tfds
from tensorflow_datasets.core import utils
from tensorflow_datasets.core.download import download_manager

from tasks import base
from tasks.text import build_once
from tasks.text.tfds import builders, records, shuffling

_DESCRIPTIONS = ('dataset_info.json', 'features.json')  # TFDS writes them when all else is there
_REACH_SECONDS = 0.5
_REPORT_EVERY = 1000  # examples
_BAD_SOURCE = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, KeyError, ValueError)


def prepared(
    name: str, data_dir: pathlib.Path | None = None, progress: base.Progress = base.SILENT
) -> tuple[object, dict[str, records.Split]]:
    """Opens a data set; prepares it if it is not there and its source is.

    Args:
      name: one of `builders.BUILDERS`.
      data_dir: the folder of all data sets, None for that of TFDS: `$TFDS_DATA_DIR` or
        `~/tensorflow_datasets`.
      progress: receives how far it is, and what it waits for.

    Returns:
      What identifies its content, for JSON, and its splits 'train', 'valid' and 'test'.

    Raises:
      DataError: it is neither prepared nor is its source there, or either is damaged.
    """
    try:
        builder = _builder(name, data_dir)
        folder = pathlib.Path(builder.data_path)
        if not _is_whole(folder):
            _check_source(builder, folder)
            build_once.build_once(
                folder, lambda whole: _prepare(builder, whole, progress), progress=progress
            )
            builder = _builder(name, data_dir)
        return _identity(builder, folder), _splits(builder)
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise base.DataError(f'{name} cannot be prepared or read: {reason}') from error
    except json_format.ParseError as error:
        place = f'{name} in {data_dir or "the data_dir of TFDS"}'
        reason = str(error).splitlines()[0]
        raise base.DataError(
            f'{place}: its dataset_info.json is damaged ({reason}): delete the folder of its '
            'version to prepare it again'
        ) from error


def _builder(name: str, data_dir: pathlib.Path | None) -> Any:
    return builders.BUILDERS[name](data_dir=str(data_dir) if data_dir else None)


def _is_whole(folder: pathlib.Path) -> bool:
    return all((folder / name).is_file() for name in _DESCRIPTIONS)


def _identity(builder: Any, folder: pathlib.Path) -> object:
    """What a data set is: hashing its gigabytes at every start would take too long."""
    files = []
    for _, info in sorted(builder.info.splits.items()):
        paths = map(pathlib.Path, info.filepaths)
        for path, count in zip(paths, info.shard_lengths, strict=True):
            if not path.is_file():
                remedy = f'delete the folder {folder} to prepare it again'
                raise base.DataError(f'{path} is missing: {remedy}')
            files.append((path.name, count, path.stat().st_size))
    checksums = [info.checksum for info in builder.url_infos.values()]
    return builder.name, str(builder.version), checksums, files


def _splits(builder: Any) -> dict[str, records.Split]:
    """The splits by the names that they have here."""
    there = builder.info.splits
    splits = {}
    for ours, theirs in (('train', 'train'), ('valid', 'validation'), ('test', 'test')):
        if theirs in there:
            splits[ours] = _split(there[theirs], builder.info.file_format.value)
        elif not (ours == 'valid' and builder.num_valid):
            remedy = 'delete the folder to prepare it again'
            raise base.DataError(f'{builder.data_path} has no {theirs} split: {remedy}')
    if builder.num_valid:
        splits['train'], splits['valid'] = _cut(splits['train'], builder.num_valid)
    return {split: splits[split] for split in ('train', 'valid', 'test')}


def _split(info: Any, file_format: str) -> records.Split:
    if file_format not in records.FILE_FORMATS:
        wanted = ' or '.join(records.FILE_FORMATS)
        raise base.DataError(f'{info.filepaths[0]} is in the format {file_format}: wanted {wanted}')
    pairs = zip(info.filepaths, info.shard_lengths, strict=True)
    shards = [records.Shard(pathlib.Path(path), count) for path, count in pairs]
    return records.Split(shards, file_format, 0, info.num_examples, int(info.num_bytes))


def _cut(whole: records.Split, count: int) -> tuple[records.Split, records.Split]:
    """Cuts that many records, at most a tenth, off the end of a split."""
    count = min(count, whole.stop // 10)
    num_bytes = whole.num_bytes * count // max(whole.stop, 1)
    first = whole._replace(stop=whole.stop - count, num_bytes=whole.num_bytes - num_bytes)
    return first, whole._replace(start=whole.stop - count, num_bytes=num_bytes)


def _prepare(builder: Any, whole: pathlib.Path, progress: base.Progress) -> None:
    """Makes the data set elsewhere, and moves it to an empty folder."""
    downloads = pathlib.Path(builder.data_path).parent.parent / 'downloads'
    for left in (downloads / builder.name).glob('**/*.tmp.*'):  # of a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    making = _builder(builder.name, whole.parent / 'data')
    making.manual_dir = _manual_dir(builder)
    _generate(making, downloads, progress)
    whole.rmdir()
    pathlib.Path(making.data_path).rename(whole)


def _manual_dir(builder: Any) -> pathlib.Path:
    """The folder in which all files that the user provides are, or else where they belong."""
    root = pathlib.Path(builder.data_path).parent.parent
    manual = root / 'downloads' / 'manual'
    whole = (x for x in (manual, root) if not _missing(builder, x))
    return next(whole, manual)


def _missing(builder: Any, folder: pathlib.Path) -> list[str]:
    return [name for name in builder.manual_files if not (folder / name).is_file()]


def _check_source(builder: Any, folder: pathlib.Path) -> None:
    """Finds out in half a second whether there is anything to prepare from."""
    if folder.exists() and not _is_whole(folder):  # in this order: another process may be faster
        raise base.DataError(
            f'{folder} is not a whole data set ({" or ".join(_DESCRIPTIONS)} is missing): '
            'delete it to prepare it again'
        )
    root, manual = folder.parent.parent, _manual_dir(builder)
    missing = _missing(builder, manual)
    address = next(iter(builder.url_infos), builder.bucket)
    if not missing or (address and _is_reachable(address)):
        return
    host = urllib.parse.urlsplit(address).hostname
    why = f' and {host} cannot be reached' if host else ''
    raise base.DataError(
        f'{builder.name} {builder.version} is not prepared in {root}{_other_versions(builder)}'
        f'{why}: put {_manual_files(builder, missing)} into {manual} or {root}, or name another '
        'data_dir'
    )


def _manual_files(builder: Any, missing: list[str]) -> str:
    """Describes the files that belong in the folder for what the user provides."""
    for info in builder.url_infos.values():
        return f'{info.filename} ({int(info.size):,} bytes, sha256 {info.checksum})'
    instructions = builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    return f'{", ".join(missing)} ({instructions})'


def _other_versions(builder: Any) -> str:
    folder = pathlib.Path(builder.data_path).parent
    found = sorted(path.parent.name for path in folder.glob('[0-9]*/dataset_info.json'))
    return f' (only {", ".join(found)} is)' if found else ''


def _is_reachable(address: str) -> bool:
    """Whether the host, or the proxy for it, takes a connection within half a second."""
    url = urllib.parse.urlsplit(address)
    proxy = urllib.request.getproxies().get(url.scheme)
    if proxy and not urllib.request.proxy_bypass(url.hostname or ''):
        url = urllib.parse.urlsplit(proxy)
    port = url.port or {'http': 80}.get(url.scheme, 443)
    reached = threading.Event()

    def connect() -> None:
        with contextlib.suppress(OSError), socket.create_connection((url.hostname, port), 5):
            reached.set()

    thread = threading.Thread(target=connect, daemon=True)  # names are looked up without a timeout
    thread.start()
    thread.join(_REACH_SECONDS)
    return reached.is_set()


def _generate(builder: Any, downloads: pathlib.Path, progress: base.Progress) -> None:
    """Runs the builder; raises a DataError of one line where it cannot."""
    records.array_record_module()  # now, and not after gigabytes have come
    config = tfds.download.DownloadConfig(manual_dir=builder.manual_dir, try_download_gcs=False)
    progress.say(f'preparing {builder.name} {builder.version}, once')
    split_generators = builder._split_generators
    builder._split_generators = lambda dl_manager: {
        split: _reported(examples, f'{builder.name} {split}: prepared', progress)
        for split, examples in split_generators(dl_manager).items()
    }
    tfds.disable_progress_bar()
    try:
        with (
            shuffling.without_tensorflow(),
            _plain_errors(),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            builder.download_and_prepare(
                download_dir=downloads, download_config=config, file_format='array_record'
            )
    except download_manager.NonMatchingChecksumError as error:
        (info,) = builder.url_infos.values()
        manual = builder.manual_dir / info.filename
        path = manual if manual.exists() else f'the downloaded {info.filename}'
        raise base.DataError(
            f'{path} is not the published file: wanted {int(info.size):,} bytes with sha256 '
            f'{info.checksum}; delete it and get it again'
        ) from error
    except (tfds.download.DownloadError, *_BAD_SOURCE) as error:
        raise base.DataError(
            f'cannot prepare {builder.name} from {builder.manual_files[0]}: {error!r}'
        ) from error


def _reported(
    examples: Iterable[tuple[Any, Any]], title: str, progress: base.Progress
) -> Iterator[tuple[Any, Any]]:
    for done, example in enumerate(examples):
        if done % _REPORT_EVERY == 0:
            progress.update(title, done, None, 'examples')
        yield example


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """Keeps TFDS from adding examples to the messages of exceptions, also of those of signals."""

    def reraise(error: Exception, *context: str, **more: str) -> None:
        raise error

    before = utils.reraise
    utils.reraise = reraise
    try:
        yield
    finally:
        utils.reraise = before
