"""Sweeps: arms that differ in a few settings, trained at equal compute and compared."""
