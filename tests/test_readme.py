"""The README's code runs and its commands are ones that the programs take."""

import importlib
import pathlib
import re
import shlex

import jax
import jax.numpy as jnp
import pytest

from launch.runs import flags

README = (pathlib.Path(__file__).parent.parent / 'README.md').read_text('utf-8')
BLOCKS = re.findall(r'^```(\w*)\n(.*?)^```$', README, re.DOTALL | re.MULTILINE)  # language, text
COMMANDS = [
    part.strip()
    for language, block in BLOCKS
    for line in block.splitlines()
    for part in line.split(' #')[0].split('&&')
    if 'python -m launch.' in part and language != 'python'
]


def test_its_code_runs():
    names: dict = {}
    for block in [block for language, block in BLOCKS if language == 'python']:
        exec(block, names)
    assert names['logits'].shape == (20, 8, 10)
    assert bool(jnp.all(jnp.isfinite(names['logits'])))

    hk = names['hk']

    def play(observation, should_reset):
        core = names['relational_rnn'].RelationalMemory(4, 32, num_heads=4, gate_style='memory')
        return names['agent'](observation, should_reset, (core.initial_state(3),))

    network = hk.without_apply_rng(hk.transform(play))
    inputs = jax.random.normal(jax.random.key(2), (3, 7)), jnp.array([True, False, True])
    policy, value, _ = network.apply(network.init(jax.random.key(3), *inputs), *inputs)
    assert policy.shape == (3, 5)
    assert value.shape == (3,)


@pytest.mark.parametrize('command', COMMANDS)
def test_its_commands_are_taken(command):
    program, *words = shlex.split(command[command.index('launch.') + len('launch.') :])
    module = importlib.import_module(f'launch.{program}')
    flags.parse(module.Config, words, program, getattr(module, 'PRESETS', {}))


def test_it_names_every_program():
    programs = {
        path.stem
        for path in (pathlib.Path(__file__).parent.parent / 'launch').glob('*.py')
        if not path.stem.startswith('_')
    }
    assert {f'launch.{name}' for name in programs} <= set(re.findall(r'launch\.\w+', README))


@pytest.mark.parametrize('marker', ['main job', 'tests'])
def test_it_has_one_command_for(marker):
    block = re.search(rf'<!-- {marker} -->\n```\n(.*?)```', README, re.DOTALL)
    assert block
    assert len(block[1].splitlines()) == 1
    assert block[1].startswith('python3 -m venv ')
