"""Episodes on a terminal or as a GIF."""
