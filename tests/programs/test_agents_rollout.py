"""Rollouts against single steps of the environments, and by whom and with which memory they act."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch.agents import configuration, rollout
from launch.agents import network as network_lib
from tests.support import tiny_environments

pytestmark = pytest.mark.usefixtures('compile_quickly')
T, B, A = 9, 32, 3
CONFIG = configuration.Config(
    core='lstm', lstm_size=5, cells='flat', batch_size=B, unroll=T, seed=7
)
SOURCE = tiny_environments.source_of_starts()
KEYS = [jax.random.split(jax.random.key(seed), B) for seed in (5, 6)]


@pytest.fixture(scope='module')
def acted(compile_quickly):
    """Returns what acts, the initial state, and two rollouts, each with the state after it."""
    network = network_lib.make(CONFIG, SOURCE.environment)
    params = jax.tree.map(lambda x: 3 * x, network.init(jax.random.key(1)))
    state = initial = rollout.initial_state(CONFIG, SOURCE, network)
    collect = jax.jit(functools.partial(rollout.collect, T, SOURCE, network, params))
    found = []
    for keys in KEYS:
        found.append(jax.device_get(collect(state, keys)))
        state = found[-1][1]
    first = found[0][0]
    assert (first.last & (first.discounts == 1)).any()  # truncated
    assert (first.last & (first.discounts == 0)).any()  # terminated
    assert not found[1][0].resets[0].all()  # episodes last over the second rollout's start
    return network, params, collect, initial, found


@pytest.fixture(scope='module')
def places():
    """Returns where the episodes of every batch element start in the rollouts."""
    start = lambda key: SOURCE.sample_starts(jax.random.split(key)[0])  # noqa: E731
    return [np.asarray(jax.vmap(start)(keys)) for keys in KEYS]


def test_rollouts_are_what_single_steps_of_the_environments_give(acted, places):
    *_, initial, found = acted
    seed = jax.random.fold_in(jax.random.key(CONFIG.seed), 2)
    keys = jax.vmap(functools.partial(jax.random.fold_in, seed))(jnp.arange(B))
    reset = lambda key: SOURCE.auto_resetting(SOURCE.sample_starts(key)).reset(key)  # noqa: E731
    state, timestep = jax.vmap(reset)(keys)
    np.testing.assert_array_equal(initial.observation, timestep.observation)
    step = jax.jit(jax.vmap(lambda place, *rest: SOURCE.auto_resetting(place).step(*rest)))
    returns, lengths, resets = np.zeros(B, np.float32), np.zeros(B, np.int32), np.ones(B, bool)
    for (got, after), place in zip(found, places, strict=True):
        for t in range(T):
            np.testing.assert_array_equal(got.observations[t], timestep.observation)
            np.testing.assert_array_equal(got.resets[t], resets)
            state, timestep = step(place, state, got.actions[t])
            returns, lengths = returns + timestep.reward, lengths + 1
            resets = np.asarray(timestep.last)
            np.testing.assert_array_equal(got.rewards[t], timestep.reward)
            np.testing.assert_array_equal(got.discounts[t], timestep.discount)
            np.testing.assert_array_equal(got.last[t], resets)
            np.testing.assert_array_equal(got.episode_returns[t], returns)
            np.testing.assert_array_equal(got.episode_lengths[t], lengths)
            returns, lengths = returns * ~resets, lengths * ~resets
        np.testing.assert_array_equal(got.observations[T], timestep.observation)
        np.testing.assert_array_equal(got.resets[T], resets)
        wanted = rollout.hide_keys(state), timestep.observation, resets, returns, lengths
        chex.assert_trees_all_equal((*after[:3], *after[4:]), jax.tree.map(np.asarray, wanted))


def test_every_field_can_be_split_along_the_batch(acted):
    for got, after in acted[-1]:
        assert {leaf.shape[1] for leaf in jax.tree.leaves(got)} == {B}
        assert {leaf.shape[0] for leaf in jax.tree.leaves(after)} == {B}


def test_episodes_start_from_what_was_sampled_for_their_element_and_rollout(acted, places):
    assert min(len(set(each.tolist())) for each in places) > 1
    assert not np.array_equal(*places)
    for (got, _), place in zip(acted[-1], places, strict=True):
        starts = np.argmax(got.observations[..., 0, :, 0], axis=-1)
        for t, b in np.argwhere(got.resets[1:]):
            assert starts[t + 1, b] == place[b]


def test_a_rollout_has_the_memory_with_which_it_was_begun(acted):
    """So the policy that learns is the one that acted: an unroll from it gives the same logits."""
    network, params, _, initial, found = acted
    unroll = jax.jit(network.unroll)
    for state, (got, _) in zip((initial, found[0][1]), found, strict=True):
        chex.assert_trees_all_equal(got.core, jax.tree.map(lambda x: x[None], state.core))
        core = jax.tree.map(lambda x: x[0], got.core)
        output, _ = unroll(params, got.observations, got.resets, core)
        np.testing.assert_allclose(output.logits[:-1], got.logits, rtol=1e-4, atol=1e-5)
    later = jax.tree.map(lambda x: x[0], found[1][0].core)
    zeros = jax.tree.map(np.zeros_like, later)
    rest, _ = unroll(params, found[1][0].observations, found[1][0].resets, zeros)
    assert not np.allclose(rest.logits[:-1], found[1][0].logits, atol=1e-2)  # it matters


def test_actions_are_sampled_from_the_policy(acted):
    """Counts of actions and their mean logit, in standard deviations from what is expected."""
    logits = np.concatenate([np.float64(got.logits) for got, _ in acted[-1]]).reshape(-1, A)
    actions = np.concatenate([got.actions for got, _ in acted[-1]]).reshape(-1)
    policy = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    assert abs(policy.mean(axis=0) - 1 / A).max() > 0.05  # another policy than the random one
    for values in (*np.broadcast_to(np.eye(A)[:, None], (A, *logits.shape)), logits):
        means = (policy * values).sum(axis=-1)
        variances = (policy * values**2).sum(axis=-1) - means**2
        got = values[np.arange(len(actions)), actions]
        assert abs(got.sum() - means.sum()) < 4 * np.sqrt(variances.sum())
    columns = acted[-1][0][0].actions.T.tolist()
    assert len({tuple(column) for column in columns}) > B // 2


def test_a_batch_element_does_not_depend_on_the_others(acted):
    *_, collect, initial, found = acted
    order = np.roll(np.arange(B), 5)
    moved = jax.tree.map(lambda x: x[order], initial)
    got, after = collect(moved, KEYS[0][order])
    np.testing.assert_array_equal(got.actions, found[0][0].actions[:, order])
    np.testing.assert_allclose(got.logits, found[0][0].logits[:, order], rtol=1e-4, atol=1e-5)
    wanted = jax.tree.map(lambda x: x[order], found[0][1].environment)
    chex.assert_trees_all_equal(jax.device_get(after.environment), wanted)


def test_other_seeds_start_elsewhere_and_states_can_be_saved(acted):
    network, *_, initial, _ = acted
    assert all(np.asarray(leaf).dtype.kind in 'biuf' for leaf in jax.tree.leaves(initial))
    other = rollout.initial_state(dataclasses.replace(CONFIG, seed=8), SOURCE, network)
    chex.assert_trees_all_equal_shapes_and_dtypes(other, initial)
    assert not np.array_equal(other.observation, initial.observation)


def test_keys_become_data_and_keys_again():
    raw = jax.random.key_data(jax.random.key(4))
    tree = {'key': jax.random.key(3), 'raw': raw, 'x': KEYS[0]}
    like = jax.eval_shape(lambda: tree)
    hidden = rollout.hide_keys(tree)
    assert all(leaf.dtype == np.uint32 for leaf in jax.tree.leaves(hidden))
    shown = rollout.show_keys(hidden, like)
    chex.assert_trees_all_equal_dtypes(shown, tree)
    chex.assert_trees_all_equal(rollout.hide_keys(shown), hidden)


def test_success_is_to_terminate_with_a_reward():
    reward, discount, last = np.array(
        [[1, 0, 1], [1, 1, 1], [1, 0, 0], [0, 0, 1], [-1, 0, 1], [0.5, 0, 1]], np.float32
    ).T
    success = rollout.is_success(reward, discount, last > 0)
    assert success.tolist() == [1, 0, 0, 0, 0, 1]
    assert success.dtype == np.float32
