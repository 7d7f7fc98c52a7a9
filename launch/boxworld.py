"""BoxWorld: trains an agent to find keys, open boxes in the right order and take the gem.

  python -m launch.boxworld                                what 2 cores can do
  python -m launch.boxworld --preset=paper                 as the paper trained, for a GPU
  python -m launch.boxworld --preset=paper-conv-lstm       its baseline
  python -m launch.boxworld --viewport=0                   the whole grid is seen
  python -m launch.boxworld --mode=evaluate --run_dir=RUN

Evaluations are of levels that no run trains on, drawn as those that it trains on. The same command
goes on where it was stopped. Levels are drawn anew for every update, `--levels` for each row, of
which the episodes that begin in it take one each: Santoro et al. 2018, "Relational recurrent neural
networks", section 4.3 and appendix A.3, https://arxiv.org/abs/1806.01822.
"""

from launch.agents import agent_run, boxworld_config
from launch.runs import flags, processes

Config = boxworld_config.Config
PRESETS = boxworld_config.PRESETS


def run(config: Config) -> dict[str, float]:
    """Trains or evaluates.

    Args:
      config: the flags.

    Returns:
      'return', 'length' and 'solved', means over levels, with 'return_error' and so on, their
      standard errors; and as 'random_return' and so on those of a policy that rolls dice.
    """
    return agent_run.run(config, boxworld_config.PROGRAM)


if __name__ == '__main__':
    processes.leave(flags.main(Config, run, 'boxworld', PRESETS))
