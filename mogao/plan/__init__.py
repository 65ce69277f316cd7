"""What a model costs before it is trained or served: parameters, FLOPs, memory, speed.

In: a config. Out: plain numbers; no weight is read and none is made. Formulas: docs/plan.md.
"""
