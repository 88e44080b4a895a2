"""The parts of the GPU benchmark, by what they measure; ``python -m benchmarks gpu`` runs them."""
