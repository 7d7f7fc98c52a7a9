"""Data and environments of the paper's experiments; independent of the library and the programs."""
