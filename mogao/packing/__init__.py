"""From documents to packs: layout, positions, the mask rule, and batches under a token budget."""
