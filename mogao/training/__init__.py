"""Training: one loop, readable from top to bottom, over any `Task`.

In: a `RunConfig`. Out: checkpoints to resume from, metrics, sample sheets and a model folder.
"""
