"""Benchmarks of engines and file formats."""
