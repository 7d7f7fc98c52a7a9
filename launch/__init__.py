"""Programs, each run with `python -m launch.NAME`, and in folders what programs share."""
