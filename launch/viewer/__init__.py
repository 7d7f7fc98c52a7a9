"""Episodes in a terminal or as a GIF, for `launch.play`."""
