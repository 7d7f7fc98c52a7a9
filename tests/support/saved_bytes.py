"""What a checkpoint holds, as one number, different for any two that differ."""

import hashlib
import json

from launch.runs import arrays as arrays_lib


def digest(run_dir, step):
    """Returns the SHA-256 over every array of a checkpoint, with its name and dtype."""
    folder = run_dir / 'checkpoints' / str(step)
    record = json.loads((folder / 'metadata.json').read_text())
    arrays = arrays_lib.load(folder / 'state', list(record['leaves']))
    sha = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        sha.update(f'{name} {array.dtype} {array.shape}'.encode() + array.tobytes())
    return sha.hexdigest()
