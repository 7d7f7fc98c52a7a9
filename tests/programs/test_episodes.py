"""Episodes of small worlds whose rewards are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch.agents import agent_model
from launch.viewer import episodes
from relational_rnn.networks import actor_critic
from tests.support import tiny_worlds

pytestmark = pytest.mark.usefixtures('compile_quickly')
RIGHT = 1


def counting_policy():
    """Always right; its memory counts, and it notes what it was told."""
    told = []

    def act(memory, observation, first, key):
        told.append((memory, bool(first), np.argmax(observation[0, :, 0]).item(), key))
        return jnp.int32(RIGHT), memory + 1

    return episodes.Policy(lambda: 100, act), told


def test_an_episode_goes_from_its_begin_to_its_last_step():
    game = episodes.make_game(tiny_worlds.Corridor())
    policy, told = counting_policy()
    moments = list(episodes.episode(game, policy, seed=3, number=4))
    place = int(moments[0].state.place)
    steps = 5 - place
    assert steps > 2
    assert [moment.length for moment in moments] == list(range(steps + 1))
    assert [moment.returned for moment in moments] == [0.0] * steps + [2.0]
    assert [bool(moment.seen.last) for moment in moments] == [False] * steps + [True]
    assert [one[:3] for one in told] == [(100 + i, i == 0, place + i) for i in range(steps)]
    assert len({jax.random.key_data(one[3]).tobytes() for one in told}) == steps


def test_an_episode_is_a_function_of_seed_and_number():
    game = episodes.make_game(tiny_worlds.Corridor())

    def places(seed, number):
        episode = episodes.episode(game, episodes.dice(3), seed, number)
        return [int(moment.state.place) for moment in episode]

    assert places(1, 2) == places(1, 2)
    assert len({tuple(places(seed, number)) for seed in (1, 2) for number in range(4)}) > 4


def test_dice_take_all_actions():
    policy = episodes.dice(3)
    drawn = [int(policy.act((), None, False, jax.random.key(i))[0]) for i in range(30)]
    assert set(drawn) == {0, 1, 2}


@pytest.mark.parametrize('greedy', [True, False])
def test_an_agent_draws_from_its_policy_or_takes_the_likeliest(greedy):
    """The logits are parameters times the observation, -9 after the first step for action 0."""

    def step(params, observation, reset, state):
        assert observation.shape == (1, 3)
        logits = params * observation + jnp.where(reset, 0.0, jnp.array([-9.0, 0, 0]))[None]
        return actor_critic.Output(logits, jnp.zeros(1)), state + 1

    model = agent_model.Model(None, lambda size: jnp.zeros(size), step, None)
    policy = episodes.agent(model, jnp.float32(2), greedy)
    memory, seen = policy.begin(), jnp.log(jnp.array([4.0, 2.0, 1.0])) / 2  # odds 4 : 2 : 1
    assert memory.shape == (1,)
    drawn = [policy.act(memory, seen, True, jax.random.key(i)) for i in range(200)]
    assert all(memory.tolist() == [1.0] for _, memory in drawn)
    counts = np.bincount([int(action) for action, _ in drawn], minlength=3)
    later = {int(policy.act(memory, seen, False, jax.random.key(i))[0]) for i in range(20)}
    if greedy:
        assert counts.tolist() == [200, 0, 0]
        assert later == {1}
    else:
        assert abs(counts / 200 - np.array([4, 2, 1]) / 7).max() < 0.1
        assert later == {1, 2}


def test_after_the_warm_up_nothing_is_compiled():
    game, traced = episodes.make_game(tiny_worlds.Recall()), []

    def step(params, observation, reset, state):
        traced.append(state)
        return actor_critic.Output(params * observation[:, 0, :, 0], jnp.zeros(1)), state + 1

    model = agent_model.Model(None, lambda size: jnp.zeros(size), step, None)
    policy = episodes.agent(model, jnp.float32(2), greedy=True)
    episodes.warm_up(game, policy)
    count = len(traced)
    assert count > 0
    assert len(list(episodes.episode(game, policy, 1, 2))) == 4
    assert len(traced) == count
