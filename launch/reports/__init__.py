"""Comparisons of runs with one another and with published numbers, for `launch.report`."""
