"""Evaluating a potential: errors against labels, physics checks, and reports."""
