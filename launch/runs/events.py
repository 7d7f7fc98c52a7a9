"""TensorBoard's event files, as bytes that are written where the program stands.

tensorboardX hands events to a thread; if that dies, of a full disk, whoever adds the next ones
waits for ever. Its messages are used here, its writers are not.
"""

from collections.abc import Mapping
import pathlib
import socket
import struct
import time

from tensorboardX import record_writer
from tensorboardX.proto import event_pb2, summary_pb2


def path(folder: pathlib.Path, step: int) -> pathlib.Path:
    """Returns the event file of a run that starts now in a folder, at a step."""
    return folder / f'events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{step}'


def header(step: int) -> bytes:
    """Returns how a file begins; what others hold for later steps is hidden from the curves."""
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    return _record(file_version='brain.Event:2') + _record(step=step + 1, session_log=start)


def scalars(step: int, values: Mapping[str, float]) -> bytes:
    """Returns the record of one step's numbers by name."""
    shown = [summary_pb2.Summary.Value(tag=tag, simple_value=x) for tag, x in values.items()]
    return _record(step=step, summary=summary_pb2.Summary(value=shown))


def _record(**fields: object) -> bytes:
    """Returns an event as a record of a TFRecord file: size, data, and a checksum of each."""
    data = event_pb2.Event(wall_time=time.time(), **fields).SerializeToString()
    size = struct.pack('<Q', len(data))
    sums = [struct.pack('<I', record_writer.masked_crc32c(part)) for part in (size, data)]
    return size + sums[0] + data + sums[1]
