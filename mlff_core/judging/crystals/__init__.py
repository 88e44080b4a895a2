"""Properties of crystals that follow from a potential, beside experiment: lattice, elasticity, defects, phonons."""
