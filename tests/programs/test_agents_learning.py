"""Agents: rollouts, the loss and its gradient, equal bytes, and that they learn."""

import dataclasses
import functools
import math
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch.agents import configuration, evaluation, learning, network
from launch.agents import rollout as rollout_lib
from launch.runs import errors, metrics, signals
from launch.training import loop
from relational_rnn.networks import actor_critic
from tests.support import tiny_environments

pytestmark = pytest.mark.usefixtures('compile_once', 'compile_quickly')
ROOT = pathlib.Path(__file__).resolve().parents[2]
T, B, A = 9, 4, 3
CONFIG = configuration.Config(
    core='rmc',
    mem_slots=2,
    total_units=16,
    num_heads=2,
    attention_mlp_layers=1,
    cells='flat',
    batch_size=B,
    unroll=T,
    discount=0.9,
    entropy_cost=0.02,
    value_cost=0.3,
    reward_scale=0.5,
    rho_bar=1.1,
    c_bar=0.9,
    learning_rate=0.003,
    clip_norm=1.0,
    num_steps=6,
    log_every=2,
    evaluate_every=100,
    save_every=100,
)
CORRIDOR = tiny_environments.source(tiny_environments.Corridor(), has_success=True)
KEYS = jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(5)))(jnp.arange(B))


@pytest.fixture(scope='module')
def played(compile_once, compile_quickly):
    """Returns a network, its parameters, where its episodes began, a rollout and where they are."""
    model = network.make(CONFIG, CORRIDOR.environment)
    params = model.init(jax.random.key(1))
    row = rollout_lib.initial_state(CONFIG, CORRIDOR, model)
    collect = jax.jit(functools.partial(rollout_lib.collect, T, CORRIDOR, model))
    rollout, after = jax.device_get(collect(params, row, KEYS))
    assert rollout.last.any()
    assert (rollout.last & (rollout.discounts == 1)).any()  # truncated
    assert (rollout.last & (rollout.discounts == 0)).any()
    return model, params, row, rollout, after


@pytest.fixture(scope='module')
def learn(played):
    """Returns the metrics of parameters and a rollout."""
    return jax.jit(functools.partial(learning.learn, CONFIG, played[0]))


def test_a_rollout_is_what_single_steps_of_the_environment_give(played):
    _, _, _, rollout, after = played
    resetting = CORRIDOR.auto_resetting(())
    step = jax.jit(resetting.step)
    for b in range(B):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(CONFIG.seed), 2), b)
        state, seen = resetting.reset(key)
        episode_return, length, reset = np.float32(0), 0, True
        for t in range(T):
            np.testing.assert_array_equal(rollout.observations[t, b], seen.observation)
            assert rollout.resets[t, b] == reset
            state, seen = step(state, rollout.actions[t, b])
            episode_return, length, reset = (
                episode_return + seen.reward,
                length + 1,
                bool(seen.last),
            )
            for name, wanted in (('rewards', seen.reward), ('discounts', seen.discount)):
                assert getattr(rollout, name)[t, b] == wanted
            assert rollout.last[t, b] == reset
            found = rollout.episode_returns[t, b], rollout.episode_lengths[t, b]
            assert found == (episode_return, length)
            episode_return, length = (np.float32(0), 0) if reset else (episode_return, length)
        np.testing.assert_array_equal(rollout.observations[T, b], seen.observation)
        found = after.episode_return[b], after.episode_length[b], after.reset[b]
        assert found == (episode_return, length, reset)
        for got, wanted in zip(
            jax.tree.leaves(jax.tree.map(lambda x, b=b: x[b], after.environment)),
            jax.tree.leaves(rollout_lib.hide_keys(state)),
            strict=True,
        ):
            np.testing.assert_array_equal(got, wanted)


def test_actions_are_sampled_from_the_policy(played):
    model, params, row, _, _ = played
    collect = jax.jit(functools.partial(rollout_lib.collect, 1, CORRIDOR, model))
    count = 1500
    many = jax.tree.map(lambda x: jnp.repeat(x[:1], count, axis=0), row)
    keys = jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(9)))(jnp.arange(count))
    sampled, _ = collect(params, many, keys)
    shares = np.bincount(sampled.actions[0], minlength=A) / count
    wanted = jax.nn.softmax(sampled.logits[0, 0])
    np.testing.assert_allclose(shares, wanted, atol=4 * math.sqrt(0.25 / count))


def test_a_rollout_does_not_depend_on_the_other_batch_elements(played):
    model, params, row, rollout, _ = played
    half = jax.tree.map(lambda x: x[2:], row)
    collect = jax.jit(functools.partial(rollout_lib.collect, T, CORRIDOR, model))
    other, _ = collect(params, half, KEYS[2:])
    np.testing.assert_array_equal(other.actions, rollout.actions[:, 2:])
    np.testing.assert_allclose(other.logits, rollout.logits[:, 2:], rtol=1e-4, atol=1e-6)


def _loss_in_loops(logits, values, rollout):
    """The loss in float64, by loops, of what a network says of a rollout [T + 1, B, ...]."""
    policy = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    behaviour = np.float64(rollout.logits)
    behaviour -= np.log(np.exp(behaviour).sum(axis=-1, keepdims=True))
    policy_loss = value_error = entropy = 0.0
    for b in range(B):
        ahead = values[T, b]
        for t in reversed(range(T)):
            action, now = rollout.actions[t, b], values[t, b]
            last, ended = rollout.last[t, b], rollout.discounts[t, b] == 0
            ratio = np.exp(policy[t, b, action] - behaviour[t, b, action])
            ratio *= not last or ended
            discount = 0.0 if last else 0.9
            rho, c = min(1.1, ratio), min(0.9, ratio)
            reward = 0.5 * rollout.rewards[t, b]
            later = values[t + 1, b]
            target = now + rho * (reward + discount * later - now) + discount * c * (ahead - later)
            advantage = rho * (reward + discount * ahead - now)
            policy_loss -= policy[t, b, action] * advantage
            value_error += (target - now) ** 2
            entropy -= (np.exp(policy[t, b]) * policy[t, b]).sum()
            ahead = target
    return policy_loss, value_error, entropy


def test_the_loss_is_what_loops_say(played, learn):
    model, params, row, rollout, _ = played
    params = jax.tree.map(lambda x: x * 1.3, params)  # other than those that acted
    unroll = jax.jit(model.unroll)
    output, _ = unroll(params, rollout.observations, rollout.resets, row.core)
    logits, values = np.float64(output.logits)[:-1], np.float64(output.value)
    wanted = _loss_in_loops(logits, values, rollout)
    found = learn(params, rollout)
    assert {value.weight.item() for value in found.values()} == {T * B}
    names = 'policy_loss', 'value_error', 'entropy'
    totals = [found[name].total for name in names]
    np.testing.assert_allclose(totals, wanted, rtol=1e-3, atol=1e-4)
    total = wanted[0] + 0.5 * 0.3 * wanted[1] - 0.02 * wanted[2]
    np.testing.assert_allclose(found['loss'].total, total, rtol=1e-3, atol=1e-4)


def test_the_gradient_holds_the_targets_fast(played):
    """Against differences of the loss in float64 with targets and advantages as they were."""
    model, params, row, rollout, _ = played
    params = jax.tree.map(lambda x: x * 1.1, params)
    output, _ = jax.device_get(model.unroll(params, rollout.observations, rollout.resets, row.core))

    def loss_of(logits, value):
        fake = lambda *args: (actor_critic.Output(logits, value), ())  # noqa: E731
        held = model._replace(unroll=fake)
        return learning.learn(CONFIG, held, params, rollout)['loss'].total

    d_logits, d_value = jax.jit(jax.grad(loss_of, argnums=(0, 1)))(output.logits, output.value)
    np.testing.assert_array_equal(d_logits[-1], 0)
    np.testing.assert_array_equal(d_value[-1], 0)
    targets, advantages = _targets_in_loops(output, rollout)
    wanted = 0.3 * (np.float64(output.value[:-1]) - targets)
    np.testing.assert_allclose(d_value[:-1], wanted, rtol=1e-3, atol=1e-5)

    def held_fast(logits):
        policy = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        chosen = np.take_along_axis(policy, rollout.actions[..., None], axis=-1)[..., 0]
        return -(chosen * advantages).sum() + 0.02 * (np.exp(policy) * policy).sum()

    logits = np.float64(output.logits[:-1])
    for index in [(0, 0, 0), (3, 1, 2), (T - 1, 3, 1), (5, 2, 0)]:
        step = np.zeros_like(logits)
        step[index] = 1e-5
        wanted = (held_fast(logits + step) - held_fast(logits - step)) / 2e-5
        np.testing.assert_allclose(d_logits[index], wanted, rtol=1e-3, atol=1e-5)


def _targets_in_loops(output, rollout):
    """The value targets and advantages [T, B] in float64."""
    logits, values = np.float64(output.logits[:-1]), np.float64(output.value)
    policy = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    behaviour = np.float64(rollout.logits)
    behaviour -= np.log(np.exp(behaviour).sum(axis=-1, keepdims=True))
    targets, advantages = np.array(values), np.zeros((T, B))
    for b in range(B):
        for t in reversed(range(T)):
            action = rollout.actions[t, b]
            out = rollout.last[t, b] and rollout.discounts[t, b] == 1
            ratio = 0 if out else np.exp(policy[t, b, action] - behaviour[t, b, action])
            discount = 0.0 if rollout.last[t, b] else 0.9
            error = 0.5 * rollout.rewards[t, b] - values[t, b]
            delta = min(1.1, ratio) * (error + discount * values[t + 1, b])
            later = targets[t + 1, b] - values[t + 1, b]
            targets[t, b] = values[t, b] + delta + discount * min(0.9, ratio) * later
            advantages[t, b] = min(1.1, ratio) * (error + discount * targets[t + 1, b])
    return targets[:-1], advantages


def test_a_truncated_step_teaches_nothing(played, learn):
    _, params, _, rollout, _ = played
    t, b = np.argwhere(rollout.last & (rollout.discounts == 1))[0]
    rewards = np.array(rollout.rewards)
    rewards[t, b] += 100
    one = learn(params, rollout)
    chex.assert_trees_all_equal(one, learn(params, rollout._replace(rewards=rewards)))
    t, b = np.argwhere(~rollout.last)[0]
    rewards[t, b] += 100
    moved = learn(params, rollout._replace(rewards=rewards))
    assert moved['loss'].total != one['loss'].total


def test_learning_starts_from_the_cores_state_in_which_the_rollout_began(played, learn):
    _, params, row, rollout, after = played
    chex.assert_trees_all_equal(jax.tree.map(lambda x: x[0], rollout.core), row.core)
    unreset = np.zeros_like(rollout.resets)
    later = jax.tree.map(lambda x: x[None], after.core)
    one = learn(params, rollout._replace(resets=unreset))
    other = learn(params, rollout._replace(resets=unreset, core=later))
    assert one['loss'].total != other['loss'].total


def test_the_sums_over_episodes_are_counted_by_hand(played):
    rollout = played[3]
    column = lambda *x: np.array(x, np.float32)[:, None]  # noqa: E731
    rollout = rollout._replace(
        last=column(0, 1, 1, 1) > 0,
        discounts=column(1, 0, 1, 0),
        rewards=column(1, 2, 3, -1),
        episode_returns=column(1, 3, 3, -1),
        episode_lengths=np.array([[1], [2], [1], [1]]),
    )
    found = learning.episodes(CORRIDOR, rollout)
    assert {name: (float(x.total), float(x.weight)) for name, x in found.items()} == {
        'training_return': (5, 3), 'training_length': (4, 3), 'training_success': (1, 3),
    }  # fmt: skip
    without = CORRIDOR._replace(has_success=False)
    assert 'training_success' not in learning.episodes(without, rollout)


def test_keys_become_data_and_keys_again():
    tree = {'key': jax.random.key(3), 'raw': jax.random.key_data(jax.random.key(4)), 'x': KEYS}
    like = jax.eval_shape(lambda: tree)
    hidden = rollout_lib.hide_keys(tree)
    assert all(leaf.dtype == np.uint32 for leaf in jax.tree.leaves(hidden))
    shown = rollout_lib.show_keys(hidden, like)
    chex.assert_trees_all_equal_dtypes(shown, tree)
    chex.assert_trees_all_equal(rollout_lib.hide_keys(shown), hidden)


def _train(run_dir, config=CONFIG, source=CORRIDOR, evaluate=None):
    model = network.make(config, source.environment)
    measure = evaluate or (lambda params: {})
    task = learning.make_task(config, source, model, measure, lambda params, thorough: {})
    with signals.handled():
        return loop.train(config, task, str(run_dir), {'config': {}})


def _bytes(state):
    return [(leaf.dtype, leaf.shape, leaf.tobytes()) for leaf in jax.tree.leaves(state)]


@pytest.fixture(scope='module')
def whole(tmp_path_factory, compile_once, compile_quickly):
    """Returns the state of a run that nothing disturbed, and its directory."""
    run_dir = tmp_path_factory.mktemp('whole')
    return _train(run_dir), run_dir


def test_a_run_that_was_stopped_ends_in_equal_bytes(whole, tmp_path):
    def stop(params):
        os.kill(os.getpid(), signal.SIGTERM)
        return {}

    config = dataclasses.replace(CONFIG, evaluate_every=3)
    with pytest.raises(errors.RunError, match='stopped by SIGTERM after update 3, saved'):
        _train(tmp_path, config, evaluate=stop)
    assert _bytes(_train(tmp_path)) == _bytes(whole[0])
    other = _train(tmp_path / 'other', dataclasses.replace(CONFIG, seed=1))
    assert _bytes(other) != _bytes(whole[0])


def test_the_log_has_episodes_only_where_some_ended(whole, tmp_path):
    rows = metrics.read_metrics(whole[1] / 'metrics.jsonl')
    assert [row['step'] for row in rows if 'loss' in row] == [2, 4, 6]
    for row in rows[:3]:
        assert 1 <= row['training_length'] <= 7
        assert -1 <= row['training_return'] <= 7 / 8 + 2
        assert 0 <= row['training_success'] <= 1
        assert 0 < row['entropy'] <= math.log(A)
    config = dataclasses.replace(CONFIG, num_steps=1, unroll=2)
    recall = tiny_environments.source(tiny_environments.Recall(num_steps=3))
    _train(tmp_path, config, recall)
    (row, *_) = metrics.read_metrics(tmp_path / 'metrics.jsonl')
    assert 'entropy' in row
    assert 'training_return' not in row


# Adam's first steps are as long for gradients of nothing but rounding; these are as the gradients.
SMOOTH = dataclasses.replace(
    CONFIG, optimizer='rmsprop', rmsprop_epsilon=1.0, learning_rate=0.1, num_steps=3
)


@pytest.fixture(scope='module')
def smooth(tmp_path_factory, compile_once, compile_quickly):
    """Returns the state of a run whose updates are in proportion to the gradients."""
    return _train(tmp_path_factory.mktemp('smooth'), SMOOTH)


def test_two_devices_have_the_same_episodes_and_nearly_the_same_updates(
    smooth, compile_once, tmp_path
):
    path = tmp_path / 'two.npz'
    script = f'from tests.programs import test_agents_learning as t; t.write_state({str(path)!r})'
    flags = {'XLA_FLAGS': '--xla_force_host_platform_device_count=2', 'JAX_PLATFORMS': 'cpu'}
    environment = {**os.environ, **compile_once, **flags, 'PYTHONPATH': str(ROOT)}
    command = [sys.executable, '-c', script]
    done = subprocess.run(command, env=environment, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    two = np.load(path)
    assert two['devices'] == 2 != jax.local_device_count()
    for index, leaf in enumerate(jax.tree.leaves(smooth.carry.environment)):
        np.testing.assert_array_equal(two[f'environment_{index}'], leaf)
    for index, leaf in enumerate(jax.tree.leaves(smooth.params)):
        np.testing.assert_allclose(two[f'params_{index}'], leaf, rtol=1e-3, atol=1e-4)


def write_state(path):
    """Trains on all devices and writes where that ends, an .npz."""
    with tempfile.TemporaryDirectory() as run_dir:
        state = _train(run_dir, SMOOTH)
    leaves = {}
    for name, tree in (('environment', state.carry.environment), ('params', state.params)):
        for index, leaf in enumerate(jax.tree.leaves(tree)):
            leaves[f'{name}_{index}'] = leaf
    np.savez(path, devices=jax.local_device_count(), **leaves)


def test_parts_of_a_batch_give_nearly_the_same_updates(smooth, tmp_path):
    state = _train(tmp_path, dataclasses.replace(SMOOTH, accumulate=2))
    chex.assert_trees_all_equal(state.carry.environment, smooth.carry.environment)
    got, wanted = state.params, smooth.params
    chex.assert_trees_all_close(got, wanted, rtol=1e-3, atol=1e-4)


def test_a_memory_learns_what_no_agent_without_can(tmp_path):
    """The cue is one of two, so half right is all that an agent without memory can hope for."""
    source = tiny_environments.source(tiny_environments.Recall())
    config = dataclasses.replace(
        CONFIG,
        batch_size=32,
        unroll=12,
        num_steps=150,
        log_every=50,
        learning_rate=0.02,
        reward_scale=1.0,
        entropy_cost=0.01,
        rho_bar=1.0,
        c_bar=1.0,
    )
    found = {}
    for core in ('rmc', 'feed_forward'):
        own = dataclasses.replace(config, core=core, feed_forward_size=8)
        model = network.make(own, source.environment)
        params = _train(tmp_path / core, own, source).params
        measure = evaluation.make(source, model, 3)
        found[core] = measure(params, 400)
    assert found['rmc']['return'] > 0.9
    assert found['feed_forward']['return'] < 0.6
    assert found['rmc']['length'] == 3
