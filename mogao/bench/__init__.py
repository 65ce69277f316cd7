"""What `mogao bench` runs: ratios measured in one process on one machine."""
