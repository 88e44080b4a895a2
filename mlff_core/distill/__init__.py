"""Distillation: losses, training, judging."""
