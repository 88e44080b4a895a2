"""Other programs compared with a model: each in its own environment and process, run alternately on the same input.

A peer is a folder with a ``peer.json`` that names its interpreter and its script (``{"python": "bin/python", "script":
"/path/of/script.py"}``). The script may import anything, and defines two functions:

``prepare(system, arguments)``
    Return a function from positions, shape (n_atoms, 3), Å, float64, to energies, shape (n_systems,), eV, and forces,
    shape (n_atoms, 3), eV/Å. Each call is timed as one step, so it must include the neighbour search. ``system``
    has ``numbers`` (n_atoms,), ``cells`` (n_systems, 3, 3) Å, ``pbc`` (n_systems, 3) and ``system_idx`` (n_atoms,).
``describe(arguments)``
    Return a dict for the record: versions, the model, and the neighbour search.
"""
