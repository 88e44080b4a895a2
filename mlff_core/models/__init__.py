"""Models by name and in files: the checkpoint, the registry, the shipped students, and opening any of them."""
