"""Judges: programs that say what a picture shows, given its pixels and nothing else."""
