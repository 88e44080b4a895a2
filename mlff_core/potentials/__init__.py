"""Whatever predicts energies and forces: the interface, its checks, and the potentials and wrappers of the core."""
