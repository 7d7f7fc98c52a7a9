"""What every run needs, from flags to exit: directory, checkpoints, metrics, signals, pictures."""
