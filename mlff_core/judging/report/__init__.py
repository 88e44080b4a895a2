"""Plots and one self-contained page of the results."""
