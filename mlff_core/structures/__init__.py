"""Inputs and outputs of a potential: batches, predictions, neighbours, and structures read from files."""
