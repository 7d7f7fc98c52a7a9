"""Mini PacMan: trains an agent to eat all that lies in a maze and not to be eaten.

  python -m launch.mini_pacman                             what 2 cores can do
  python -m launch.mini_pacman --preset=paper              with the paper's agent, for a GPU
  python -m launch.mini_pacman --preset=paper-lstm         its baseline
  python -m launch.mini_pacman --viewport=0                the whole maze is seen
  python -m launch.mini_pacman --mode=evaluate --run_dir=RUN

Evaluations are of games that no run trains on. The same command goes on where it was stopped.
Santoro et al. 2018, "Relational recurrent neural networks", sections 4.3 and 5.3,
https://arxiv.org/abs/1806.01822, who do not state the agent of this game: `paper` takes the one of
their BoxWorld.
"""

from launch.agents import agent_run, mini_pacman_config
from launch.runs import flags, processes

Config = mini_pacman_config.Config
PRESETS = mini_pacman_config.PRESETS


def run(config: Config) -> dict[str, float]:
    """Trains or evaluates.

    Args:
      config: the flags.

    Returns:
      'return' and 'length', means over games, with 'return_error' and 'length_error', their
      standard errors; and as 'random_return' and so on those of a policy that rolls dice.
    """
    return agent_run.run(config, mini_pacman_config.PROGRAM)


if __name__ == '__main__':
    processes.leave(flags.main(Config, run, 'mini_pacman', PRESETS))
