"""Potentials, which predict energies and forces: the interface, its checks, and the potentials of the core."""
