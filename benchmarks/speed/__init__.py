"""How fast a step is, how it grows with atoms and threads, and whether it keeps the energy."""
