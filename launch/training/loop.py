"""The training loop of every program.

A program describes its task (`task.Task`: parameters, loss, batches, evaluation) and this loop does
the rest, on all devices of all processes: updates, a state that is carried from batch to
batch, progress, metrics, checkpoints, signals, and what happens when a number is not finite.

Everything that steers training is a function of (configuration, seed, step), so a run that was
stopped at any step and resumed ends in the same bytes as one that never stopped, however often
it logs, evaluates or saves.

Glossary of shapes:
  B: batch size; n: devices.
"""

from collections.abc import Callable, Mapping
import contextlib
import dataclasses
import time
from typing import Any, ClassVar, Literal

import chex
import jax
import numpy as np

from launch.runs import checkpoint, display, errors, flags, progress, signals
from launch.runs import metrics as metrics_lib
from launch.training import devices
from launch.training import meter as meter_lib
from launch.training import optimizer as optimizer_lib
from launch.training import task as task_lib
from launch.training import update as update_lib

MAX_SKIPPED = 10  # updates in a row that are not finite


@dataclasses.dataclass(frozen=True)
class Config(optimizer_lib.Config):
    """The flags of the loop."""

    GROUPS: ClassVar = {
        'training': '*',
        'run': 'run_dir seed log_every save_every keep',
        'evaluation': 'evaluate_every',
    }

    run_dir: str | None = flags.flag(
        None,
        'folder of checkpoints, metrics and plots; default runs/PROGRAM-...',
        'free',
        path=True,
    )
    seed: int = flags.flag(0, 'of all randomness', 'fixed', 0)
    num_steps: int = flags.flag(10_000, 'updates in all', 'warn', 1)
    batch_size: int = flags.flag(32, 'sequences in a batch, over all devices', 'fixed', 1, 100_000)
    accumulate: int = flags.flag(
        1, "parts of a device's batch, one after the other, to save memory", 'warn', 1, 100_000
    )
    on_nonfinite: Literal['stop', 'skip'] = flags.flag(
        'stop', 'what to do after an update with NaN or Inf', 'free'
    )
    log_every: int = flags.flag(50, 'updates between lines of metrics', 'free', 1)
    evaluate_every: int = flags.flag(500, 'updates between evaluations', 'free', 1)
    save_every: int = flags.flag(500, 'updates between checkpoints', 'free', 1)
    keep: int = flags.flag(3, 'checkpoints that are kept', 'free', 1)


def train(
    config: Config, task: task_lib.Task, run_dir: str, metadata: Mapping[str, Any]
) -> update_lib.TrainState:
    """Trains to `config.num_steps`, from the newest checkpoint in `run_dir` if there is one.

    Args:
      config: the flags.
      task: what to train.
      run_dir: the run's directory, owned by the caller.
      metadata: what a checkpoint keeps in addition to the state, such as the configuration.

    Returns:
      The final state, as host arrays.

    Raises:
      RunError: after a signal (the state is saved), an update that is not finite, saves that fail,
        or a checkpoint that does not fit.
    """
    devices.check_batch_size(config.batch_size, config.accumulate)
    checkpointer = checkpoint.Checkpointer(run_dir, keep=config.keep)
    state = initial_state(config, task)
    restored = checkpointer.restore(state) if devices.is_primary() else None
    state = devices.broadcast(restored.state if restored else state)
    first = int(state.step)
    if first:
        print(f'resumes from the checkpoint of update {first}')
    with (
        metrics_lib.Metrics(run_dir, first) as metrics,
        progress.Progress() as bar,
    ):
        return _Loop(config, task, checkpointer, metrics, bar, metadata).run(state)


def initial_state(config: Config, task: task_lib.Task, host: bool = True) -> update_lib.TrainState:
    """Returns the state before the first update, as host arrays unless it is only traced."""
    key = jax.random.key(config.seed)
    params = task.init(jax.random.fold_in(key, 0))
    opt_state = optimizer_lib.make(config, config.num_steps).init(params)
    key_data = jax.random.key_data(jax.random.fold_in(key, 1))
    step = np.zeros((), np.int32)
    level = np.zeros(2, np.int32) if task.curriculum else ()
    state = update_lib.TrainState(params, opt_state, key_data, step, task.initial_carry(), level)
    return jax.tree.map(np.asarray, state) if host else state


class _Loop:
    """The loop and what it needs at every step."""

    def __init__(
        self,
        config: Config,
        task: task_lib.Task,
        checkpointer: checkpoint.Checkpointer,
        metrics: metrics_lib.Metrics,
        bar: progress.Progress,
        metadata: Mapping[str, Any],
    ):
        self._config = config
        self._task = task
        self._checkpointer = checkpointer
        self._metrics = metrics
        self._bar = bar
        self._metadata = metadata
        self._meter = meter_lib.Meter(task)
        self._pace = _Pace()
        self._skipped = 0  # updates in a row
        self._diagnose: Any = None  # compiled when an update is not finite
        self._level: list[int] = []  # of the curriculum, and evaluations without success

    def run(self, state: update_lib.TrainState) -> update_lib.TrainState:
        """Runs the steps that are left and returns the final state on the host."""
        config, step = self._config, int(state.step)
        update = _Update(self._compile(state), self._bar, self._meter)
        self._bar.step(step, config.num_steps, None)
        self._level = np.asarray(state.level, np.int32).tolist()
        state = devices.place(state)
        work = self._work(step) if step < config.num_steps else None
        self._meter.restart()
        with signals.deferred():  # all the time, for each is answered after an update, saved
            while step < config.num_steps:
                state, report = update(state, work)
                following = None
                prefetches = self._task.batch and step + 1 < config.num_steps
                if prefetches and not self._asks_curriculum(step + 1):
                    following = self._work(step + 1)  # while the device works
                report = devices.to_host(report)
                self._pace.end()
                step += int(report.num_updates) + (not report.finite)
                self._meter.add(report)
                self._check(step, report, state, work)
                if self._asks_curriculum(step):
                    state = self._advance(step, state)
                self._after(step, state)
                if following is None and step < config.num_steps:
                    following = self._work(step)
                work = following
        return devices.gather(state)

    def _compile(self, state: update_lib.TrainState, diagnosis: bool = False) -> Any:
        """Compiles what one call to the devices does."""
        make: Callable[..., Any] = update_lib.make_update
        if diagnosis:
            make = update_lib.make_diagnosis
        elif self._task.sample:
            make = update_lib.make_sampled_updates
        config = self._config
        optimizer = optimizer_lib.make(config, config.num_steps)
        update = make(self._task, optimizer, config.batch_size, config.accumulate)
        return devices.compile_update(update, state, donate=not diagnosis)

    def _work(self, step: int) -> Any:
        """Returns what the next call works on: a batch, or how many batches to sample."""
        if self._task.batch:
            return devices.split(self._task.batch(step, *self._level[:1]), axis=1)
        config = self._config
        every = [config.log_every, config.evaluate_every, config.save_every, config.num_steps]
        if self._task.curriculum:
            every.append(self._task.curriculum.every)
        due = min(-(-(step + 1) // interval) * interval for interval in every)
        count = min(due, config.num_steps) - step
        count = devices.broadcast_json(self._pace.begin(count))
        return np.full(jax.local_device_count(), count, np.int32)

    def _asks_curriculum(self, step: int) -> bool:
        """Returns whether the level of the batches after `step` updates is still open."""
        curriculum = self._task.curriculum
        if curriculum is None or self._level[0] + 1 == curriculum.num_levels:
            return False
        return step % curriculum.every == 0

    def _advance(self, step: int, state: update_lib.TrainState) -> update_lib.TrainState:
        """Goes to the curriculum's next level if that is due."""
        curriculum = self._task.curriculum
        assert curriculum
        level, failures = self._level
        with self._meter.paused():
            score = float(devices.broadcast_json(curriculum.score(_evaluated(state), level)))
        passes = score >= curriculum.threshold
        due = passes or failures + 1 == curriculum.patience
        self._level = [level + 1, 0] if due else [level, failures + 1]
        self._metrics.write(step, {'level_score': score, 'level': self._level[0]})
        reason = '' if passes else f', not learned after {curriculum.patience} evaluations'
        change = f'level {level} -> {level + 1}{reason}' if due else f'level {level}'
        self._bar.say(f'step {step}/{self._config.num_steps}  {change}  score {score:.4f}')
        return state._replace(level=devices.replicate(np.asarray(self._level, np.int32)))

    def _after(self, step: int, state: update_lib.TrainState) -> None:
        """Logs, evaluates and saves what is due after a step; raises after a signal."""
        config, last = self._config, step == self._config.num_steps
        values = None
        if (step % config.log_every == 0 or last) and self._meter.num_updates:
            values = self._meter.read()
            self._metrics.write(step, values)
        hidden = 'grad_norm', 'seconds'
        shown = values and {name: x for name, x in values.items() if name not in hidden}
        self._bar.step(step, config.num_steps, shown)
        with self._meter.paused():
            if step % config.evaluate_every == 0 or last:
                with contextlib.suppress(signals.Interrupted), signals.allowed():
                    self._evaluate(step, state)
            signal = self._received()  # asked once: a later one ends the next update
            if step % config.save_every == 0 or last or signal:
                self._save(step, state, needed=last or signal is not None)
        if signal and not last:
            raise signals.Interrupted(signal, f' after update {step}, saved')

    def _received(self) -> str | None:
        """Returns the name of a signal that came to this process, or that one came to another."""
        received = signals.received()
        anywhere = devices.any_across_processes(received is not None)
        return received or ('a signal to another process' if anywhere else None)

    def _evaluate(self, step: int, state: update_lib.TrainState) -> None:
        values = self._task.evaluate(_evaluated(state))
        self._metrics.write(step, values)
        self._bar.say(f'step {step}/{self._config.num_steps}  {display.describe(values)}')

    def _save(self, step: int, state: update_lib.TrainState, needed: bool) -> None:
        host = devices.gather(state)
        saved = not devices.is_primary() or self._checkpointer.save(step, host, self._metadata)
        if needed and devices.any_across_processes(not saved):
            message = f'the state after update {step} could not be saved; free some space and rerun'
            raise errors.RunError(errors.CANNOT_SAVE, message)

    def _check(
        self, step: int, report: update_lib.Report, state: update_lib.TrainState, work: Any
    ) -> None:
        """Reports an update that was not made because a number in it was not finite."""
        if report.finite:
            self._skipped = 0
            return
        self._skipped = (0 if report.num_updates else self._skipped) + 1
        self._diagnose = self._diagnose or self._compile(state, diagnosis=True)
        found = devices.to_host(self._diagnose(state, work))
        what = f'update {step}: {update_lib.first_nonfinite(found)} is not finite'
        if self._config.on_nonfinite == 'stop' or self._skipped == MAX_SKIPPED:
            repeated = f', {self._skipped} updates in a row' if self._skipped == MAX_SKIPPED else ''
            remedy = 'nothing of it was saved; try a smaller --learning_rate or --clip_norm'
            raise errors.RunError(errors.INTERNAL, f'{what}{repeated}; {remedy}')
        self._bar.say(f'{what}; skipped, {self._skipped} in a row')


def _evaluated(state: update_lib.TrainState) -> chex.ArrayTree:
    """Returns the parameters to evaluate of a state on the devices, as host arrays."""
    return devices.to_host(optimizer_lib.evaluated(state.params, state.opt_state))


class _Update:
    """Compiles an update for every shape of its arguments, apart from the time of the steps."""

    def __init__(self, update: Any, bar: progress.Progress, meter: meter_lib.Meter) -> None:
        self._update, self._bar, self._meter = update, bar, meter
        self._compiled: dict[Any, Any] = {}  # by the shapes of what is worked on

    def __call__(self, state: update_lib.TrainState, work: Any) -> Any:
        shapes = tuple(np.shape(x) for x in jax.tree.leaves(work))
        if shapes in self._compiled:
            return self._compiled[shapes](state, work)
        with self._meter.paused(), self._bar.compiling():
            if jax.process_count() > 1:  # which JAX compiles only by calling
                self._compiled[shapes] = self._update
                return self._update(state, work)
            self._compiled[shapes] = self._update.lower(state, work).compile()
        return self._compiled[shapes](state, work)


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
