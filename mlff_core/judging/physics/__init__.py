"""Physics checks: what no test set shows. Any potential, alone or against any other."""
