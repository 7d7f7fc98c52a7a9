"""Where the numbers of a run come from: versions, revision, machine and command of each start."""

import datetime
import pathlib
import shlex
import socket
import subprocess
import sys
from typing import Any

from launch.runs import versions

_FOLDER = pathlib.Path(__file__).resolve().parent


def record(devices: str, step: int) -> dict[str, Any]:
    """Returns the record of a start of training, for `starts` of `run.json`.

    Args:
      devices: their number and kind.
      step: the update from which training starts or resumes.
    """
    now = datetime.datetime.now(datetime.UTC)
    return {
        'step': step,
        'date': now.isoformat(timespec='seconds'),
        'command': shlex.join(['python', *sys.orig_argv[1:]]),
        'versions': versions.installed(),
        **revision(_FOLDER),
        'host': socket.gethostname(),
        'devices': devices,
    }


def revision(folder: pathlib.Path) -> dict[str, Any]:
    """Returns the `revision` of the checkout that holds a folder, and whether it was `changed`.

    Both are None where the folder is not part of a git repository, or git is missing. Files that
    git does not know are no change.
    """
    known = _git(folder, 'ls-files', '--error-unmatch', '.')
    head = _git(folder, 'rev-parse', 'HEAD') if known else None
    changes = _git(folder, 'status', '--porcelain', '--untracked-files=no') if head else None
    return {'revision': head, 'changed': None if changes is None else bool(changes)}


def _git(folder: pathlib.Path, *arguments: str) -> str | None:
    """Returns what git prints; None if it fails."""
    command = ['git', '-C', str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
