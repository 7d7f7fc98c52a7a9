"""Episodes of small environments whose rewards are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch.agents import network as network_lib
from launch.viewer import episodes
from relational_rnn.networks import actor_critic
from tests.support import tiny_environments

pytestmark = pytest.mark.usefixtures('compile_quickly')
CORRIDOR = tiny_environments.Corridor()
RIGHT = 1


def counting_policy():
    """Always right; its state counts, and it notes what it is given."""
    given = []

    def act(state, observation, is_first, key):
        given.append((state, bool(is_first), np.argmax(observation[0, :, 0]).item(), key))
        return jnp.int32(RIGHT), state + 1

    return episodes.Policy(lambda: 100, act), given


def test_an_episode_goes_from_its_reset_to_its_last_step():
    policy, given = counting_policy()
    steps = list(episodes.episode(CORRIDOR, policy, seed=3, number=4))
    place = int(steps[0].state.place)
    count = 5 - place
    assert count > 2
    assert [step.length for step in steps] == list(range(count + 1))
    assert [step.episode_return for step in steps] == [0.0] * count + [2.0]
    assert [bool(step.timestep.last) for step in steps] == [False] * count + [True]
    assert [one[:3] for one in given] == [(100 + i, i == 0, place + i) for i in range(count)]
    assert len({jax.random.key_data(one[3]).tobytes() for one in given}) == count


def test_an_episode_is_a_function_of_seed_and_number():
    policy = episodes.uniform(3)

    def places(seed, number):
        return [int(step.state.place) for step in episodes.episode(CORRIDOR, policy, seed, number)]

    assert places(1, 2) == places(1, 2)
    assert len({tuple(places(seed, number)) for seed in (1, 2) for number in range(4)}) > 4


def test_a_uniform_policy_takes_all_actions():
    policy = episodes.uniform(3)
    sampled = [int(policy.act((), None, False, jax.random.key(i))[0]) for i in range(30)]
    assert set(sampled) == {0, 1, 2}


@pytest.mark.parametrize('greedy', [True, False])
def test_an_agent_samples_from_its_policy_or_takes_the_likeliest(greedy):
    """The logits are parameters times the observation, -9 after the first step for action 0."""

    def step(params, observation, reset, state):
        assert observation.shape == (1, 3)
        logits = params * observation + jnp.where(reset, 0.0, jnp.array([-9.0, 0, 0]))[None]
        return actor_critic.Output(logits, jnp.zeros(1)), state + 1

    network = network_lib.Network(None, lambda size: jnp.zeros(size), step, None, None, 0)
    policy = episodes.agent(network, jnp.float32(2), greedy)
    state, observation = policy.initial_state(), jnp.log(jnp.array([4.0, 2.0, 1.0])) / 2
    assert state.shape == (1,)
    sampled = [policy.act(state, observation, True, jax.random.key(i)) for i in range(200)]
    assert all(state.tolist() == [1.0] for _, state in sampled)
    counts = np.bincount([int(action) for action, _ in sampled], minlength=3)
    later = {int(policy.act(state, observation, False, jax.random.key(i))[0]) for i in range(20)}
    if greedy:
        assert counts.tolist() == [200, 0, 0]
        assert later == {1}
    else:
        assert abs(counts / 200 - np.array([4, 2, 1]) / 7).max() < 0.1  # the odds are 4 : 2 : 1
        assert later == {1, 2}


def test_after_the_warm_up_nothing_is_compiled():
    traced = []

    def step(params, observation, reset, state):
        traced.append(state)
        return actor_critic.Output(params * observation[:, 0, :3, 0], jnp.zeros(1)), state + 1

    network = network_lib.Network(None, lambda size: jnp.zeros(size), step, None, None, 0)
    policy = episodes.agent(network, jnp.float32(2), greedy=True)
    episodes.warm_up(CORRIDOR, policy)
    count = len(traced)
    assert count > 0
    assert len(list(episodes.episode(CORRIDOR, policy, 1, 2))) > 2
    assert len(traced) == count
