"""What runs on the GPU. Shapes are in the docstrings of the functions that launch it, one folder up."""
