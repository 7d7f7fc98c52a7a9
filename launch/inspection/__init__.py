"""The attention, gates and memory of a trained core, for `launch.attention`."""
