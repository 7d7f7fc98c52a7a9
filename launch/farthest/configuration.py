"""The flags of Nth Farthest."""

import dataclasses
from typing import ClassVar, Literal

from launch.farthest import smaller
from launch.runs import flags
from launch.training import cores, experiment
from launch.training import curriculum as curriculum_lib

_SHARE = 0.4


@dataclasses.dataclass(frozen=True)
class Config(cores.Config, curriculum_lib.Config, experiment.Config):
    """Nth Farthest; see --preset=paper for Santoro et al. 2018, appendix A.1."""

    GROUPS: ClassVar = {
        'data': '*',
        'model': 'head one_hot_scale',
        'training': 'answers curriculum curriculum_share',
        'evaluation': 'evaluation_size final_evaluation_size',
    }

    num_objects: int = flags.flag(8, 'vectors of a sequence', 'fixed', 2, 1000)
    num_dims: int = flags.flag(16, 'dimensions of a vector', 'fixed', 1, 10_000)
    head: Literal['mlp', 'distances'] = flags.flag(
        'mlp',
        "mlp, the paper's, or distances, with auxiliary losses",
        'fixed',
    )
    answers: Literal['asked', 'every_n'] = flags.flag(
        'asked',
        "mlp: what is learned of a sequence, the paper's answer, or the answers for every n",
        'fixed',
    )
    one_hot_scale: float = flags.flag(
        1.0, 'what labels, n and m are multiplied by for the network', 'fixed', 0.001, 1000
    )
    curriculum: str = flags.flag(
        '',
        'smaller tasks to begin with, VECTORSxDIMENSIONS,..., such as 3x1,4x1; none by default',
        'fixed',
    )
    curriculum_share: float = flags.flag(
        _SHARE, 'with a curriculum: share of updates on any level up to the present', 'fixed', 0, 1
    )
    evaluation_size: int = flags.flag(
        3200, 'held-out sequences of an evaluation in training', 'free', 1, 10_000_000
    )
    final_evaluation_size: int = flags.flag(
        100_000, 'those of the evaluation at the end and of --mode=evaluate', 'free', 1, 10_000_000
    )

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        cores.Config.__post_init__(self)
        experiment.Config.__post_init__(self)
        for name, plain in (('curriculum', ''), ('answers', 'asked')):
            if getattr(self, name) != plain and self.head != 'mlp':
                raise ValueError(f'--{name}: wanted --head=mlp with it, got {self.head}')
        if self.curriculum_share != _SHARE and not self.curriculum:
            raise ValueError('--curriculum_share: wanted --curriculum with it, got none')
        try:
            smaller.parse(self.curriculum, self.whole)
        except ValueError as error:
            raise ValueError(f'--curriculum: {error}') from error

    @property
    def levels(self) -> tuple[smaller.Sizes, ...]:
        """The tasks of the curriculum, of which the last is the whole one; () without it."""
        return smaller.parse(self.curriculum, self.whole)

    @property
    def whole(self) -> smaller.Sizes:
        """The sizes of the task."""
        return smaller.Sizes(self.num_objects, self.num_dims)

    @property
    def input_size(self) -> int:
        """The size of a step's input: a vector, its label, n and m."""
        return self.num_dims + 3 * self.num_objects
