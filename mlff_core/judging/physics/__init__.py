"""Physics checks of properties that test sets do not cover, for one potential or against a reference."""
