"""The agent of a run, observing one time step after the other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch import trained
from tests.support import untrained_runs

pytestmark = pytest.mark.usefixtures('compile_quickly')


@pytest.fixture(scope='module')
def run(tmp_path_factory, compile_quickly):
    run_dir, _ = untrained_runs.agent(tmp_path_factory.mktemp('agent'))
    return trained.load(run_dir)


@pytest.fixture(scope='module')
def observations(run):
    """Returns observations [4, 2, H, W, C]."""
    shape = 4, 2, *run.environment.observation_spec.shape
    return np.random.default_rng(0).random(shape).astype(np.float32)


def test_its_environment_is_the_one_in_which_it_was_trained(run):
    assert isinstance(run, trained.Agent)
    assert (run.program, run.num_updates) == ('mini_pacman', 1200)
    assert run.environment == run.config.environment()
    assert run.environment.viewport == 3


def test_steps_give_what_learning_sees_in_whole_trajectories(run, observations):
    resets = np.zeros((4, 2), bool)
    resets[2, 1] = True
    wanted, _ = run.network.unroll(run.params, observations, resets, run.initial_state(2))
    state = run.initial_state(2)
    for t in range(4):
        output, state = run.step(observations[t], state, resets[t])
        assert output.logits.shape == (2, run.environment.num_actions)
        np.testing.assert_allclose(output.logits, wanted.logits[t], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(output.value, wanted.value[t], rtol=1e-4, atol=1e-5)


def test_one_observation_needs_no_batch(run, observations):
    output, state = run.step(observations[0, 0], run.initial_state())
    assert output.logits.shape == (run.environment.num_actions,)
    assert output.value.shape == ()
    both, _ = run.step(observations[0], run.initial_state(2))
    np.testing.assert_allclose(output.logits, both.logits[0], rtol=1e-4, atol=1e-6)
    again, _ = run.step(observations[1, 0], state)
    reset, _ = run.step(observations[1, 0], state, reset=True)
    new, _ = run.step(observations[1, 0], run.initial_state())
    jax.tree.map(np.testing.assert_array_equal, reset, new)
    assert jnp.abs(again.logits - reset.logits).max() > 1e-4
