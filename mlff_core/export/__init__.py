"""Writing a student in other formats, and proof that the numbers stay the same."""
