"""Data and worlds of the paper's experiments; independent of the library and the programs."""
