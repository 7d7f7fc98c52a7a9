"""What every run needs: flags, exit codes, signals, directory, checkpoints, metrics, plots."""
