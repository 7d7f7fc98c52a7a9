"""The flags of `nth_farthest`, what they may be, and the settings that have a name.

Santoro et al. 2018, "Relational recurrent neural networks", section 4.1 and appendix A.1,
https://arxiv.org/abs/1806.01822, is `--preset=paper`.
"""

import dataclasses
from typing import Literal

from launch.runs import flags, processes
from launch.training import cores, loop


@dataclasses.dataclass(frozen=True)
class Config(cores.Config, loop.Config, processes.Config):
    """Nth Farthest; see --preset=paper for Santoro et al. 2018, appendix A.1."""

    preset: str = flags.flag('cpu', 'defaults of the other flags', 'free')
    mode: Literal['train', 'evaluate'] = flags.flag('train', 'what to do', 'free')
    num_seeds: int = flags.flag(
        1,
        'networks trained side by side in one program, from seeds seed, seed + 1, ...',
        'fixed',
        minimum=1,
    )
    num_objects: int = flags.flag(8, 'vectors of a sequence', 'fixed', minimum=2)
    num_dims: int = flags.flag(16, 'dimensions of a vector', 'fixed', minimum=1)
    head: Literal['mlp', 'distances'] = flags.flag(
        'mlp', "what reads the memory: mlp, the paper's, or distances, taught in stages", 'fixed'
    )
    one_hot_scale: float = flags.flag(
        1.0, 'what labels, n and m are multiplied by for the network', 'fixed', 0.001, 1000
    )
    evaluation_size: int = flags.flag(
        3200, 'fixed held-out sequences of an evaluation in training', 'free', minimum=1
    )
    final_evaluation_size: int = flags.flag(
        100_000, 'those of the evaluation at the end and of evaluate', 'free', minimum=1
    )

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        cores.Config.__post_init__(self)
        loop.Config.__post_init__(self)
        processes.Config.__post_init__(self)
        if self.mode == 'evaluate':
            processes.check_reader(self.mode, self.run_dir, self.num_processes)

    def seeds(self) -> range:
        """Returns the seed of each network."""
        return range(self.seed, self.seed + self.num_seeds)


# What a run is by name. The paper's best group in its Figure 4 has 8 or 16 slots and 1 head; the
# depth of the MLP is not stated, 2 is the default of the authors' module.
PRESETS = {
    'cpu': Config(
        preset='cpu',
        mem_slots=16,
        total_units=1024,
        num_heads=1,
        attention_mlp_layers=2,
        gate_style='memory',
        batch_size=64,
        learning_rate=4e-3,
        schedule='cosine',
        warmup_steps=300,
        clip_norm=1.0,
        head='distances',
        one_hot_scale=4.0,
        num_steps=60_000,
        evaluate_every=1000,
        save_every=1000,
    ),
    'paper': Config(
        preset='paper',
        mem_slots=8,
        total_units=2048,
        num_heads=1,
        attention_mlp_layers=2,
        gate_style='unit',
        batch_size=1600,
        learning_rate=1e-4,
        schedule='constant',
        warmup_steps=0,
        clip_norm=0.0,
        head='mlp',
        one_hot_scale=1.0,
        num_steps=300_000,
        evaluate_every=1000,
        save_every=1000,
    ),
    # Four vectors of two dimensions, which takes a minute or two.
    'small': Config(
        preset='small',
        num_objects=4,
        num_dims=2,
        mem_slots=8,
        total_units=512,
        num_heads=1,
        attention_mlp_layers=2,
        gate_style='memory',
        batch_size=64,
        learning_rate=3e-3,
        schedule='cosine',
        warmup_steps=100,
        clip_norm=1.0,
        head='distances',
        one_hot_scale=4.0,
        num_steps=2000,
        evaluate_every=500,
        save_every=500,
        final_evaluation_size=10_000,
    ),
}
