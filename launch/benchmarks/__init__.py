"""Speed of the core and of the environments, for `launch.benchmark`."""
