"""What an agent learns from a rollout: the loss and its gradient in loops, and that it learns."""

import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch.agents import configuration, evaluation, learning, rollout
from launch.agents import network as network_lib
from launch.training import loop
from relational_rnn.networks import actor_critic
from tests.support import tiny_environments

pytestmark = pytest.mark.usefixtures('compile_quickly')
ROOT = pathlib.Path(__file__).resolve().parents[2]
T, B, A, H = 9, 4, 3, 5
CONFIG = configuration.Config(
    core='lstm',
    lstm_size=H,
    cells='flat',
    batch_size=B,
    unroll=T,
    discount=0.9,
    entropy_cost=0.02,
    value_cost=0.3,
    reward_scale=0.5,
    rho_bar=1.1,
    c_bar=0.9,
)
SOURCE = tiny_environments.source(tiny_environments.Corridor(), has_success=True)


def _cores(rng):
    return hk.LSTMState(*(np.float32(rng.normal(size=(1, B, H))) for _ in range(2)))


def _rollout(seed=0):
    """Returns a random rollout, which no policy of ours acted out."""
    rng = np.random.default_rng(seed)
    last = rng.uniform(size=(T, B)) < 0.3
    terminated = last & (rng.uniform(size=(T, B)) < 0.6)
    assert terminated.any()
    assert (last & ~terminated).any()
    return rollout.Rollout(
        np.float32(rng.uniform(size=(T + 1, B, 2, 5, 1))),
        np.concatenate([[[True, False, False, True]], last]),
        np.int32(rng.integers(0, A, (T, B))),
        np.float32(rng.normal(size=(T, B, A))),
        np.float32(rng.normal(size=(T, B))),
        np.float32(~terminated),
        last,
        np.float32(rng.normal(size=(T, B))),
        np.int32(rng.integers(1, 9, (T, B))),
        _cores(rng),
    )


ROLLOUT = _rollout()
TRUNCATED = ROLLOUT.last & (ROLLOUT.discounts == 1)


def _make_task(config=CONFIG, source=SOURCE):
    network = network_lib.make(config, source.environment)
    nothing = lambda *args: {}  # noqa: E731
    return network, learning.make_task(config, source, network, nothing, nothing)


@pytest.fixture(scope='module')
def made(compile_quickly):
    """Returns a network, its parameters, its output for the rollout, and the loss of a task."""
    network, task = _make_task()
    params = jax.tree.map(lambda x: 1.3 * x + 0.02, network.init(jax.random.key(1)))
    core = jax.tree.map(lambda x: x[0], ROLLOUT.core)
    output, _ = jax.jit(network.unroll)(params, ROLLOUT.observations, ROLLOUT.resets, core)
    return network, params, jax.tree.map(np.float64, output), task, jax.jit(task.loss)


@pytest.fixture(scope='module')
def loss(made):
    """Returns the metrics of a rollout, with another memory than its own in the carry."""
    *_, task, compiled = made
    later = jax.tree.map(lambda x: x[0], _cores(np.random.default_rng(1)))
    carry = task.initial_carry()._replace(core=later)
    keys = jax.random.split(jax.random.key(2), B)

    def of(batch):
        metrics, after = compiled(made[1], batch, carry, keys)
        chex.assert_trees_all_equal(jax.device_get(after), carry)
        return metrics

    return of


def _weigh(output, batch):
    """Returns policy, ratios, value targets and advantages [T, B, ...] in float64, by loops."""
    logits, values = output.logits[:-1], output.value
    policy = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    acted = np.float64(batch.logits)
    acted -= np.log(np.exp(acted).sum(axis=-1, keepdims=True))
    targets, advantages = np.array(values), np.zeros((T, B))
    for b in range(B):
        for t in reversed(range(T)):
            action = batch.actions[t, b]
            truncated = batch.last[t, b] and batch.discounts[t, b] == 1
            ratio = 0 if truncated else np.exp(policy[t, b, action] - acted[t, b, action])
            discount = 0.0 if batch.last[t, b] else 0.9
            error = 0.5 * batch.rewards[t, b] - values[t, b]
            delta = min(1.1, ratio) * (error + discount * values[t + 1, b])
            later = targets[t + 1, b] - values[t + 1, b]
            targets[t, b] = values[t, b] + delta + discount * min(0.9, ratio) * later
            advantages[t, b] = min(1.1, ratio) * (error + discount * targets[t + 1, b])
    return policy, targets[:-1], advantages


def test_the_loss_is_that_of_loops_from_the_memory_at_the_rollouts_start(made, loss):
    """And not from the memory in the carry, which is that after the rollout."""
    _, _, output, task, _ = made
    policy, targets, advantages = _weigh(output, ROLLOUT)
    wanted = np.zeros(3)
    for t, b in np.ndindex(T, B):
        wanted[0] -= policy[t, b, ROLLOUT.actions[t, b]] * advantages[t, b]
        wanted[1] += (targets[t, b] - output.value[t, b]) ** 2
        wanted[2] -= (np.exp(policy[t, b]) * policy[t, b]).sum()
    got = loss(ROLLOUT)
    names = 'policy_loss', 'value_error', 'entropy'
    np.testing.assert_allclose([got[name].total for name in names], wanted, rtol=1e-3, atol=1e-4)
    total = wanted[0] + 0.5 * 0.3 * wanted[1] - 0.02 * wanted[2]
    np.testing.assert_allclose(got['loss'].total, total, rtol=1e-3, atol=1e-4)
    assert {float(got[name].weight) for name in (*names, 'loss')} == {T * B}
    assert (task.unit, task.consumes) == ('frames', ('frames', T * B))


def test_the_gradient_holds_the_targets_fixed(made):
    """Against differences of the loss in float64 with targets and advantages as they were."""
    network, params, output, *_ = made

    def total(logits, value):
        fixed = lambda *args: (actor_critic.Output(logits, value), ())  # noqa: E731
        fake = network._replace(unroll=fixed)
        return learning.learn(CONFIG, fake, params, ROLLOUT)['loss'].total

    gradient = jax.jit(jax.grad(total, argnums=(0, 1)))
    d_logits, d_value = gradient(*jax.tree.map(jnp.float32, (output.logits, output.value)))
    np.testing.assert_array_equal(d_logits[-1], 0)
    np.testing.assert_array_equal(d_value[-1], 0)
    _, targets, advantages = _weigh(output, ROLLOUT)
    wanted = 0.3 * (output.value[:-1] - targets)
    np.testing.assert_allclose(d_value[:-1], wanted, rtol=1e-3, atol=1e-5)

    def fixed(logits):
        policy = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        chosen = np.take_along_axis(policy, ROLLOUT.actions[..., None], axis=-1)[..., 0]
        return -(chosen * advantages).sum() + 0.02 * (np.exp(policy) * policy).sum()

    for index in [(0, 0, 0), (3, 1, 2), (T - 1, 3, 1), (5, 2, 0)]:
        step = np.zeros((T, B, A))
        step[index] = 1e-5
        wanted = (fixed(output.logits[:-1] + step) - fixed(output.logits[:-1] - step)) / 2e-5
        np.testing.assert_allclose(d_logits[index], wanted, rtol=1e-3, atol=1e-5)


def test_nothing_is_learned_from_the_reward_of_a_truncated_step(loss):
    def with_reward(place):
        rewards = np.array(ROLLOUT.rewards)
        rewards[tuple(place)] += 100
        return loss(ROLLOUT._replace(rewards=rewards))

    one = loss(ROLLOUT)
    chex.assert_trees_all_equal(with_reward(np.argwhere(TRUNCATED)[0]), one)
    other = with_reward(np.argwhere(~ROLLOUT.last)[0])
    assert other['policy_loss'].total != one['policy_loss'].total


def test_the_sums_over_episodes_can_be_counted_by_hand():
    column = lambda *x: np.array(x, np.float32)[:, None]  # noqa: E731
    batch = ROLLOUT._replace(
        last=column(0, 1, 1, 1) > 0,
        discounts=column(1, 0, 1, 0),
        rewards=column(1, 2, 3, -1),
        episode_returns=column(1, 3, 3, -1),
        episode_lengths=np.array([[1], [2], [1], [1]]),
    )
    sums = learning.episodes(SOURCE, batch)
    assert {name: tuple(map(float, each)) for name, each in sums.items()} == {
        'training_return': (5, 3),
        'training_length': (4, 3),
        'training_success': (1, 3),
    }
    names = learning.episodes(SOURCE._replace(has_success=False), batch)
    assert set(names) == {'training_return', 'training_length'}
    running = learning.episodes(SOURCE, batch._replace(last=column(0, 0, 0, 0) > 0))
    assert {float(each.weight) for each in running.values()} == {0}  # so it is not logged


def test_a_loss_has_the_metrics_of_the_episodes_too(loss):
    ended = loss(ROLLOUT)
    assert ended['training_length'].weight == ROLLOUT.last.sum()
    assert ended['training_length'].total == ROLLOUT.episode_lengths[ROLLOUT.last].sum()


def test_a_memory_learns_what_no_agent_without_can(tmp_path):
    """The cue is one of two, so half right is all that an agent without memory can hope for."""
    recall = tiny_environments.Recall()
    _, timesteps = zip(*(_answer_nothing(recall, cue) for cue in (0, 1)), strict=True)
    assert not np.array_equal(timesteps[0][0].observation, timesteps[1][0].observation)
    for one, other in zip(*(each[1:] for each in timesteps), strict=True):
        np.testing.assert_array_equal(one.observation, other.observation)
    source = tiny_environments.source(recall)
    config = configuration.Config(
        core='rmc',
        mem_slots=2,
        total_units=16,
        num_heads=2,
        attention_mlp_layers=1,
        cells='flat',
        batch_size=32,
        unroll=12,
        discount=0.9,
        entropy_cost=0.01,
        value_cost=0.3,
        learning_rate=0.02,
        clip_norm=1.0,
        num_steps=250,
        log_every=50,
        evaluate_every=1000,
        save_every=1000,
    )
    network, task = _make_task(config, source)
    params = loop.train(config, task, str(tmp_path), {'config': {}}).params
    results = evaluation.make(source, network, 3)(params, 400)
    assert results['return'] > 0.9
    assert results['length'] == 3


def _answer_nothing(recall, cue):
    state, timestep = next(
        reset
        for reset in (recall.reset(jax.random.key(seed)) for seed in range(20))
        if reset[0].cue == cue
    )
    timesteps = [timestep]
    for _ in range(recall.num_steps - 1):
        state, timestep = recall.step(state, jnp.int32(0))
        timesteps.append(timestep)
    return cue, timesteps


# Adam's first steps are as long for gradients of nothing but rounding; these are as the gradients.
SMOOTH = dataclasses.replace(
    CONFIG, optimizer='rmsprop', rmsprop_epsilon=1.0, learning_rate=0.1, num_steps=3
)


def write_state(path, config=SMOOTH):
    """Trains on all devices and writes where that ends, an .npz."""
    with tempfile.TemporaryDirectory() as run_dir:
        state = loop.train(config, _make_task(config)[1], run_dir, {'config': {}})
    leaves = {}
    for name, tree in (('environment', state.carry.environment), ('params', state.params)):
        for index, leaf in enumerate(jax.tree.leaves(tree)):
            leaves[f'{name}_{index}'] = leaf
    np.savez(path, devices=jax.local_device_count(), **leaves)


@pytest.mark.slow
def test_two_devices_and_parts_play_the_same_and_make_nearly_the_same_updates(tmp_path):
    paths = [tmp_path / f'{name}.npz' for name in ('one', 'parts', 'two')]
    write_state(paths[0])
    write_state(paths[1], dataclasses.replace(SMOOTH, accumulate=2))
    script = (
        f'from tests.programs import test_agents_learning as t; t.write_state({str(paths[2])!r})'
    )
    flags = {'XLA_FLAGS': '--xla_force_host_platform_device_count=2', 'JAX_PLATFORMS': 'cpu'}
    environment = {**os.environ, **flags, 'PYTHONPATH': str(ROOT)}
    command = [sys.executable, '-c', script]
    done = subprocess.run(command, env=environment, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    one, *others = map(np.load, paths)
    assert [int(each['devices']) for each in (one, *others)] == [1, 1, 2]
    for other in others:
        assert other.files == one.files
        for name in one.files[1:]:
            if name.startswith('environment'):
                np.testing.assert_array_equal(other[name], one[name])
            else:
                np.testing.assert_allclose(other[name], one[name], rtol=1e-3, atol=1e-4)
