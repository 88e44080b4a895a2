"""Ways to make geometries of crystals: supercells, strain, heat, defects, surfaces, disorder, melts."""
