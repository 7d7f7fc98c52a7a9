"""The flags of a curriculum, whatever its levels are; see `task.Curriculum`."""

from collections.abc import Callable
import dataclasses
from typing import ClassVar

import chex

from launch.runs import flags
from launch.training import task


@dataclasses.dataclass(frozen=True)
class Config:
    """When the level of a curriculum rises."""

    GROUPS: ClassVar = {'training': '*'}

    curriculum_every: int = flags.flag(
        500, 'with a curriculum: updates between evaluations of its level', 'fixed', 1
    )
    curriculum_threshold: float = flags.flag(
        0.95, 'with a curriculum: accuracy on held-out data of a level to advance', 'fixed', 0, 1
    )
    curriculum_patience: int = flags.flag(
        20, 'with a curriculum: evaluations without success after which it advances', 'fixed', 1
    )

    def make_curriculum(
        self,
        num_levels: int,
        score: Callable[[chex.ArrayTree, int], float],
        earlier_share: float = 0.0,
    ) -> task.Curriculum:
        """Returns the curriculum of these flags; the arguments are its fields."""
        return task.Curriculum(
            self.curriculum_every,
            num_levels,
            self.curriculum_patience,
            self.curriculum_threshold,
            score,
            earlier_share,
        )
