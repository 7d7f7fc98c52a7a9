"""The flags of `nth_farthest`, what they may be, and the settings that have a name.

Santoro et al. 2018, "Relational recurrent neural networks", section 4.1 and appendix A.1,
https://arxiv.org/abs/1806.01822, is `--preset=paper`.
"""

import dataclasses
from typing import Any

from launch import _cli, _cores, _processes, _supervised

MODES = ('train', 'evaluate')

# What a run is by name. The paper's best group in its Figure 4 has 8 or 16 slots and 1 head; the
# depth of the MLP is not stated, 2 is the default of the authors' module.
PRESETS: dict[str, dict[str, Any]] = {
    'paper': {
        'mem_slots': 8,
        'total_units': 2048,
        'num_heads': 1,
        'attention_mlp_layers': 2,
        'gate_style': 'unit',
        'batch_size': 1600,
        'learning_rate': 1e-4,
        'schedule': 'constant',
        'warmup_steps': 0,
        'clip_norm': 0.0,
        'distance_weight': 0.0,
        'input_scale': 1.0,
        'curriculum': '',
        'num_steps': 300_000,
        'evaluate_every': 1000,
        'save_every': 1000,
    },
    'cpu': {
        'mem_slots': 8,
        'total_units': 512,
        'num_heads': 1,
        'attention_mlp_layers': 2,
        'gate_style': 'memory',
        'batch_size': 64,
        'learning_rate': 5e-4,
        'schedule': 'cosine',
        'warmup_steps': 500,
        'clip_norm': 1.0,
        'distance_weight': 1.0,
        'input_scale': 3.0,
        'curriculum': '2500,5000,8000,12000',
        'num_steps': 150_000,
        'evaluate_every': 1000,
        'save_every': 1000,
    },
}


@dataclasses.dataclass(frozen=True)
class Config(_cores.Config, _supervised.Config, _processes.Config):
    """Nth Farthest; see --preset=paper for Santoro et al. 2018, appendix A.1."""

    preset: str = _cli.flag('cpu', 'defaults of the other flags: cpu or paper', 'free')
    mode: str = _cli.flag('train', 'train or evaluate', 'free')
    num_objects: int = _cli.flag(8, 'vectors of a sequence', 'identity', minimum=2)
    num_dims: int = _cli.flag(16, 'dimensions of a vector', 'identity', minimum=1)
    input_scale: float = _cli.flag(
        1.0, 'what vectors are multiplied by before the network sees them', 'identity', 0.001, 1000
    )
    distance_weight: float = _cli.flag(
        0.0,
        'training: weight of the auxiliary loss, squared distances from vector m after every step',
        'identity',
        minimum=0,
    )
    curriculum: str = _cli.flag(
        '',
        'training: updates after which vectors get 2, 4, 8, ... dimensions that are not 0, with '
        'commas; empty for all from the start',
        'schedule',
    )
    evaluation_size: int = _cli.flag(
        3200, 'fixed held-out sequences of an evaluation in training', 'free', minimum=1
    )
    final_evaluation_size: int = _cli.flag(
        100_000, 'those of the evaluation at the end and of evaluate', 'free', minimum=1
    )

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        _cores.Config.__post_init__(self)
        _supervised.Config.__post_init__(self)
        _processes.Config.__post_init__(self)
        _cli.choose('mode', self.mode, MODES)
        if self.mode == 'evaluate' and self.run_dir is None:
            raise ValueError('--mode=evaluate: wanted --run_dir=DIR of a trained run, got none')
        if self.mode == 'evaluate' and (self.num_processes or 1) > 1:
            raise ValueError(f'--mode=evaluate: wanted one process, got {self.num_processes}')
        self.curriculum_updates()

    def curriculum_updates(self) -> tuple[int, ...]:
        """Returns the updates at which the number of dimensions in use doubles.

        Raises:
          ValueError: they are no increasing numbers.
        """
        words = self.curriculum.split(',') if self.curriculum else []
        wanted = 'wanted increasing numbers of updates with commas between, like 2000,4500'
        if not all(word.strip().isdecimal() for word in words):
            raise ValueError(f'--curriculum: {wanted}, got {self.curriculum!r}')
        updates = tuple(int(word) for word in words)
        if list(updates) != sorted(set(updates)):
            raise ValueError(f'--curriculum: {wanted}, got {self.curriculum!r}')
        return updates
