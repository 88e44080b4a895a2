"""Figures and one self-contained page for what judging found."""
