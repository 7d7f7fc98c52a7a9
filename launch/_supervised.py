"""The training loop of every supervised program.

A program says what its task is (`Task`: parameters, loss, the batch of any step, evaluation) and
this loop does the rest: Adam with clipping and a schedule on all devices of all processes,
truncated backpropagation through a carried state, progress, metrics, checkpoints, signals, and
what happens when a number is not finite.

Everything that steers training is a function of (configuration, seed, step), so a run that was
stopped at any moment and started again ends in the same bytes as one that never stopped, however
often it logs, evaluates or saves.

Glossary of shapes:
  B: batch size; n: devices; A: parts of a device's batch; T: time steps.
"""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import math
import time
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from launch import _checkpoint, _cli, _errors, _parallel, _report, _signals
from relational_rnn import losses

MAX_SKIPPED = 10  # updates in a row that are not finite


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags that every supervised program has."""

    run_dir: str | None = _cli.flag(
        None, 'folder of checkpoints, metrics and plots; default runs/PROGRAM-...', 'free'
    )
    seed: int = _cli.flag(0, 'of all randomness', 'identity', minimum=0)
    num_steps: int = _cli.flag(10_000, 'updates in all', 'schedule', minimum=1)
    batch_size: int = _cli.flag(32, 'sequences in a batch, over all devices', 'identity', minimum=1)
    accumulate: int = _cli.flag(
        1, "parts of a device's batch, one after the other, to save memory", 'schedule', minimum=1
    )
    learning_rate: float = _cli.flag(1e-3, "Adam's step size", 'schedule', minimum=0)
    schedule: str = _cli.flag('constant', 'of the step size: constant or cosine', 'schedule')
    warmup_steps: int = _cli.flag(0, 'updates until the full step size', 'schedule', minimum=0)
    clip_norm: float = _cli.flag(
        0.1, 'global norm that gradients are clipped to; 0 for no clipping', 'schedule', minimum=0
    )
    on_nonfinite: str = _cli.flag('stop', 'an update with NaN or Inf: stop or skip', 'free')
    log_every: int = _cli.flag(50, 'updates between lines of metrics', 'free', minimum=1)
    evaluate_every: int = _cli.flag(500, 'updates between evaluations', 'free', minimum=1)
    save_every: int = _cli.flag(500, 'updates between checkpoints', 'free', minimum=1)
    keep: int = _cli.flag(3, 'checkpoints that stay', 'free', minimum=1)

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        _cli.check_ranges(self)
        _cli.choose('schedule', self.schedule, ('constant', 'cosine'))
        _cli.choose('on_nonfinite', self.on_nonfinite, ('stop', 'skip'))


class Task(NamedTuple):
    """What a program trains. `carry` is the state that goes from batch to batch, () if none."""

    init: Callable[[chex.PRNGKey], chex.ArrayTree]  # key -> parameters
    initial_carry: chex.ArrayTree  # arrays [B, ...], of all processes
    # (params, batch, carry, keys [B / n]) -> weighted sum and carry of these rows
    loss: Callable[..., tuple[losses.WeightedSum, chex.ArrayTree]]
    batch: Callable[[int], chex.ArrayTree]  # step -> this process's rows, host arrays [T, B / P, …]
    evaluate: Callable[[chex.ArrayTree], Mapping[str, float]]  # parameters -> metrics
    unit: str  # what a weight of 1 in the loss is, in the plural: words


class Replicated(NamedTuple):
    """The part of the training state that is equal on all devices."""

    params: chex.ArrayTree
    opt_state: optax.OptState
    key: chex.Array  # [2] uint32, the data of the seed's key
    step: chex.Array  # [] int32, finished updates and the data's position


class TrainState(NamedTuple):
    """All that a checkpoint holds."""

    replicated: Replicated
    carry: chex.ArrayTree  # [B, ...]


def optimizer(config: Config) -> optax.GradientTransformation:
    """Returns Adam with the configuration's schedule, after clipping by global norm.

    Its state has the same structure whatever the configuration.
    """
    if config.schedule == 'cosine':
        rate = optax.warmup_cosine_decay_schedule(
            init_value=0.0 if config.warmup_steps else config.learning_rate,
            peak_value=config.learning_rate,
            warmup_steps=config.warmup_steps,
            decay_steps=max(config.num_steps, config.warmup_steps + 1),
            end_value=0.01 * config.learning_rate,
        )
    else:
        rate = optax.linear_schedule(
            0.0 if config.warmup_steps else config.learning_rate,
            config.learning_rate,
            max(1, config.warmup_steps),
        )
    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
    return optax.chain(clip, optax.adam(rate))


def train(
    config: Config,
    task: Task,
    run_dir: str,
    interrupts: _signals.Interrupts,
    metadata: Mapping[str, Any],
) -> TrainState:
    """Trains to `config.num_steps`, from the newest checkpoint in `run_dir` if there is one.

    Args:
      config: the flags.
      task: what to train.
      run_dir: the run's directory, owned by the caller.
      interrupts: the signals so far.
      metadata: what to keep beside the state of a checkpoint, 'config' among it.

    Returns:
      The final state, as host arrays.

    Raises:
      RunError: after a signal (the state is saved), an update that is not finite, saves that fail,
        or a checkpoint that does not fit.
    """
    _parallel.check_batch_size(config.batch_size, config.accumulate)
    checkpointer = _checkpoint.Checkpointer(run_dir, keep=config.keep)
    state = initial_state(config, task.init, task.initial_carry)
    restored = checkpointer.restore(state) if _parallel.is_first() else None
    state = _parallel.share(restored.state if restored else state)
    first = int(state.replicated.step)
    if first:
        print(f'goes on from update {first}')
    with (
        _report.Metrics(run_dir, first) as metrics,
        _report.Progress(config.num_steps, first) as progress,
    ):
        loop = _Loop(config, task, interrupts, checkpointer, metrics, progress, metadata)
        return loop.run(state, first)


def restore(
    config: Config,
    init: Callable[[chex.PRNGKey], chex.ArrayTree],
    initial_carry: chex.ArrayTree,
    run_dir: str,
) -> TrainState:
    """Returns the state of the newest whole checkpoint of a run.

    Args:
      config: the flags of the run.
      init: as in `Task`.
      initial_carry: as in `Task`.
      run_dir: the run's directory, owned by the caller.

    Raises:
      RunError: there is none that is whole and fits.
    """
    template = initial_state(config, init, initial_carry)
    restored = _checkpoint.Checkpointer(run_dir, keep=config.keep).restore(template)
    if restored is None:
        raise _errors.RunError(_errors.BAD_DATA, f'--run_dir={run_dir}: has no checkpoint')
    return restored.state


def initial_state(
    config: Config, init: Callable[[chex.PRNGKey], chex.ArrayTree], initial_carry: chex.ArrayTree
) -> TrainState:
    """Returns the state before the first update, on the host."""
    key = jax.random.key(config.seed)
    params = init(jax.random.fold_in(key, 0))
    replicated = Replicated(
        params=params,
        opt_state=optimizer(config).init(params),
        key=jax.random.key_data(jax.random.fold_in(key, 1)),
        step=np.zeros((), np.int32),
    )
    return jax.tree.map(np.asarray, TrainState(replicated, initial_carry))


class _Loop:
    """The loop and what it needs at every step."""

    def __init__(
        self,
        config: Config,
        task: Task,
        interrupts: _signals.Interrupts,
        checkpointer: _checkpoint.Checkpointer,
        metrics: _report.Metrics,
        progress: _report.Progress,
        metadata: Mapping[str, Any],
    ):
        self._config = config
        self._task = task
        self._interrupts = interrupts
        self._checkpointer = checkpointer
        self._metrics = metrics
        self._progress = progress
        self._metadata = metadata
        self._meter = Meter()

    def run(self, state: TrainState, first: int) -> TrainState:
        """Runs the steps from `first` on and returns the final state on the host."""
        config, task = self._config, self._task
        optimiser = optimizer(config)
        update = _parallel.compile_update(make_update(task, optimiser, config.accumulate))
        rows = _parallel.own_rows(config.batch_size)
        carry = jax.tree.map(lambda x: x[rows], state.carry)
        device_state = [state.replicated, _parallel.split(carry, axis=0)]
        batch = _parallel.split(task.batch(first), axis=1) if first < config.num_steps else None
        skipped = 0
        self._meter.restart()
        for step in range(first + 1, config.num_steps + 1):
            *device_state, outcome = update(*device_state, batch)
            if step < config.num_steps:
                batch = _parallel.split(task.batch(step), axis=1)  # while the device works
            outcome = _parallel.to_host(outcome)
            skipped = 0 if outcome['finite'] else skipped + 1
            if skipped:
                self._on_nonfinite(step, skipped, outcome, state.replicated.params)
            else:
                self._meter.add(outcome)
            self._after(step, device_state, last=step == config.num_steps)
        return _gather(device_state)

    def _after(self, step: int, device_state: list[Any], last: bool) -> None:
        """Logs, evaluates and saves what is due after a step."""
        config = self._config
        values = None
        if (step % config.log_every == 0 or last) and self._meter.steps:
            values = self._meter.read(self._task.unit)
            self._metrics.write(step, values)
        shown = ('loss', 'perplexity', f'{self._task.unit}_per_second')
        self._progress.update(step, values and {name: values[name] for name in shown})
        with self._meter.paused():
            if (step % config.evaluate_every == 0 or last) and not self._interrupts.received:
                self._evaluate(step, device_state[0].params)
            received = self._received()  # read once: a later one ends the next update
            if step % config.save_every == 0 or last or received:
                self._save(step, device_state, needed=last or received is not None)
        if received and not last:
            message = f'stopped by {received} after update {step}, saved'
            message += '; the same command goes on from here'
            raise _errors.RunError(_errors.INTERRUPTED, message)

    def _received(self) -> str | None:
        """Returns the name of a signal that came to this process, or that one came to another."""
        received = self._interrupts.received
        anywhere = _parallel.any_process(received is not None)
        return received or ('a signal to another process' if anywhere else None)

    def _evaluate(self, step: int, params: chex.ArrayTree) -> None:
        try:
            values = self._task.evaluate(_parallel.to_host(params))
        except _errors.RunError:
            if self._interrupts.received:  # what is saved next is none the worse for it
                return
            raise
        self._metrics.write(step, values)
        self._progress.say(f'step {step}/{self._config.num_steps}  {_report.describe(values)}')

    def _save(self, step: int, device_state: list[Any], needed: bool) -> None:
        state = _gather(device_state)
        saved = not _parallel.is_first() or self._checkpointer.save(step, state, self._metadata)
        if needed and _parallel.any_process(not saved):
            message = f'the state after update {step} could not be saved; free some space and rerun'
            raise _errors.RunError(_errors.CANNOT_SAVE, message)

    def _on_nonfinite(
        self, step: int, skipped: int, outcome: Mapping[str, Any], params: chex.ArrayTree
    ) -> None:
        """Reports an update that was not made because a number in it was not finite."""
        what = f'update {step}: {_first_bad(outcome, params)} is not finite'
        if self._config.on_nonfinite == 'stop' or skipped == MAX_SKIPPED:
            reason = '' if skipped < MAX_SKIPPED else f', {skipped} updates in a row'
            remedy = 'nothing of it was saved; try a smaller --learning_rate or --clip_norm'
            raise _errors.RunError(_errors.INTERNAL, f'{what}{reason}; {remedy}')
        self._progress.say(f'{what}; skipped, {skipped} in a row')


def make_update(
    task: Task, optimiser: optax.GradientTransformation, accumulate: int = 1
) -> Callable[..., Any]:
    """Returns one update, `(replicated, carry, batch) -> (replicated, carry, outcome)`.

    The loss is the mean over the whole batch whatever the number of devices and parts. An update
    that is not finite leaves parameters, optimizer and carry as they were and counts as a step.

    Args:
      task: what to train.
      optimiser: what makes updates of gradients.
      accumulate: A, the parts that a device's rows are computed in.
    """

    def update(state: Replicated, carry: chex.ArrayTree, batch: chex.ArrayTree) -> tuple:
        keys = _row_keys(state, batch)
        grads, value, new_carry = _gradients(
            task.loss, state.params, batch, carry, keys, accumulate
        )
        grads, value = _parallel.total((grads, value))
        grads = jax.tree.map(lambda leaf: leaf / value.weight, grads)
        squares = jnp.stack([jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(grads)])
        updates, opt_state = optimiser.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        outcome = {
            'total': value.total,
            'weight': value.weight,
            'grad_squares': squares,
            'bad_carry': _parallel.total(_count_bad(new_carry)),
            'bad_params': jnp.stack([_count_bad(leaf) for leaf in jax.tree.leaves(params)]),
        }
        outcome['finite'] = (
            jnp.isfinite(value.total)
            & jnp.all(jnp.isfinite(squares))
            & (outcome['bad_carry'] + jnp.sum(outcome['bad_params']) == 0)
        )
        new = params, opt_state, new_carry
        old = state.params, state.opt_state, carry
        params, opt_state, carry = jax.tree.map(
            lambda a, b: jnp.where(outcome['finite'], a, b), new, old
        )
        return Replicated(params, opt_state, state.key, state.step + 1), carry, outcome

    return update


def _gradients(
    loss: Callable[..., tuple[losses.WeightedSum, chex.ArrayTree]],
    params: chex.ArrayTree,
    batch: chex.ArrayTree,
    carry: chex.ArrayTree,
    keys: chex.Array,
    parts: int,
) -> tuple[chex.ArrayTree, losses.WeightedSum, chex.ArrayTree]:
    """Returns the gradient of the summed loss of this device's rows, the loss, and the carry."""

    def objective(params: chex.ArrayTree, rows: tuple) -> tuple:
        value, new_carry = loss(params, *rows)
        return value.total, (value, new_carry)

    def one_part(rows: tuple) -> tuple:
        grads, (value, new_carry) = jax.grad(objective, has_aux=True)(params, rows)
        return (grads, value), new_carry

    if parts == 1:
        (grads, value), carry = one_part((batch, carry, keys))
        return grads, value, carry

    def add(sums: tuple, rows: tuple) -> tuple:
        part, new_carry = one_part(rows)
        return jax.tree.map(jnp.add, sums, part), new_carry

    rows = _cut(batch, 1, parts), _cut(carry, 0, parts), _cut(keys, 0, parts)
    shapes = jax.eval_shape(one_part, jax.tree.map(lambda x: x[0], rows))[0]
    sums = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    carries: chex.ArrayTree
    (grads, value), carries = jax.lax.scan(add, sums, rows)
    return grads, value, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), carries)


def _cut(tree: chex.ArrayTree, axis: int, parts: int) -> chex.ArrayTree:
    """Cuts the rows on an axis into parts: [..., B / n, ...] -> [A, ..., B / n / A, ...]."""

    def cut(x: chex.Array) -> chex.Array:
        shape = *x.shape[:axis], parts, -1, *x.shape[axis + 1 :]
        return jnp.moveaxis(x.reshape(shape), axis, 0)

    return jax.tree.map(cut, tree)


def _row_keys(state: Replicated, batch: chex.ArrayTree) -> chex.Array:
    """Returns a key for each of this device's rows, by its place in the global batch, [B / n]."""
    rows = _parallel.global_rows(jax.tree.leaves(batch)[0].shape[1])
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, rows)


def _count_bad(tree: chex.ArrayTree) -> chex.Array:
    counts = [jnp.sum(~jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    return sum(counts, jnp.zeros((), jnp.int32))


def _first_bad(outcome: Mapping[str, Any], params: chex.ArrayTree) -> str:
    """Returns the name of the first thing in an update that was not finite."""
    if not math.isfinite(outcome['total']):
        return 'the loss'
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    for name, square in zip(names, outcome['grad_squares'], strict=True):
        if not math.isfinite(square):
            return f'the gradient of {name}'
    if outcome['bad_carry']:
        return 'the carried state'
    return f'the parameter {names[int(np.argmax(outcome["bad_params"] > 0))]}'


def _gather(device_state: Any) -> TrainState:
    replicated, carry = device_state
    return TrainState(_parallel.to_host(replicated), _parallel.merge(carry))


class Meter:
    """Sums what the updates report between two lines of the log, and the time they took."""

    def __init__(self) -> None:
        """Starts empty."""
        self.restart()

    def restart(self) -> None:
        """Forgets everything and starts the clock."""
        self.steps, self._total, self._weight, self._grad_norm = 0, 0.0, 0.0, 0.0
        self._start = time.monotonic()

    def add(self, outcome: Mapping[str, Any]) -> None:
        """Adds one update."""
        self.steps += 1
        self._total += float(outcome['total'])
        self._weight += float(outcome['weight'])
        self._grad_norm += math.sqrt(float(np.sum(outcome['grad_squares'])))

    def read(self, unit: str) -> dict[str, float]:
        """Returns the means since the last reading and starts anew."""
        seconds = max(time.monotonic() - self._start, 1e-9)
        loss = self._total / self._weight
        values = {
            'loss': loss,
            'perplexity': _report.perplexity(loss),
            f'{unit}_per_second': self._weight / seconds,
            'grad_norm': self._grad_norm / self.steps,
            'seconds': seconds,
        }
        self.restart()
        return values

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stops the clock for what is no training."""
        start = time.monotonic()
        yield
        self._start += time.monotonic() - start
