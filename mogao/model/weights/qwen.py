"""Qwen2, Qwen2.5 and Qwen3 language models: where a model from real weights starts.

In: their folders. Out: adapters; see `mogao.model.weights.decoder`. Source: arXiv 2412.15115 (bias
of queries, keys and values), arXiv 2505.09388 (norms of queries and keys instead).
"""

from __future__ import annotations

from mogao.model.weights.decoder import Traits, decoder_family

QWEN2 = decoder_family(Traits("qwen2", "Qwen2ForCausalLM", qkv_bias=True))
"""Qwen2 and Qwen2.5."""
QWEN3 = decoder_family(Traits("qwen3", "Qwen3ForCausalLM", qk_norm=True, head_dim=128))
