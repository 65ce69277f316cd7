"""Benchmarks, one file each: records, layout on the disk, rule, table."""
