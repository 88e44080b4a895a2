"""Benchmarks of speed, scaling with atoms and threads, and energy drift."""
