"""Models by name and in files: the model file, the registry, the shipped students, and how to open any of them."""
