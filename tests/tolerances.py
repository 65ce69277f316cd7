"""Every numeric tolerance of the tests, each with its reason.

Relative error is `max|a - b| / max|b|` unless a name says otherwise.
"""

FLOAT32 = 1e-5
"""The same mathematics in float32 in another order of summation."""

FLOAT32_GRADIENT = 1e-4
"""The same for gradients: one more reduction over all tokens."""

BFLOAT16 = 2e-2
"""One bfloat16 pass of a tiny network against the same pass in float32."""

CACHED = 1e-4
"""Cached sampling against the training forward, float32."""

BATCHED_PICTURE = 1e-3
"""A picture drawn in a batch against the same picture drawn alone, float32 (invariant 10)."""

RANKS = 1e-5
"""The global loss on several ranks against one rank on the joined batch, float32."""

COPIED_WEIGHTS = 1e-4
"""A block or model with copied weights against its source implementation, float32."""

AUTOENCODER_DECIBEL = 28.0
"""Least PSNR of the shipped autoencoder on unseen scenes, in dB."""

REAL_WEIGHTS = 1e-3
"""A language model of thirty layers here against its own library, float32: logits of a text."""
