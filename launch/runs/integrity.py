"""Seals a folder with the SHA-256 sums of its files, and finds what has changed in it since.

`manifest.json` has two lines: step, size and sum of every other file as JSON, and the sum of that
line.
"""

import hashlib
import json
import pathlib

from launch.runs import errors
from tasks import storage

FILE = 'manifest.json'


class _DamageError(Exception):
    """Says how a folder disagrees with its manifest."""


def seal(folder: pathlib.Path, step: int) -> None:
    """Writes the manifest of a complete folder.

    Raises:
      OSError: a file cannot be read or written.
    """
    files = {name: [p.stat().st_size, _sha256(p)] for name, p in _files(folder).items()}
    body = json.dumps({'step': step, 'files': files})
    storage.write_text(folder / FILE, f'{body}\n{hashlib.sha256(body.encode()).hexdigest()}\n')


def damage(folder: pathlib.Path, step: int) -> str | None:
    """Returns in one line how a folder of a step differs from its manifest, None if it is whole."""
    try:
        _verify(folder, step)
    except errors.RunError:  # a signal
        raise
    except Exception as error:  # whatever bytes the files hold, they are damaged and no defect here
        return errors.first_line(error)
    return None


def _verify(folder: pathlib.Path, step: int) -> None:
    found = _files(folder)
    if not (folder / FILE).is_file():
        raise _DamageError(f'{FILE} is missing')
    body, _, digest = (folder / FILE).read_bytes().partition(b'\n')
    if digest != f'{hashlib.sha256(body).hexdigest()}\n'.encode():
        raise _DamageError(f'{FILE} is altered')
    manifest = json.loads(body)
    if manifest['step'] != step:
        raise _DamageError(f'{FILE} is of step {manifest["step"]}')
    for name in sorted(found.keys() | manifest['files'].keys()):
        if name not in found:
            raise _DamageError(f'{name} is missing')
        if name not in manifest['files']:
            raise _DamageError(f'{name} does not belong here')
        (wanted_size, wanted_sum), size = manifest['files'][name], found[name].stat().st_size
        if size != wanted_size:
            raise _DamageError(f'{name} has {size} bytes instead of {wanted_size}')
        if _sha256(found[name]) != wanted_sum:
            raise _DamageError(f'{name} is altered')


def _files(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns all files of a folder but its manifest, by relative path."""
    paths = {str(p.relative_to(folder)): p for p in sorted(folder.rglob('*')) if p.is_file()}
    paths.pop(FILE, None)
    return paths


def _sha256(path: pathlib.Path) -> str:
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
