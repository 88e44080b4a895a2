"""Ways to evaluate a student: the reference in plain torch, and faster kernels that must agree with it."""
