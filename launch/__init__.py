"""Programs, each run with `python -m launch.NAME`, and what they share (underscored modules)."""
