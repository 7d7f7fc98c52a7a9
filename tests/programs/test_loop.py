"""The training loop: equal bytes whatever happens on the way, and no number that is not finite."""

import concurrent.futures
import dataclasses
import hashlib
import math
import os
import pathlib
import re
import shutil
import signal

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from launch.runs import arrays, checkpoint, metrics, signals
from launch.runs import errors as errors_lib
from launch.training import devices, experiment, loop
from launch.training import optimizer as optimizer_lib
from launch.training import task as task_lib
from launch.training import update as update_lib
from relational_rnn import losses
from tasks import base
from tests.support import toy_task

pytestmark = pytest.mark.usefixtures('compile_once', 'compile_quickly')
T, B, D, H = toy_task.T, toy_task.B, toy_task.D, toy_task.H
CONFIG = loop.Config(
    num_steps=10,
    batch_size=B,
    learning_rate=0.05,
    schedule='cosine',
    warmup_steps=2,
    clip_norm=0.5,
    log_every=5,
    evaluate_every=100,
    save_every=100,
)


def _train(run_dir, config=CONFIG, task=None):
    with signals.handled():
        return loop.train(config, task or toy_task.make(), str(run_dir), {'config': {}})


def _digest(state):
    """Returns the SHA-256 of names, dtypes, shapes and bytes of a whole training state."""
    sha = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        assert isinstance(leaf, np.ndarray)
        sha.update(f'{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}'.encode())
        sha.update(leaf.tobytes())
    return sha.hexdigest()


def _saved(run_dir):
    """Returns the steps that have a checkpoint."""
    folder = run_dir / 'checkpoints'
    return sorted(int(path.name) for path in folder.iterdir()) if folder.exists() else []


def _restored(run_dir, config=CONFIG, task=None):
    template = loop.initial_state(config, task or toy_task.make())
    return checkpoint.Checkpointer(run_dir).restore(template).state


@pytest.fixture(scope='module')
def whole(tmp_path_factory, compile_once, compile_quickly):
    """Returns the state of a run that nothing disturbed, and its directory."""
    run_dir = tmp_path_factory.mktemp('whole')
    return _train(run_dir), run_dir


def test_a_thread_without_signals_trains_as_well(whole, tmp_path):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        state = pool.submit(_train, tmp_path).result()
    assert _digest(state) == _digest(whole[0])


def test_a_run_ends_at_its_last_update_and_is_saved(whole):
    state, run_dir = whole
    assert state.step == 10
    assert _saved(run_dir) == [10]
    assert _digest(_restored(run_dir)) == _digest(state)


def test_the_same_seed_gives_equal_bytes_and_another_does_not(whole, tmp_path):
    assert _digest(_train(tmp_path / 'same')) == _digest(whole[0])
    other = _train(tmp_path / 'other', dataclasses.replace(CONFIG, seed=1))
    assert _digest(other) != _digest(whole[0])


def test_a_finished_run_is_not_trained_again(whole, capsys):
    state, run_dir = whole
    task = toy_task.make(on_step=lambda step: pytest.fail(f'read the batch of step {step}'))
    assert _digest(_train(run_dir, task=task)) == _digest(state)
    assert 'resumes from the checkpoint of update 10' in capsys.readouterr().out


def test_stopping_and_resuming_at_every_step_gives_equal_bytes(whole, tmp_path):
    for step in range(1, 10):
        with pytest.raises(errors_lib.RunError) as stop:
            _train(tmp_path, task=toy_task.make(on_step=toy_task.kill_at(step)))
        assert stop.value.code == errors_lib.INTERRUPTED
        assert str(stop.value) == (
            f'stopped by SIGTERM after update {step}, saved; run the same command again to resume'
        )
        assert _saved(tmp_path)[-1] == step
    assert _digest(_train(tmp_path)) == _digest(whole[0])
    assert metrics.read_metrics(tmp_path / 'metrics.jsonl')[-1]['step'] == 10


def test_a_signal_during_evaluation_ends_it_and_saves(whole, tmp_path):
    def evaluate(params):
        del params
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail('the evaluation was not ended')

    config = dataclasses.replace(CONFIG, evaluate_every=4)
    with pytest.raises(errors_lib.RunError, match='SIGINT after update 4, saved'):
        _train(tmp_path, config, toy_task.make(evaluate))
    assert _digest(_train(tmp_path)) == _digest(whole[0])


def test_an_error_of_the_evaluation_is_not_taken_for_a_signal(tmp_path):
    def evaluate(params):
        raise errors_lib.RunError(errors_lib.BAD_DATA, 'the split is gone')

    with pytest.raises(errors_lib.RunError, match='the split is gone'):
        _train(tmp_path, dataclasses.replace(CONFIG, num_steps=1), toy_task.make(evaluate))


def test_a_signal_that_comes_while_a_checkpoint_is_written_ends_the_run_saved(
    tmp_path, monkeypatch
):
    save = checkpoint.Checkpointer.save

    def slow(self, step, *args):
        saved = save(self, step, *args)
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return saved

    monkeypatch.setattr(checkpoint.Checkpointer, 'save', slow)
    config = dataclasses.replace(CONFIG, save_every=3)
    with pytest.raises(errors_lib.RunError, match='after update 4, saved'):
        _train(tmp_path, config)
    assert _saved(tmp_path) == [3, 4]


@pytest.mark.parametrize('every', [(1, 1, 1), (3, 4, 2)])
def test_logging_evaluation_and_saving_do_not_steer_training(every, whole, tmp_path):
    log, evaluate, save = every
    config = dataclasses.replace(CONFIG, log_every=log, evaluate_every=evaluate, save_every=save)
    assert _digest(_train(tmp_path, config)) == _digest(whole[0])
    rows = metrics.read_metrics(tmp_path / 'metrics.jsonl')
    wanted = sorted({*range(log, 11, log), *range(evaluate, 11, evaluate), 10})
    assert sorted({row['step'] for row in rows}) == wanted
    assert _saved(tmp_path) == [*range(save, 10, save), 10][-3:]


@pytest.mark.parametrize(
    ('faults', 'what'),
    [
        ({'bad_inputs': [6]}, 'the loss'),
        ({'bad_gradients': [6]}, "the gradient of ['b']['w']"),
    ],
)
def test_a_number_that_is_not_finite_stops_the_run_and_is_never_saved(faults, what, tmp_path):
    config = dataclasses.replace(CONFIG, save_every=2)
    with pytest.raises(
        errors_lib.RunError, match=re.escape(f'update 7: {what} is not finite')
    ) as stop:
        _train(tmp_path, config, toy_task.make(**faults))
    assert stop.value.code == errors_lib.INTERNAL
    assert _saved(tmp_path) == [2, 4, 6]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(_restored(tmp_path)))


@pytest.mark.parametrize('policy', ['stop', 'skip'])
def test_a_parameter_that_overflows_is_found_in_its_own_update(policy, tmp_path, capsys):
    largest = np.finfo(np.float32).max
    params = {'a': np.ones(3, np.float32), 'b': np.array([-1.0, largest], np.float32)}

    def batch(step):
        return toy_task.batch(0)._replace(targets=np.full((T, B), 1e-4 * (step == 2), np.float32))

    task = toy_task.make(evaluate=lambda params: {})._replace(
        init=lambda key: params, loss=_only_gradient, batch=batch
    )
    config = dataclasses.replace(
        CONFIG,
        num_steps=4,
        learning_rate=1e34,
        schedule='constant',
        warmup_steps=0,
        clip_norm=0.0,
        on_nonfinite=policy,
    )
    if policy == 'stop':
        with pytest.raises(errors_lib.RunError, match=r"update 3: the parameter \['b'\] is not"):
            _train(tmp_path, config, task)
        assert _saved(tmp_path) == []
    else:
        state = _train(tmp_path, config, task)
        np.testing.assert_array_equal(state.params['b'], params['b'])
        assert "update 3: the parameter ['b'] is not finite; skipped" in capsys.readouterr().out


@jax.custom_vjp
def _one(x, slope):
    """Returns 1, whose gradient is said to be `slope`."""
    return jnp.ones(()) + 0 * slope + 0 * jnp.min(jnp.abs(x))


_one.defvjp(lambda x, slope: (jnp.ones(()), (x, slope)), lambda r, g: (-r[1] + 0 * r[0], None))


def _only_gradient(params, batch, carry, keys):
    del keys
    slope = batch.targets.sum()
    return {'loss': losses.WeightedSum(_one(params['b'], slope), batch.weights.sum())}, carry


def test_skipping_leaves_parameters_and_optimizer_and_counts(tmp_path, capsys):
    config = dataclasses.replace(CONFIG, num_steps=5, on_nonfinite='skip')
    config = dataclasses.replace(config, save_every=1, keep=5)
    _train(tmp_path / 'run', config, toy_task.make(bad_inputs=[2, 3]))
    states = {}
    for step in (2, 4, 5):
        name = pathlib.Path('checkpoints', str(step))
        shutil.copytree(tmp_path / 'run' / name, tmp_path / f'only_{step}' / name)
        states[step] = _restored(tmp_path / f'only_{step}', config)
    for part in ('params', 'opt_state'):
        skipped, kept = (_digest(getattr(states[step], part)) for step in (4, 2))
        assert skipped == kept
        assert _digest(getattr(states[5], part)) != kept
    np.testing.assert_array_equal(states[4].carry, states[2].carry)
    assert [states[step].step for step in (2, 4, 5)] == [2, 4, 5]
    lines = [line for line in capsys.readouterr().out.splitlines() if 'skipped' in line]
    assert lines == [
        'update 3: the loss is not finite; skipped, 1 in a row',
        'update 4: the loss is not finite; skipped, 2 in a row',
    ]


def test_skipping_ends_after_ten_in_a_row(tmp_path):
    config = dataclasses.replace(CONFIG, num_steps=40, on_nonfinite='skip')
    bad = [*range(3, 12), *range(13, 30)]  # nine, one that is sound, and more
    with pytest.raises(errors_lib.RunError, match=r'update 23: .* 10 updates in a row') as stop:
        _train(tmp_path, config, toy_task.make(bad_inputs=bad))
    assert stop.value.code == errors_lib.INTERNAL


def _graded(read, passes=lambda level: True, on_step=None, on_question=None):
    """Returns a task of four levels that are evaluated after every third update."""

    def batch(step, level):
        read.append((step, level))
        made = toy_task.batch(step, on_step)
        return made._replace(targets=made.targets + np.float32(level))

    def asked(params, level):
        assert np.all(np.isfinite(params['b']['w']))
        if on_question:
            on_question(3 * level + 3)
        read.append(('asked', level))
        return 0.5 if passes(level) else 0.4

    curriculum = task_lib.Curriculum(3, 4, 2, 0.5, asked)
    return toy_task.make()._replace(batch=batch, curriculum=curriculum)


def test_a_curriculum_is_asked_after_every_so_many_updates_and_before_the_next_batch(
    tmp_path,
):
    read = []
    state = _train(tmp_path, task=_graded(read, lambda level: level < 2))
    assert read == [
        *((0, 0), (1, 0), (2, 0), ('asked', 0)),
        *((3, 1), (4, 1), (5, 1), ('asked', 1)),
        *((6, 2), (7, 2), (8, 2), ('asked', 2)),
        (9, 2),
    ]
    assert (state.level.tolist(), state.level.dtype) == ([2, 1], np.int32)  # one without success
    rows = metrics.read_metrics(tmp_path / 'metrics.jsonl')
    asked = [[row[x] for x in ('step', 'level_score', 'level')] for row in rows if 'level' in row]
    assert asked == [[3, 0.5, 1], [6, 0.5, 2], [9, 0.4, 2]]


def test_a_level_ends_when_patience_does_and_the_last_level_never(tmp_path, capsys):
    read = []
    config = dataclasses.replace(CONFIG, num_steps=22)
    state = _train(tmp_path, config, _graded(read, lambda level: False))
    levels = [level for step, level in read if step != 'asked']
    assert levels == [0] * 6 + [1] * 6 + [2] * 6 + [3] * 4
    assert [level for step, level in read if step == 'asked'] == [0, 0, 1, 1, 2, 2]
    assert state.level.tolist() == [3, 0]
    assert 'level 1 -> 2, not learned after 2 evaluations' in capsys.readouterr().out


def test_a_run_with_a_curriculum_resumes_at_every_step_to_equal_bytes(tmp_path):
    whole = _train(tmp_path / 'whole', task=_graded([]))
    assert whole.level.tolist() == [3, 0]
    assert _digest(whole) != _digest(_train(tmp_path / 'easy', task=_graded([], lambda _: False)))
    for step in range(1, 10):  # every third while the curriculum is asked
        where = 'on_step' if step % 3 else 'on_question'
        with pytest.raises(errors_lib.RunError, match=f'stopped by SIGTERM after update {step}'):
            _train(tmp_path / 'run', task=_graded([], **{where: toy_task.kill_at(step)}))
    assert _digest(_train(tmp_path / 'run', task=_graded([]))) == _digest(whole)


@pytest.mark.parametrize('last', [3, 5, 6])
def test_a_run_with_a_curriculum_that_is_lengthened_ends_in_equal_bytes(last, tmp_path):
    config = dataclasses.replace(CONFIG, schedule='constant')
    whole = _train(tmp_path / 'whole', config, _graded([]))
    _train(tmp_path / 'run', dataclasses.replace(config, num_steps=last), _graded([]))
    assert _digest(_train(tmp_path / 'run', config, _graded([]))) == _digest(whole)


@pytest.mark.parametrize('every', [(1, 1, 1), (3, 4, 2)])
def test_logging_evaluation_and_saving_do_not_steer_a_curriculum(every, tmp_path):
    log, evaluate, save = every
    config = dataclasses.replace(CONFIG, log_every=log, evaluate_every=evaluate, save_every=save)
    wanted = _train(tmp_path / 'whole', task=_graded([]))
    assert _digest(_train(tmp_path / 'run', config, _graded([]))) == _digest(wanted)


def _sampled_and_graded(scores=None, on_question=None):
    """Returns a task whose batches are sampled, of four levels; each changes the targets."""

    def sample(params, carry, keys, level):
        made, carry = toy_task.sample(params, carry, keys)
        return made._replace(targets=made.targets + level), carry

    def score(params, level):
        if scores is not None:
            scores.append((level, float(np.sum(params['b']['w']))))
        if on_question:
            on_question(3 * level + 3)
        return 1.0

    curriculum = task_lib.Curriculum(3, 4, 2, 0.5, score, 0.5)
    return toy_task.make()._replace(batch=None, sample=sample, curriculum=curriculum)


@pytest.mark.parametrize('every', [(1, 1, 1), (4, 5, 2)])
def test_a_curriculum_of_sampled_batches_has_its_levels_however_often_it_logs(every, tmp_path):
    log, evaluate, save = every
    wanted_scores, scores = [], []
    wanted = _train(tmp_path / 'whole', task=_sampled_and_graded(wanted_scores))
    config = dataclasses.replace(CONFIG, log_every=log, evaluate_every=evaluate, save_every=save)
    task = _sampled_and_graded(scores)
    assert _digest(_train(tmp_path / 'run', config, task)) == _digest(wanted)
    assert [level for level, _ in scores] == [0, 1, 2]
    assert scores == wanted_scores  # asked after the same updates


def test_a_run_of_sampled_levels_that_is_stopped_or_lengthened_ends_in_equal_bytes(tmp_path):
    config = dataclasses.replace(CONFIG, schedule='constant')
    whole = _train(tmp_path / 'whole', config, _sampled_and_graded())
    assert whole.level.tolist() == [3, 0]
    for step in (3, 6):
        task = _sampled_and_graded(on_question=toy_task.kill_at(step))
        with pytest.raises(errors_lib.RunError, match=f'stopped by SIGTERM after update {step}'):
            _train(tmp_path / 'run', config, task)
    _train(tmp_path / 'run', dataclasses.replace(config, num_steps=8), _sampled_and_graded())
    assert _digest(_train(tmp_path / 'run', config, _sampled_and_graded())) == _digest(whole)


def test_a_level_is_restored_and_a_run_without_one_has_none(whole, tmp_path):
    task = _graded([])
    trained = _train(tmp_path, task=task)
    assert _digest(_restored(tmp_path, task=task)) == _digest(trained)
    assert _restored(whole[1]).level == ()
    with pytest.raises(errors_lib.RunError, match='level: wanted nothing, got int32'):
        _restored(tmp_path)


def test_a_last_save_that_fails_ends_with_its_exit_code(tmp_path, monkeypatch, capsys):
    def full(*args):
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(arrays, 'save', full)
        with pytest.raises(errors_lib.RunError, match='after update 3 could not be saved') as stop:
            _train(tmp_path, dataclasses.replace(CONFIG, num_steps=3))
    assert stop.value.code == errors_lib.CANNOT_SAVE
    assert 'No space left' in capsys.readouterr().err


def test_a_save_that_fails_on_the_way_is_told_and_training_goes_on(
    whole, tmp_path, monkeypatch, capsys
):
    save, failed = arrays.save, []

    def fails_once(path, leaves):
        if not failed:
            failed.append(path)
            raise OSError(28, 'No space left on device')
        save(path, leaves)

    monkeypatch.setattr(arrays, 'save', fails_once)
    state = _train(tmp_path, dataclasses.replace(CONFIG, save_every=4))
    assert failed
    assert _digest(state) == _digest(whole[0])
    assert _saved(tmp_path) == [8, 10]
    assert 'checkpoint of step 4 not saved' in capsys.readouterr().err


def test_updates_follow_the_gradient_of_the_mean_with_a_key_for_each_step_and_element(tmp_path):
    config = dataclasses.replace(CONFIG, num_steps=3, clip_norm=0.0, warmup_steps=0)
    state = _train(tmp_path, config)
    start = loop.initial_state(config, toy_task.make())
    params, opt_state, carry = start.params, start.opt_state, start.carry
    optimizer = optimizer_lib.make(config, config.num_steps)

    def mean(params, batch, carry, keys):
        found, carry = toy_task.loss(params, batch, carry, keys)
        return found['loss'].total / found['loss'].weight, carry

    gradient = jax.jit(jax.grad(mean, has_aux=True))
    for step in range(3):
        key = jax.random.fold_in(jax.random.wrap_key_data(start.key), step)
        keys = jnp.stack([jax.random.fold_in(key, row) for row in range(B)])
        grads, carry = gradient(params, toy_task.batch(step), carry, keys)
        updates, opt_state = optimizer.update(grads, opt_state)
        params = optax.apply_updates(params, updates)
    chex.assert_trees_all_close(state.params, params, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(state.carry, carry, rtol=1e-4, atol=1e-5)


def test_an_average_is_evaluated_saved_and_resumed_and_steers_nothing(whole, tmp_path):
    config = dataclasses.replace(CONFIG, average=0.5, evaluate_every=4)
    evaluated = []

    def evaluate(params):
        evaluated.append(params)
        return {}

    state = _train(tmp_path / 'run', config, toy_task.make(evaluate))
    average = state.opt_state[2]
    assert average.count == 10
    assert len(evaluated) == 3  # after 4, 8 and 10 updates
    chex.assert_trees_all_equal(evaluated[-1], average.params)
    for one, last in zip(*map(jax.tree.leaves, (evaluated[-1], state.params)), strict=True):
        assert np.abs(one - last).max() > 1e-3
    same = state._replace(opt_state=state.opt_state[:2])
    assert _digest(same) == _digest(whole[0])
    with pytest.raises(signals.Interrupted):
        _train(tmp_path / 'cut', config, toy_task.make(on_step=toy_task.kill_at(5)))
    assert _digest(_train(tmp_path / 'cut', config)) == _digest(state)


def test_the_log_holds_the_means_since_its_last_line(whole):
    rows = [row for row in metrics.read_metrics(whole[1] / 'metrics.jsonl') if 'loss' in row]
    assert [row['step'] for row in rows] == [5, 10]
    for row in rows:
        assert row['perplexity'] == pytest.approx(math.exp(row['loss']))
        assert row['words_per_second'] > 0


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'schedule': 'linear'}, '--schedule: wanted one of constant, cosine'),
        ({'on_nonfinite': 'ignore'}, '--on_nonfinite: wanted one of stop, skip'),
        ({'num_steps': 0}, '--num_steps: wanted at least 1, got 0'),
        ({'clip_norm': -1.0}, '--clip_norm: wanted at least 0, got -1'),
        ({'learning_rate': math.nan}, '--learning_rate: wanted a finite number'),
    ],
)
def test_bad_flags_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(experiment.Config(), **change)


@pytest.mark.parametrize('parts', [2, 4, 8])
def test_a_batch_in_parts_makes_the_same_updates(whole, parts, tmp_path):
    config = dataclasses.replace(CONFIG, accumulate=parts)
    state = _train(tmp_path, config)
    chex.assert_trees_all_close(state, whole[0], rtol=2e-4, atol=2e-6)
    rows = [metrics.read_metrics(path / 'metrics.jsonl') for path in (tmp_path, whole[1])]
    for one, other in zip(*rows, strict=True):
        for name in one.keys() & {'loss', 'grad_norm', 'norm'}:
            assert one[name] == pytest.approx(other[name], rel=1e-4)


def test_a_batch_in_parts_holds_less_at_a_time():
    """The scratch memory of an update falls with its parts."""
    task = toy_task.make()._replace(initial_carry=lambda: np.zeros((4096, H), np.float32))
    config = dataclasses.replace(CONFIG, batch_size=4096)
    state = devices.place(loop.initial_state(config, task))
    batch = base.Batch(
        *(jax.ShapeDtypeStruct((1, T, 4096, *rest), np.float32) for rest in ((D,), (), ())),
        jax.ShapeDtypeStruct((1, T, 4096), bool),
    )
    used = []
    for parts in (1, 8):
        optimizer = optimizer_lib.make(config, config.num_steps)
        update = update_lib.make_update(task, optimizer, 4096, parts)
        compiled = devices.compile_update(update, state).lower(state, batch).compile()
        used.append(compiled.memory_analysis().temp_size_in_bytes)
    assert used[1] < 0.6 * used[0], used


def test_a_batch_that_does_not_divide_into_parts_gets_one_line(tmp_path):
    config = dataclasses.replace(CONFIG, accumulate=3)
    wanted = '--batch_size: wanted a multiple of the 1 devices x --accumulate=3, got 8'
    with pytest.raises(errors_lib.RunError, match=wanted) as stop:
        _train(tmp_path, config)
    assert stop.value.code == errors_lib.USAGE
