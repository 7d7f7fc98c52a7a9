"""The tutorial with recurrent PPO: its environment, its memory, its updates."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support import pages


@pytest.fixture(scope='module')
def tutorial_agent(compile_quickly, tmp_path_factory):
    """Returns the names of the tutorial with recurrent PPO, after two updates of each agent."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp('tutorial_agent'))
        names = pages.run('docs/tutorial_agent.md', [('num_updates = 120', 'num_updates = 2')])
        assert pathlib.Path('tutorial_agent.png').stat().st_size
    return names


def _rollout(names, forget=False):
    """Returns the carries before and after a rollout of the trained agent, and its steps."""
    run = jax.jit(names['rollout'])
    return names['carry'], *run(names['params'], names['carry'], jax.random.key(7), forget)


def test_the_question_of_the_tutorial_is_answered_by_the_first_symbol_only(tutorial_agent):
    @jax.jit
    def play(states, key):
        def step(states, key):
            same = states.shown == states.first
            after, reward, done = jax.vmap(tutorial_agent['step'])(
                states, jnp.int32(same), jax.random.split(key, 200)
            )
            return after, (states.shown, states.left == 0, same, reward, done)

        return jax.lax.scan(step, states, jax.random.split(key, 100))[1]

    states = jax.vmap(tutorial_agent['reset'])(jax.random.split(jax.random.key(8), 200))
    shown, asks, same, reward, done = jax.tree.map(np.asarray, play(states, jax.random.key(9)))
    np.testing.assert_array_equal(asks, done)
    np.testing.assert_array_equal(reward, done)
    lengths = [np.diff(np.flatnonzero(column)) for column in done.T]
    assert set(np.concatenate(lengths)) == {5, 6, 7, 8, 9}
    shares = [same[asks & (shown == symbol)].mean() for symbol in range(4)]
    assert np.abs(np.array(shares) - 0.5).max() < 0.07, shares  # of some 700 questions each


def test_the_tutorial_learns_from_what_the_agent_remembered_when_it_acted(tutorial_agent):
    names = tutorial_agent
    (_, _, start), _, steps = _rollout(names)

    def error(resets, state):
        logits, *_ = names['forward'](names['params'], steps.observation, resets, state)
        return float(jnp.abs(names['log_prob_of'](logits, steps.action) - steps.log_prob).max())

    assert error(steps.reset, start) < 1e-5
    assert error(jnp.zeros_like(steps.reset), start) > 1e-3
    assert error(steps.reset, names['memory'].initial_memory(names['config'], 64)) > 1e-3
    np.testing.assert_array_equal(steps.reset[1:], steps.done[:-1])


def test_an_agent_of_the_tutorial_that_forgets_acts_on_the_present_only(tutorial_agent):
    names = tutorial_agent
    *_, steps = _rollout(names, forget=True)
    assert bool(steps.reset[1:].all())
    logits, values, state = names['forward'](
        names['params'], steps.observation[-1:], steps.reset[-1:], names['carry'][2]
    )
    initial = names['memory'].initial_memory(names['config'], 64)
    others = names['forward'](names['params'], steps.observation[-1:], steps.done[:1], initial)
    for wanted, got in zip((logits, values, state), others, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_the_advantages_of_the_tutorial_stop_at_the_end_of_an_episode(tutorial_agent):
    names = tutorial_agent
    _, after, steps = _rollout(names)
    got = jax.jit(names['advantages'])(names['params'], steps, after)
    observation = jax.vmap(names['observe'])(after[0])[None]
    _, last, _ = names['forward'](names['params'], observation, after[1][None], after[2])
    values = np.concatenate([steps.value, last])
    wanted, following = np.zeros((32, 64)), np.zeros(64)
    for t in reversed(range(32)):
        remains = 1.0 - np.asarray(steps.done[t])
        error = steps.reward[t] + 0.99 * remains * values[t + 1] - values[t]
        wanted[t] = following = error + 0.99 * 0.95 * remains * following
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_both_agents_of_the_tutorial_update_all_parameters(tutorial_agent):
    first = tutorial_agent['init'](jax.random.split(jax.random.key(0), 3)[0])
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), first, tutorial_agent['params'])
    assert all(jax.tree.leaves(moved))
    curves = tutorial_agent['curve'] + tutorial_agent['forgetful_curve']
    assert len(curves) == 4
    assert all(0.3 < success < 0.7 for success in curves), curves  # nothing is learned yet


@pytest.mark.slow
def test_the_agent_of_the_tutorial_needs_its_memory_to_learn(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = pages.run('docs/tutorial_agent.md')
    assert np.mean(names['curve'][-50:]) > 0.95
    assert 0.45 < np.mean(names['forgetful_curve'][-50:]) < 0.55
