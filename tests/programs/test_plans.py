"""Every program as the paper trained it, compiled for a GPU and for a slice of TPUs."""

import importlib
import json

import pytest

from launch.runs import flags
from launch.training import experiment
from tests.support import compilers

pytestmark = pytest.mark.slow
LM = '--preset=paper --vocab_size=267735'
PAPER = [
    ('nth_farthest', '--preset=paper'),
    ('nth_farthest', '--preset=paper --core=lstm'),
    ('nth_farthest', '--preset=auxiliary'),
    ('learning_to_execute', '--preset=paper'),
    ('learning_to_execute', '--preset=paper-lstm'),
    ('learning_to_execute', '--preset=paper-dnc'),
    ('learning_to_execute', '--preset=paper-entnet'),
    ('learning_to_execute', '--preset=paper --core=transformer'),
    ('lm', LM),
    ('lm', f'{LM} --dtype=bfloat16 --accumulate=6'),
    ('lm', f'{LM} --core=lstm --softmax=adaptive'),
    ('mini_pacman', '--preset=paper'),
    ('mini_pacman', '--preset=paper-conv-lstm'),
    ('boxworld', '--preset=paper'),
    ('boxworld', '--preset=paper-lstm'),
]


def run(program, words, target, path):
    """Plans the update of a program, and returns what it wrote."""
    module = importlib.import_module(f'launch.{program}')
    words = [*words.split(), '--mode=benchmark', f'--target={target}', f'--output={path}']
    config = flags.parse(module.Config, words, program, module.PRESETS)
    experiment.run(module.EXPERIMENT, config)
    return json.loads(path.read_text())


@compilers.needed('gpu')
@pytest.mark.parametrize(('program', 'words'), PAPER)
def test_the_paper_s_update_is_compiled_for_a_gpu(program, words, tmp_path):
    costs = run(program, words, 'h200', tmp_path / 'costs.json')
    assert costs['fits'] is True
    assert costs['program']['total'] > 100


@compilers.needed('tpu')
@pytest.mark.parametrize(('program', 'words'), PAPER)
def test_the_paper_s_update_is_compiled_for_a_slice_of_tpus(program, words, tmp_path):
    costs = run(program, words, 'v5e:2x2', tmp_path / 'costs.json')
    assert costs['devices'] == 4
    assert costs['fits'] is True
    assert costs['planned_bytes'] > 2 * 4 * costs['parameters']  # RMSProp's mean squares too
