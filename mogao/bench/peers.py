"""What others need for the same work: peers that install from the package registry.

In: nothing. Out: the same fields as our own benches, measured in the same process. Sizes are those
of `mogao.bench.sampling.SMALL`: width 256, four layers, four query and two key heads, vocabulary
1,000; weights are random on both sides.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from mogao.bench.measure import median_seconds, seconds_of
from mogao.bench.sampling import NEW_TOKENS, REPEATS, SMALL
from mogao.errors import ConfigError

PICTURE_TOKENS = 256
PICTURE_SIDE = 16
TEXT_TOKENS = 32
EVALUATIONS = 20
PROMPT_TOKENS = 24


def llama_decode(*, dtype: torch.dtype, contexts: Sequence[int]) -> dict[str, Any]:
    """Measure `transformers` Llama `generate`, greedy, batch 1; prefill taken off."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=SMALL.vocab_size,
        hidden_size=SMALL.hidden,
        intermediate_size=SMALL.ffn_hidden,
        num_hidden_layers=SMALL.num_layers,
        num_attention_heads=SMALL.num_heads,
        num_key_value_heads=SMALL.num_kv_heads,
        max_position_embeddings=16_384,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=None,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config).to(dtype).eval()
    rows = []
    for context in contexts:
        prompt = torch.randint(8, SMALL.vocab_size, (1, context))

        def generate(count: int, prompt: Tensor = prompt) -> None:
            model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=count,
                min_new_tokens=count,
                do_sample=False,
            )

        with torch.inference_mode():
            whole = median_seconds(lambda: generate(NEW_TOKENS + 1), repeats=REPEATS)
            first = median_seconds(lambda: generate(1), repeats=REPEATS)
        rows.append({"context": context, "tokens_per_second": NEW_TOKENS / (whole - first)})
    return {"rows": rows, "version": version("transformers")}


def omnigen_step(*, dtype: torch.dtype, branches: int, history: int) -> dict[str, Any]:
    """Measure the `diffusers` OmniGen transformer: text and noisy latents anew at each step.

    It has as many key heads as query heads: its attention knows no groups.
    """
    from diffusers.models.transformers.transformer_omnigen import OmniGenTransformer2DModel

    model = OmniGenTransformer2DModel(
        in_channels=SMALL.latent_dim // 4,
        hidden_size=SMALL.hidden,
        num_attention_heads=SMALL.num_heads,
        num_key_value_heads=SMALL.num_heads,
        intermediate_size=SMALL.ffn_hidden,
        num_layers=SMALL.num_layers,
        pad_token_id=0,
        vocab_size=SMALL.vocab_size,
        rope_scaling={"short_factor": [1.0] * 32, "long_factor": [1.0] * 32},
    )
    model.to(dtype).eval()
    tokens = history + 1 + PICTURE_TOKENS
    inputs: dict[str, Any] = {
        "hidden_states": torch.randn(
            branches, SMALL.latent_dim // 4, 2 * PICTURE_SIDE, 2 * PICTURE_SIDE, dtype=dtype
        ),
        "timestep": torch.full((branches,), 0.5),
        "input_ids": torch.randint(8, SMALL.vocab_size, (branches, history)),
        "input_img_latents": [],
        "input_image_sizes": {},
        "attention_mask": torch.ones(branches, tokens, tokens),
        "position_ids": torch.arange(tokens).expand(branches, tokens),
    }
    with torch.inference_mode():
        for _ in range(3):
            model(**inputs)
        seconds = statistics.median(seconds_of(lambda: model(**inputs)) for _ in range(4 * REPEATS))
    return {"branches": branches, "seconds_per_step": seconds, "version": version("diffusers")}


def janus_picture(*, dtype: torch.dtype) -> dict[str, Any]:
    """Measure `transformers` Janus `generate` of one picture: 256 tokens, one after another.

    Under its guidance, so two contexts; turning tokens into pixels is not included.
    """
    from transformers import JanusConfig, JanusForConditionalGeneration

    config = JanusConfig(
        text_config={
            "model_type": "llama",
            "vocab_size": SMALL.vocab_size,
            "hidden_size": SMALL.hidden,
            "intermediate_size": SMALL.ffn_hidden,
            "num_hidden_layers": SMALL.num_layers,
            "num_attention_heads": SMALL.num_heads,
            "num_key_value_heads": SMALL.num_kv_heads,
            "pad_token_id": 0,
        },
        vision_config={
            "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1, "image_size": 256,
            "patch_size": 16, "projection_dim": SMALL.hidden, "num_image_tokens": PICTURE_TOKENS,
        },
        vq_config={
            "num_embeddings": 1000, "embed_dim": 8, "base_channels": 32,
            "num_patches": PICTURE_SIDE, "channel_multiplier": [1], "num_res_blocks": 1,
            "projection_dim": SMALL.hidden, "image_token_embed_dim": SMALL.hidden,
            "num_hidden_layers": 1,
        },
    )  # fmt: skip
    model = JanusForConditionalGeneration(config).to(dtype).eval()
    model.generation_config.update(bos_token_id=1, pad_token_id=0, guidance_scale=5.0)
    model.generation_config.generation_kwargs = {"boi_token_id": 2}
    prompt = torch.randint(8, SMALL.vocab_size, (1, PROMPT_TOKENS))

    def run() -> None:
        model.generate(
            prompt, attention_mask=torch.ones_like(prompt), generation_mode="image", do_sample=False
        )

    return {"seconds": median_seconds(run, repeats=3), "version": version("transformers")}


def transfusion_documents(*, dtype: torch.dtype, num_documents: int) -> dict[str, Any]:
    """Measure `transfusion-pytorch` on the document of `bench interleave`.

    One document by `sample_one`, several at once by `sample_many`. Random weights do not open
    pictures at the right place, so the choice of tokens is scripted; the network's work is
    untouched. Under bfloat16 the peer runs in autocast.

    Raises:
        ConfigError: The package is not installed.
    """
    try:
        from transfusion_pytorch import Transfusion, transfusion
    except ImportError:
        raise ConfigError(
            "the peer needs the package transfusion-pytorch; install it without its torch"
        ) from None

    model = Transfusion(
        num_text_tokens=SMALL.vocab_size,
        dim_latent=SMALL.latent_dim,
        modality_default_shape=(PICTURE_SIDE, PICTURE_SIDE),
        transformer={
            "dim": SMALL.hidden,
            "depth": SMALL.num_layers,
            "dim_head": SMALL.head_dim,
            "heads": SMALL.num_heads,
        },
    ).eval()
    script = _Script(num_documents, TEXT_TOKENS, open_id=model.som_ids[0], end_id=model.eos_id)
    settings: dict[str, Any] = {
        "fixed_modality_shape": (PICTURE_SIDE, PICTURE_SIDE),
        "modality_steps": EVALUATIONS // 2 + 1,
        "max_length": 4 * (TEXT_TOKENS + PICTURE_TOKENS),
    }

    def run() -> None:
        script.restart()
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            if num_documents == 1:
                samples = [model.sample_one(cache_kv=True, **settings)]
            else:
                samples = model.sample_many([None] * num_documents, **settings)
        pictures = [sum(isinstance(part, tuple) for part in sample) for sample in samples]
        if pictures != [2] * num_documents:
            raise RuntimeError(f"the script drew {pictures} pictures instead of two each")

    before = transfusion.sample_text_token
    transfusion.sample_text_token = script
    try:
        seconds = median_seconds(run, repeats=3)
    finally:
        transfusion.sample_text_token = before
    return {"seconds": seconds, "version": version("transfusion-pytorch")}


class _Script:
    """Text of an exact length, a picture, text, a picture, the end: of documents in step."""

    def __init__(self, num_documents: int, length: int, *, open_id: int, end_id: int) -> None:
        self.num_documents, self.length = num_documents, length
        self.open_id, self.end_id = open_id, end_id
        self.restart()

    def restart(self) -> None:
        """Begin new documents."""
        self.calls = self.count = 0

    def __call__(self, logits: Tensor, *_: Any) -> Tensor:
        # The peer asks for the first token of each document alone, later for all at once.
        self.calls += 1
        is_alone = logits.ndim == 1
        self.count += not is_alone or (self.calls - 1) % self.num_documents == 0
        nn.functional.softmax(logits, dim=-1).argmax(dim=-1)  # what choosing costs
        period = self.length + 1
        token = 5 if self.count % period else self.open_id
        if self.count > 2 * period:
            token = self.end_id
        return torch.full((*logits.shape[:-1], 1), token)
