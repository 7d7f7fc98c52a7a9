"""Devices to compile for: their names, what is known of them, and that XLA takes it."""

import json
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from launch.runs import errors
from launch.training import targets
from tests.support import compilers

ROOT = pathlib.Path(__file__).resolve().parents[2]
KNOWN = json.loads(targets._FILE.read_text('utf-8'))


@pytest.mark.parametrize(
    ('name', 'topology', 'count'),
    [
        ('h200', (1, 1), 1),
        ('h200:8', (1, 8), 8),
        ('h200:4x8', (4, 8), 32),
        ('v5e', (1,), 1),
        ('v5e:2x4', (2, 4), 8),
        ('v4:2x2x4', (2, 2, 4), 16),
    ],
)
def test_a_name_has_sizes(name, topology, count):
    target = targets.read(name)
    assert (target.name, target.topology, target.num_devices) == (name, topology, count)
    assert target.platform == ('gpu' if name[0] == 'h' else 'tpu')


def test_devices_are_described_with_their_memory_and_source():
    gigabytes = {name: targets.read(name).memory_bytes / 1e9 for name in KNOWN['gpu']}
    assert gigabytes == pytest.approx({'a100': 85, 'h100': 85, 'h200': 151, 'b200': 192}, abs=0.5)
    gibibytes = {name: targets.read(name).memory_bytes / 2**30 for name in KNOWN['tpu']}
    assert gibibytes == pytest.approx({'v4': 30.75, 'v5e': 15.75, 'v5p': 95.74, 'v6e': 31.25})
    for platform in ('gpu', 'tpu'):
        assert KNOWN['sources'][platform]
        for entry in KNOWN[platform].values():
            assert re.match('xla/.*txtpb|libtpu .*https://', entry['source'])
    assert targets.read('a100').device == 'NVIDIA A100-SXM4-80GB'
    assert targets.read('v6e:2x2').device == 'TPU v6e'


@pytest.mark.parametrize('name', ['h300', '', 'h200:', 'h200:0', 'h200:x8', 'v5e:2x', 'h200:8:8'])
def test_a_bad_name_lists_what_is_known(name):
    with pytest.raises(ValueError, match='--target: wanted one of a100, h100, h200') as caught:
        targets.read(name)
    assert repr(name) in str(caught.value)
    assert '\n' not in str(caught.value)


def test_gpus_have_two_sizes_at_most():
    with pytest.raises(ValueError, match="wanted GPUs or machines x GPUs, got 'h200:2x2x2'"):
        targets.read('h200:2x2x2')


@pytest.mark.parametrize(('name', 'extra'), [('h200', 'plan-gpu'), ('v5e:2x2', 'plan-tpu')])
def test_a_missing_compiler_gets_one_line(name, extra, monkeypatch):
    monkeypatch.setattr(targets, '_PLUGINS', {'gpu': ('no_such.plugin',), 'tpu': ('no_such',)})
    with pytest.raises(errors.RunError, match=rf"run pip install '\.\[{extra}\]'$") as caught:
        targets.devices(targets.read(name))
    assert caught.value.code == errors.USAGE


def test_only_gpus_choose_algorithms_by_timing():
    assert targets.read('h200').compiler_options == {'xla_gpu_autotune_level': '0'}
    assert targets.read('v5e').compiler_options == {}


@pytest.mark.parametrize(
    'name',
    [
        pytest.param(name, marks=compilers.needed(platform))
        for platform, more in (('gpu', 'h200:2x4'), ('tpu', 'v5e:2x2'))
        for name in (*KNOWN[platform], more)
    ],
)
def test_xla_takes_the_description(name):
    target = targets.read(name)
    chips = targets.devices(target)
    assert len(chips) == target.num_devices
    assert {chip.platform for chip in chips} == {target.platform}
    x = jax.ShapeDtypeStruct((8, 16), jnp.float32, sharding=targets.first(chips))
    compiled = jax.jit(jnp.tanh).lower(x).compile(compiler_options=target.compiler_options)
    assert compiled.memory_analysis().argument_size_in_bytes >= 8 * 16 * 4


@compilers.needed('tpu')
def test_a_topology_that_does_not_exist_gets_one_line(capfd):
    with pytest.raises(errors.RunError, match=r'--target=v5e:3x2: .*is not divisible') as caught:
        targets.devices(targets.read('v5e:3x2'))
    assert '\n' not in str(caught.value)
    assert capfd.readouterr().err == ''


@compilers.needed('tpu')
def test_several_processes_plan_for_tpus_at_once():
    code = (
        'from launch.training import targets; '
        'print(len(targets.devices(targets.read("v5e:2x2"))), flush=True); input()'
    )
    words = [sys.executable, '-c', code]
    pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE, 'text': True, 'cwd': ROOT}
    with subprocess.Popen(words, **pipes) as first:
        assert first.stdout.readline() == '4\n'  # and it waits
        options = {'capture_output': True, 'text': True, 'cwd': ROOT, 'timeout': 100}
        second = subprocess.run(words, input='\n', **options)
        first.communicate('\n', timeout=100)
    assert second.stdout == '4\n', second.stderr


def test_what_libraries_write_to_stderr_is_dropped(capfd):
    with targets._quiet():
        targets.os.write(2, b'no TPU here\n')
    targets.os.write(2, b'after\n')
    assert capfd.readouterr().err == 'after\n'
