"""The student network and what is derived from its energy."""
