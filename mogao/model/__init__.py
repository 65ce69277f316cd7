"""The network: one joint transformer, its two picture encoders, and how they start.

Dimension words: tokens hidden heads kv_heads head_dim vocab images channels rows cols height
width. Einops letters: t tokens, d hidden, h heads, e head_dim, i images, c channels, y rows,
x cols, p q patch rows and columns.
"""
