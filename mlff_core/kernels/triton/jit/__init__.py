"""The GPU kernels in Triton. Shapes are in the docstrings of the functions that launch them, in the parent folder."""
