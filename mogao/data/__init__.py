"""Data: pictures, records in files, conversions, mixtures, and the offline scene world."""
