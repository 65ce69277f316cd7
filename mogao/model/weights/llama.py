"""Language models of the Llama type, such as SmolLM2.

In: their folders. Out: an adapter; see `mogao.model.weights.decoder`. Source: arXiv 2302.13971.
"""

from __future__ import annotations

from mogao.model.weights.decoder import Traits, decoder_family

LLAMA = decoder_family(Traits("llama", "LlamaForCausalLM"))
