"""The shipped students and their cards."""
