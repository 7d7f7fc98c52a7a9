"""The training loop of every supervised program.

A program says what its task is (`update_lib.Task`: parameters, loss, batches, evaluation) and
this loop does the rest: Adam or RMSProp with clipping and a schedule on all devices of all
processes, truncated backpropagation through a carried state, progress, metrics, checkpoints,
signals, and what happens when a number is not finite.

Everything that steers training is a function of (configuration, seed, step), so a run that was
stopped at any moment and started again ends in the same bytes as one that never stopped, however
often it logs, evaluates or saves.

A program whose configuration names several seeds trains a network from each, side by side; network
i ends, to rounding, where it would have ended alone. What is logged are means over them.

Glossary of shapes:
  B: batch size; n: devices; S: networks.
"""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import time
from typing import Any, Literal

import chex
import jax
import numpy as np
import optax

from launch.runs import checkpoint, display, errors, flags, signals
from launch.runs import metrics as metrics_lib
from launch.runs import progress as progress_lib
from launch.training import devices
from launch.training import seeds as seeds_lib
from launch.training import update as update_lib

MAX_SKIPPED = 10  # updates in a row that are not finite


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags that every supervised program has."""

    run_dir: str | None = flags.flag(
        None, 'folder of checkpoints, metrics and plots; default runs/PROGRAM-...', 'free'
    )
    seed: int = flags.flag(0, 'of all randomness', 'fixed', minimum=0)
    num_steps: int = flags.flag(10_000, 'updates in all', 'warn', minimum=1)
    batch_size: int = flags.flag(32, 'sequences in a batch, over all devices', 'fixed', minimum=1)
    accumulate: int = flags.flag(
        1, "parts of a device's batch, one after the other, to save memory", 'warn', minimum=1
    )
    optimizer: Literal['adam', 'rmsprop'] = flags.flag(
        'adam', 'rmsprop is with a decay of 0.99', 'fixed'
    )
    rmsprop_epsilon: float = flags.flag(
        1e-8, 'rmsprop: added to the mean square, under the root', 'warn', minimum=0
    )
    learning_rate: float = flags.flag(1e-3, "the optimizer's step size", 'warn', minimum=0)
    schedule: Literal['constant', 'cosine'] = flags.flag('constant', 'of the step size', 'warn')
    warmup_steps: int = flags.flag(0, 'updates until the full step size', 'warn', minimum=0)
    clip_norm: float = flags.flag(
        0.1, 'global norm that gradients are clipped to; 0 for no clipping', 'warn', minimum=0
    )
    on_nonfinite: Literal['stop', 'skip'] = flags.flag(
        'stop', 'at an update with NaN or Inf', 'free'
    )
    log_every: int = flags.flag(50, 'updates between lines of metrics', 'free', minimum=1)
    evaluate_every: int = flags.flag(500, 'updates between evaluations', 'free', minimum=1)
    save_every: int = flags.flag(500, 'updates between checkpoints', 'free', minimum=1)
    keep: int = flags.flag(3, 'checkpoints that stay', 'free', minimum=1)

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        flags.check(self)

    def seeds(self) -> range:
        """Returns the seed of each network.

        There are several only in programs whose task is drawn on the device and has no carry.
        """
        return range(self.seed, self.seed + 1)


def optimizer(config: Config) -> optax.GradientTransformation:
    """Returns Adam or RMSProp with the configuration's schedule, after clipping by global norm.

    Its state has the same structure whatever the rest of the configuration.
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
    if config.optimizer == 'rmsprop':
        return optax.chain(clip, optax.rmsprop(rate, decay=0.99, eps=config.rmsprop_epsilon))
    return optax.chain(clip, optax.adam(rate))


def train(
    config: Config,
    task: update_lib.Task,
    run_dir: str,
    metadata: Mapping[str, Any],
) -> update_lib.TrainState:
    """Trains to `config.num_steps`, from the newest checkpoint in `run_dir` if there is one.

    Args:
      config: the flags.
      task: what to train.
      run_dir: the run's directory, owned by the caller.
      metadata: what to keep beside the state of a checkpoint, 'config' among it.

    Returns:
      The final state, as host arrays.

    Raises:
      RunError: after a signal (the state is saved), an update that is not finite, saves that fail,
        or a checkpoint that does not fit.
    """
    devices.check_batch_size(config.batch_size, config.accumulate)
    checkpointer = checkpoint.Checkpointer(run_dir, keep=config.keep)
    state = initial_state(config, task.init, task.initial_carry, task.curriculum is not None)
    restored = checkpointer.restore(state) if devices.is_first() else None
    state = devices.share(restored.state if restored else state)
    first = int(state.replicated.step)
    if first:
        print(f'goes on from update {first}')
    with (
        metrics_lib.Metrics(run_dir, first) as metrics,
        progress_lib.Progress() as progress,
    ):
        loop = _Loop(config, task, checkpointer, metrics, progress, metadata)
        return loop.run(state, first)


def restore(
    config: Config,
    init: Callable[[chex.PRNGKey], chex.ArrayTree],
    initial_carry: chex.ArrayTree,
    run_dir: str,
    has_levels: bool = False,
) -> update_lib.TrainState:
    """Returns the state of the newest whole checkpoint of a run.

    Args:
      config: the flags of the run.
      init: as in `Task`.
      initial_carry: as in `Task`.
      run_dir: the run's directory, owned by the caller.
      has_levels: whether the task has a curriculum.

    Raises:
      RunError: there is none that is whole and fits.
    """
    template = initial_state(config, init, initial_carry, has_levels)
    restored = checkpoint.Checkpointer(run_dir, keep=config.keep).restore(template)
    if restored is None:
        raise errors.RunError(errors.BAD_DATA, f'--run_dir={run_dir}: has no checkpoint')
    return restored.state


def initial_state(
    config: Config,
    init: Callable[[chex.PRNGKey], chex.ArrayTree],
    initial_carry: chex.ArrayTree,
    has_levels: bool = False,
) -> update_lib.TrainState:
    """Returns the state before the first update, on the host."""
    networks = []
    for seed in config.seeds():
        key = jax.random.key(seed)
        params = init(jax.random.fold_in(key, 0))
        key_data = jax.random.key_data(jax.random.fold_in(key, 1))
        networks.append((params, optimizer(config).init(params), key_data))
    params, opt_state, key_data = seeds_lib.stack(networks)
    replicated = update_lib.Replicated(params, opt_state, key_data, np.zeros((), np.int32))
    level = np.zeros(2, np.int32) if has_levels else ()
    return jax.tree.map(np.asarray, update_lib.TrainState(replicated, initial_carry, level))


class _Loop:
    """The loop and what it needs at every step."""

    def __init__(
        self,
        config: Config,
        task: update_lib.Task,
        checkpointer: checkpoint.Checkpointer,
        metrics: metrics_lib.Metrics,
        progress: progress_lib.Progress,
        metadata: Mapping[str, Any],
    ):
        self._config = config
        self._task = task
        self._checkpointer = checkpointer
        self._metrics = metrics
        self._progress = progress
        self._metadata = metadata
        self._meter = Meter(task)
        self._pace = _Pace()
        self._skipped = [0] * len(config.seeds())  # in a row, by each network
        self._level: Any = ()  # of the task's curriculum, as in `update_lib.TrainState`

    def run(self, state: update_lib.TrainState, first: int) -> update_lib.TrainState:
        """Runs the steps from `first` on and returns the final state on the host."""
        config = self._config
        update = self._compile()
        rows = devices.own_rows(config.batch_size)
        carry = jax.tree.map(lambda x: x[rows], state.carry)
        device_state = [state.replicated, devices.split(carry, axis=0)]
        step, self._level = first, state.level
        work = self._work(step) if step < config.num_steps else None
        self._progress.step(step, config.num_steps, None)
        self._meter.restart()
        with signals.deferred():
            while step < config.num_steps:
                *device_state, outcome = update(*device_state, work)
                asks = self._asks_curriculum(step + 1)
                if self._task.batch and step + 1 < config.num_steps and not asks:
                    work = self._work(step + 1)  # while the device works
                outcomes = seeds_lib.split(devices.to_host(outcome), len(self._skipped))
                self._pace.end()
                step += int(outcomes[0].made) + (not outcomes[0].fault['finite'])  # equal in all
                for network, each in enumerate(outcomes):
                    self._meter.add(each)
                    self._check(step, network, each, state.replicated.params)
                if asks:
                    self._advance(step, device_state[0].params)
                self._after(step, device_state, last=step == config.num_steps)
                if (self._task.sample or asks) and step < config.num_steps:
                    work = self._work(step)
        return _gather(device_state, self._level)

    def _compile(self) -> Any:
        """Compiles what one call to the devices does."""
        config, task = self._config, self._task
        optimiser = optimizer(config)
        if task.sample is None:
            return devices.compile_update(
                update_lib.make_update(task, optimiser, config.accumulate)
            )
        sizes = config.accumulate, config.batch_size, len(config.seeds())
        return devices.compile_update(update_lib.make_updates(task, task.sample, optimiser, *sizes))

    def _work(self, step: int) -> Any:
        """Returns what the next call works on: a batch, or how many batches to draw."""
        if self._task.batch:
            level = (int(self._level[0]),) if self._task.curriculum else ()
            return devices.split(self._task.batch(step, *level), axis=1)
        config = self._config
        every = config.log_every, config.evaluate_every, config.save_every, config.num_steps
        due = min(-(-(step + 1) // interval) * interval for interval in every)
        count = min(due, config.num_steps) - step
        count = devices.share_record(self._pace.begin(count))
        return np.full(jax.local_device_count(), count, np.int32)

    def _asks_curriculum(self, step: int) -> bool:
        """Returns whether the level of the batches after `step` updates has yet to be told."""
        curriculum = self._task.curriculum
        if curriculum is None or self._level[0] + 1 == curriculum.num_levels:
            return False
        return step % curriculum.every == 0

    def _advance(self, step: int, params: chex.ArrayTree) -> None:
        """Goes to the curriculum's next level if that is due; a signal waits for it."""
        curriculum = self._task.curriculum
        assert curriculum
        level, looks = self._level.tolist()
        with self._meter.paused():
            passes = curriculum.passes(devices.to_host(params), level)
            passes = bool(devices.share_record(int(passes)))  # as process 0 has it
        due = passes or looks + 1 == curriculum.patience
        self._level = np.asarray([level + 1, 0] if due else [level, looks + 1], np.int32)
        if due:
            self._metrics.write(step, {'level': level + 1})
            reason = '' if passes else f', not learned after {curriculum.patience} looks'
            where = f'step {step}/{self._config.num_steps}'
            self._progress.say(f'{where}  level {level} -> {level + 1}{reason}')

    def _after(self, step: int, device_state: list[Any], last: bool) -> None:
        """Logs, evaluates and saves what is due after a step."""
        config = self._config
        values = None
        if (step % config.log_every == 0 or last) and self._meter.steps:
            values = self._meter.read()
            self._metrics.write(step, values)
        perplexity = ('perplexity',) if self._task.perplexity else ()
        means = *self._task.names, *self._task.ratios
        shown = ('loss', *perplexity, *means, f'{self._task.unit}_per_second')
        logged = values and {name: values[name] for name in shown if name in values}
        self._progress.step(step, config.num_steps, logged)
        with self._meter.paused():
            if (step % config.evaluate_every == 0 or last) and not signals.received():
                self._evaluate(step, device_state[0].params)
            received = self._received()  # read once: a later one ends the next update
            if step % config.save_every == 0 or last or received:
                self._save(step, device_state, needed=last or received is not None)
        if received and not last:
            message = f'stopped by {received} after update {step}, saved'
            message += '; run the same command again to resume'
            raise errors.RunError(errors.INTERRUPTED, message)

    def _received(self) -> str | None:
        """Returns the name of a signal that came to this process, or that one came to another."""
        received = signals.received()
        anywhere = devices.any_process(received is not None)
        return received or ('a signal to another process' if anywhere else None)

    def _evaluate(self, step: int, params: chex.ArrayTree) -> None:
        seeds = self._config.seeds()
        try:
            with signals.allowed():
                networks = seeds_lib.split(devices.to_host(params), len(seeds))
                values = [self._task.evaluate(each) for each in networks]
        except signals.Interrupted:  # what is saved next is none the worse for it
            return
        self._metrics.write(step, seeds_lib.summarise(seeds, values))
        self._progress.say(f'step {step}/{self._config.num_steps}  {seeds_lib.describe(values)}')

    def _save(self, step: int, device_state: list[Any], needed: bool) -> None:
        state = _gather(device_state, self._level)
        saved = not devices.is_first() or self._checkpointer.save(step, state, self._metadata)
        if needed and devices.any_process(not saved):
            message = f'the state after update {step} could not be saved; free some space and rerun'
            raise errors.RunError(errors.CANNOT_SAVE, message)

    def _check(
        self, step: int, network: int, outcome: update_lib.Outcome, params: chex.ArrayTree
    ) -> None:
        """Reports an update that was not made because a number in it was not finite.

        The other networks have made theirs; where one stops, all stop.
        """
        if outcome.fault['finite']:
            self._skipped[network] = 0
            return
        skipped = self._skipped[network] = (0 if outcome.made else self._skipped[network]) + 1
        alone = len(self._skipped) == 1
        where = '' if alone else f', seed {self._config.seeds()[network]}'
        what = (
            f'update {step}{where}: {update_lib.first_fault(outcome.fault, params)} is not finite'
        )
        if self._config.on_nonfinite == 'stop' or skipped == MAX_SKIPPED:
            reason = '' if skipped < MAX_SKIPPED else f', {skipped} updates in a row'
            reason += '' if alone else '; all networks stop'
            remedy = 'nothing of it was saved; try a smaller --learning_rate or --clip_norm'
            raise errors.RunError(errors.INTERNAL, f'{what}{reason}; {remedy}')
        others = '' if alone else '; the other networks go on'
        self._progress.say(f'{what}; skipped, {skipped} in a row{others}')


def _gather(device_state: Any, level: Any) -> update_lib.TrainState:
    replicated, carry = device_state
    return update_lib.TrainState(devices.to_host(replicated), devices.merge(carry), level)


class _Pace:
    """How many updates a call makes: what takes about a second, for signals wait that long."""

    def __init__(self) -> None:
        self._count, self._start = 1, 0.0

    def begin(self, count: int) -> int:
        """Returns how many updates the next call makes, at most `count`."""
        self._start = time.monotonic()
        return min(count, self._count)

    def end(self) -> None:
        """Learns from the time that the call took."""
        seconds = time.monotonic() - self._start
        if seconds < 0.5:
            self._count = min(2 * self._count, 1 << 20)
        elif seconds > 1:
            self._count = max(1, self._count // 2)


class Meter:
    """Sums what the updates report between two lines of the log, and the time they took."""

    def __init__(self, task: update_lib.Task) -> None:
        """Starts empty, for what the task's updates report."""
        self._task = task
        self.restart()

    def restart(self) -> None:
        """Forgets everything and starts the clock."""
        self.steps, self._total, self._weight, self._grad_norm = 0, 0.0, 0.0, 0.0
        members = [name for ratio in self._task.ratios.values() for name in ratio]
        self._sums = dict.fromkeys((*self._task.names, *members), 0.0)
        self._start = time.monotonic()

    def add(self, outcome: update_lib.Outcome) -> None:
        """Adds the updates of one call."""
        self.steps += int(outcome.made)
        self._total += float(outcome.total)
        self._weight += float(outcome.weight)
        self._grad_norm += float(outcome.grad_norm)
        for name, value in outcome.sums.items():
            self._sums[name] += float(value)

    def read(self) -> dict[str, float]:
        """Returns the means since the last reading, without ratios to 0, and starts anew."""
        seconds = max(time.monotonic() - self._start, 1e-9)
        loss, sums = self._total / self._weight, self._sums
        values = {
            'loss': loss,
            **({'perplexity': display.perplexity(loss)} if self._task.perplexity else {}),
            **{name: sums[name] / self._weight for name in self._task.names},
            **{
                name: sums[part] / sums[whole]
                for name, (part, whole) in self._task.ratios.items()
                if sums[whole]
            },
            f'{self._task.unit}_per_second': self._weight / seconds,
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
