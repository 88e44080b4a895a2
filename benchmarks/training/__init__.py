"""Benchmarks of training: cost of a step, and influence of data, loss and network on the errors."""
