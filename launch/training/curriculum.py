"""The flags of a curriculum, whatever its levels are; see `task.Curriculum`."""

import dataclasses
from typing import ClassVar

from launch.runs import flags


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
