"""Other programs timed beside a model: each in an environment and a process of its own, taking turns on the same input.

A peer is a folder with a ``peer.json`` that names its interpreter and its script (``{"python": "bin/python", "script":
"/path/of/script.py"}``). The script defines two functions, and imports what it likes:

``prepare(system, arguments)``
    Return a function from positions, shape (n_atoms, 3), Å, float64, to energies, shape (n_systems,), eV, and forces,
    shape (n_atoms, 3), eV/Å. Each call is timed as one step, so the search for neighbours belongs inside. ``system``
    has ``numbers`` (n_atoms,), ``cells`` (n_systems, 3, 3) Å, ``pbc`` (n_systems, 3) and ``system_idx`` (n_atoms,).
``describe(arguments)``
    Return a dict for the record: versions, what the model is, how neighbours are found.
"""
