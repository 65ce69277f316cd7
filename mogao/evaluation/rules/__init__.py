"""Rules that several benchmarks, judges and rewards share; each stands here and nowhere else."""
