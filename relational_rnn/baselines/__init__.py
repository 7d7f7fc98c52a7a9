"""Cores to compare the Relational Memory Core with, each an `hk.RNNCore`."""
