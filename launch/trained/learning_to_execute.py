"""A trained run of `learning_to_execute`.

Glossary of shapes:
  T: characters of a program; A: characters of an answer; B: programs; V: characters of answers.
"""

from collections.abc import Sequence
import dataclasses
import functools
from typing import Any

import chex
import jax
import numpy as np

from launch import learning_to_execute as program
from launch.executing import learning
from launch.trained import exporting
from launch.trained import run as run_lib
from tasks.learning_to_execute import batches, setting, writing


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LearningToExecute(run_lib.Run):
    """A network that was trained to read programs and to answer with their values."""

    network: learning.Network  # as pure functions of the parameters

    @property
    def setting(self) -> setting.Setting:
        """What the programs are that the network was trained on."""
        return self.config.setting()

    def logits(self, programs: Sequence[str]) -> chex.Array:
        """Returns the logits [A, B, V] of the characters of the answers.

        Args:
          programs: B of them, also longer than in training.

        Raises:
          ValueError: a program is empty or has characters that programs do not have.
        """
        bad = {x for text in programs for x in text} - set(setting.CHARACTERS[1:])
        if bad or not programs or not all(programs):
            wanted = f'wanted programs of the characters {setting.CHARACTERS[1:]!r}'
            raise ValueError(f'{wanted}, got {sorted(bad) or "an empty one, or none"}')
        longest = max(self.setting.input_steps, *map(len, programs))
        ids, lengths = writing.encode(programs, longest)
        return self._logits(self.params, ids.T.astype(np.int32), lengths)

    def predict(
        self, programs: Sequence[str], num_characters: Sequence[int] | None = None
    ) -> list[str]:
        """Returns the answers.

        Args:
          programs: B of them.
          num_characters: the lengths of the answers. Without it an answer ends where the task says:
            at its dot (`--dialect=zaremba`), or, to a text that is repeated, at its known length.
            A network of any other task was not trained to end its answers: they have A characters,
            of which those past the true end mean nothing.

        Raises:
          ValueError: as `logits`.
        """
        predicted = np.argmax(self.logits(programs), axis=-1).T.tolist()
        answers = [writing.decode(ids) for ids in predicted]
        if num_characters is None and self.setting.dialect == 'zaremba':
            return [answer.partition('.')[0] for answer in answers]
        if num_characters is None and self.setting.memorizes:
            num_characters = [len(x) * (1 + (self.setting.task == 'double')) for x in programs]
        ends = num_characters or [self.setting.output_steps] * len(programs)
        return [answer[:end] for answer, end in zip(answers, ends, strict=True)]

    def servable(self) -> exporting.Servable:
        """Returns the network, of 'characters' [T, B] and 'lengths' [B] to 'logits' [A, B, V]."""

        def call(params: chex.ArrayTree, inputs: dict, state: tuple) -> tuple:
            return {'logits': self._apply(params, inputs['characters'], inputs['lengths'])}, state

        shape = f'{self.setting.input_steps}, b'
        inputs = {'characters': ('int32', shape), 'lengths': ('int32', 'b')}
        return exporting.Servable(call, inputs, (), {'characters': setting.CHARACTERS})

    def _apply(
        self, params: chex.ArrayTree, characters: chex.Array, lengths: chex.Array
    ) -> chex.Array:
        answers = np.zeros((self.setting.output_steps, 1), np.int32)
        targets = answers + 0 * lengths
        batch = batches.Batch(characters, lengths[None], targets, targets)
        return self.network.logits(params, batch, False)

    @functools.cached_property
    def _logits(self) -> Any:
        return jax.jit(self._apply)


def load(run_dir: str) -> LearningToExecute:
    """Loads a run of `learning_to_execute`; raises as `loading.load`."""
    loaded: LearningToExecute = run_lib.load(
        LearningToExecute, program.EXPERIMENT, run_dir, learning.make_network
    )
    return loaded
