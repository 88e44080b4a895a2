"""Reference energies of a level above any teacher: interactions of complexes and relative energies of conformers."""
