"""Comparisons of runs, with published numbers."""
