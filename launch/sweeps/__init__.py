"""Grids of runs, for `launch.sweep`."""
