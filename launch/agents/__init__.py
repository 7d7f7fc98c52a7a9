"""What actor-critic agents share: flags, network, rollouts, learning, evaluation."""
