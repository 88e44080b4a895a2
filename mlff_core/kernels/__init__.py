"""Ways to evaluate a student: the plain-torch reference, which is the truth, and faster variants of it."""
