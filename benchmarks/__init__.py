"""Measurements of speed, training, engines and physics: ``python -m benchmarks`` lists them."""
