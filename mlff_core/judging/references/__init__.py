"""Reference energies of a level above any teacher: interactions of complexes, relative energies of conformers."""
