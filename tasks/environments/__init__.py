"""Environments in pure JAX, and adapters to gymnasium and dm_env."""
