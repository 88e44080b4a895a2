"""The GPU kernels, in Triton. Nothing here is imported before a student asks for them."""
