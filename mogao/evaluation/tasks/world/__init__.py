"""Benchmarks of the offline world: all truth is exact, and nobody outside is asked."""
