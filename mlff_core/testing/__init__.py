"""Structures, reference potentials and contracts, shipped so that other packages can run them too."""
