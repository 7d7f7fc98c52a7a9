"""Episodes of an agent for an inspection: the world, and what the agent does in it."""

import jax
import numpy as np
import pytest

from launch import trained
from launch.inspection import agents, tracing
from launch.runs import errors
from tests.support import untrained_runs

pytestmark = pytest.mark.usefixtures('compile_quickly')
MAX_STEPS = 6


@pytest.fixture(scope='module', params=['rows', 'flat'])
def run(request, tmp_path_factory, compile_quickly):
    """Returns a run and its subject."""
    run_dir, _ = untrained_runs.agent(tmp_path_factory.mktemp('agent'), cells=request.param)
    subject = agents.inspect(tracing.Request(str(run_dir), 2, MAX_STEPS, 3, ''))
    return trained.load(run_dir), subject


def test_episodes_are_described_step_by_step(run):
    agent, subject = run
    names = agent.environment.action_names
    assert subject.title.startswith('Mini PacMan')
    first, second = subject.examples
    assert first.pictures.tobytes() != second.pictures.tobytes()
    for example in subject.examples:
        assert len(example.steps) == len(example.pictures) == len(example.inputs) <= MAX_STEPS
        assert f'{len(example.steps)} steps, return ' in example.title
        for step in example.steps:
            assert step.label in names
            assert {answer.text for answer in step.answers} == set(names)
            assert sum(answer.probability for answer in step.answers) == pytest.approx(1)
            assert f'takes {step.label}' in step.note


def test_what_is_outside_of_the_window_is_dark(run):
    _, subject = run
    bright = (subject.examples[0].pictures > 0.35 * 255 + 1).any(axis=-1).sum(axis=(1, 2))
    assert (bright > 0).all()
    assert (bright <= 3 * 3).all()  # and the power bar, which is dark


def test_inputs_have_names_and_are_a_grid(run):
    agent, subject = run
    height, width, _ = agent.environment.observation_spec.shape
    if agent.config.cells == 'flat':
        assert (subject.inputs, subject.input_columns) == (('window',), 0)
        return
    assert subject.input_columns == width
    assert len(subject.inputs) == height * width == subject.examples[0].inputs.shape[1]
    assert (subject.inputs[0], subject.inputs[width]) == ('square 1, 1', 'square 2, 1')


def test_the_traced_memory_gives_the_actions_and_values_of_the_steps(run):
    agent, subject = run
    for example, trace in zip(subject.examples, tracing.trace(subject), strict=True):
        (policy,) = [leaves for name, leaves in agent.params.items() if 'policy' in name]
        (value,) = [leaves for name, leaves in agent.params.items() if 'value' in name]
        hidden = trace.memory.reshape(len(trace.memory), -1)
        logits = hidden @ policy['w'] + policy['b']
        values = (hidden @ value['w'] + value['b'])[:, 0]
        np.testing.assert_allclose([step.value for step in example.steps], values, atol=1e-3)
        for step, wanted in zip(example.steps, np.asarray(jax.nn.softmax(logits)), strict=True):
            found = [answer.probability for answer in step.answers]
            np.testing.assert_allclose(found, np.sort(wanted)[::-1][: len(found)], atol=1e-3)


def test_a_prompt_is_refused(run):
    with pytest.raises(errors.RunError, match='--prompt: mini_pacman reads no text') as stop:
        agents.inspect(tracing.Request(run[0].run_dir, 1, 5, 0, 'words'))
    assert stop.value.code == errors.USAGE
