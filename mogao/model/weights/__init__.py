"""Foreign weights: one adapter per family, both directions; nothing else knows their key names."""
