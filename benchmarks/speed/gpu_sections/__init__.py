"""The sections of the GPU benchmark; ``python -m benchmarks gpu`` runs them."""
