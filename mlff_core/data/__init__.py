"""Data sets: the HDF5 layout, sampling, splits, generation."""
