"""Devices to compile for without having them: GPUs by name, TPU slices by topology.

XLA's compilers for GPUs and TPUs need a description of the device, not the device. Descriptions,
memory and their sources are in `targets.json`; the compilers come with the extras `plan-gpu` (JAX's
plug-in for CUDA without the libraries of CUDA) and `plan-tpu` (`libtpu`).

  h200           one GPU
  h200:8         8 GPUs in one machine
  h200:4x8       4 machines of 8 GPUs
  v5e, v5e:2x2   one chip, a slice of 2 x 2 chips
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import functools
import importlib.util
import json
import math
import os
import pathlib
import re
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies
import numpy as np

from launch.runs import errors

_FILE = pathlib.Path(__file__).with_name('targets.json')
_PLUGINS = {  # by platform: modules, one of which has the compiler
    'gpu': ('jax_plugins.xla_cuda13', 'jax_plugins.xla_cuda12'),
    'tpu': ('libtpu',),
}


class Target(NamedTuple):
    """What to compile for; `devices` gives the devices to pass to JAX."""

    name: str  # as on the command line
    platform: str  # 'gpu' or 'tpu'
    device: str  # the device's own name
    memory_bytes: int  # that a program can have on each device
    topology: tuple[int, ...]  # GPU: machines, devices of each; TPU: chips along each dimension
    description: str  # GPU: for XLA
    options: Mapping[str, Any]  # TPU: for libtpu

    @property
    def num_devices(self) -> int:
        """The devices of all machines."""
        return math.prod(self.topology)

    @property
    def compiler_options(self) -> dict[str, str]:
        """What `compile` is to be given: nothing may be timed on a device that is not there."""
        return {'xla_gpu_autotune_level': '0'} if self.platform == 'gpu' else {}


def read(name: str) -> Target:
    """Returns the target of a name.

    Raises:
      ValueError: there is none such.
    """
    known = _known()
    device, colon, sizes = name.partition(':')
    platforms = [platform for platform in known if device in known[platform]]
    if not platforms or not re.fullmatch(r'([1-9]\d*)(x[1-9]\d*)*' if colon else '', sizes):
        examples = 'GPUs as h200, h200:8, h200:4x8, TPUs as v5e, v5e:2x2'
        names = ', '.join(device for devices in known.values() for device in devices)
        raise ValueError(f'--target: wanted one of {names} ({examples}), got {name!r}')
    topology = tuple(int(size) for size in sizes.split('x')) if colon else (1,)
    entry = known[platforms[0]][device]
    if platforms == ['gpu']:
        return _gpu(name, topology, entry)
    device, memory = entry['name'], entry['memory_bytes']
    return Target(name, 'tpu', device, memory, topology, '', entry['options'])


def _gpu(name: str, topology: tuple[int, ...], entry: Mapping[str, Any]) -> Target:
    if len(topology) > 2:
        raise ValueError(f'--target: wanted GPUs or machines x GPUs, got {name!r}')
    text = '\n'.join(entry['description'])
    memory = int(re.findall(r'device_memory_size: (\d+)', text)[0])
    device = re.findall(r'device_description_str: "(.*)"', text)[0]
    return Target(name, 'gpu', device, memory, (1, *topology)[-2:], text, {})


@functools.cache
def _known() -> dict[str, dict[str, Any]]:
    """Returns the devices by platform and name."""
    known = json.loads(_FILE.read_text('utf-8'))
    return {platform: known[platform] for platform in _PLUGINS}


def devices(target: Target) -> list[Any]:
    """Returns the devices of a target, to compile for; nothing runs on them.

    This process computes on its CPU, so it is to be called before anything else of JAX.

    Raises:
      RunError: the compiler is not installed, or it has no such topology.
    """
    jax.config.update('jax_platforms', 'cpu')  # plug-ins are only asked for their compilers
    if not installed(target.platform):
        extra = f"pip install '.[plan-{target.platform}]'"
        message = f'--target={target.name}: its compiler is not installed; run {extra}'
        raise errors.RunError(errors.USAGE, message)
    try:
        topology = _tpu_topology(target) if target.platform == 'tpu' else _gpu_topology(target)
    except jax.errors.JaxRuntimeError as error:
        reason = errors.first_line(error)
        raise errors.RunError(errors.USAGE, f'--target={target.name}: {reason}') from error
    return list(topology.devices)


def installed(platform: str) -> bool:
    """Returns whether the compiler for 'gpu' or 'tpu' is installed."""
    return any(_exists(module) for module in _PLUGINS[platform])


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package that it is in
        return False


def _gpu_topology(target: Target) -> Any:
    sizes = 'x'.join(str(size) for size in (1, *target.topology))  # of one slice
    return topologies.get_topology_desc(
        platform='cuda', topology=sizes, target_config=target.description
    )


def _tpu_topology(target: Target) -> Any:
    os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')  # or it looks for a TPU's machine on the net
    # It locks a TPU, of which one process at a time may be the user; a compiler has many.
    os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')
    options = dict(target.options)
    sizes = target.topology
    if target.num_devices == 1:
        options['chips_per_host_bounds'] = sizes = (1, 1, 1)  # not the 2 x 2 x 1 of a machine
    name = f'{target.name.partition(":")[0]}:{"x".join(str(size) for size in sizes)}'
    with _quiet():
        return topologies.get_topology_desc(platform='tpu', topology_name=name, **options)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Drops what libraries write to stderr: libtpu complains that there is no TPU."""
    stderr = os.dup(2)
    with open(os.devnull, 'wb') as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def first(chips: Sequence[Any]) -> jax.sharding.Sharding:
    """Returns where a program of one device runs: on the first of some devices."""
    mesh = jax.sharding.Mesh(np.array([chips[0]]), ('devices',))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
