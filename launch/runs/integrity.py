"""Seals a folder with the SHA-256 sums of its files, and finds what has changed in it since.

`manifest.json` has two lines: step, and size and sum of every other file, as JSON; and the sum of
that line.
"""

import hashlib
import json
import pathlib

from launch.runs import errors
from tasks import storage

FILE = 'manifest.json'


def seal(folder: pathlib.Path, step: int) -> None:
    """Writes the manifest of a complete folder.

    Raises:
      OSError: a file cannot be read or written.
    """
    body = json.dumps({'step': step, 'files': _sums(folder)})
    storage.write_text(folder / FILE, f'{body}\n{hashlib.sha256(body.encode()).hexdigest()}\n')


def damage(folder: pathlib.Path, step: int) -> str | None:
    """Returns in one line how a folder of a step differs from its manifest, None if it is whole."""
    try:
        reason = _difference(folder, step)
        return reason and errors.shorten(reason)
    except errors.RunError:  # a signal
        raise
    except Exception as error:  # whatever bytes the files hold, they are damaged and no defect here
        return errors.first_line(error)


def _difference(folder: pathlib.Path, step: int) -> str | None:
    if not (folder / FILE).is_file():
        return f'{FILE} is missing'
    body, _, digest = (folder / FILE).read_bytes().partition(b'\n')
    if digest != f'{hashlib.sha256(body).hexdigest()}\n'.encode():
        return f'{FILE} is altered'
    manifest = json.loads(body)
    if manifest['step'] != step:
        return f'{FILE} is of step {manifest["step"]}'
    wanted, found = manifest['files'], _sums(folder)
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found:
            return f'{name} is missing'
        if name not in wanted:
            return f'{name} does not belong here'
        if wanted[name] != found[name]:
            return f'{name} is altered'
    return None


def _sums(folder: pathlib.Path) -> dict[str, list[int | str]]:
    """Returns size and SHA-256 of all files of a folder but its manifest, by relative path."""
    sums: dict[str, list[int | str]] = {}
    for path in sorted(folder.rglob('*')):
        name = str(path.relative_to(folder))
        if path.is_file() and name != FILE:
            with open(path, 'rb') as file:
                digest = hashlib.file_digest(file, 'sha256').hexdigest()
            sums[name] = [path.stat().st_size, digest]
    return sums
