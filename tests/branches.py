"""Documents, drops and velocities that the invariants of sampling share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mogao.config import (
    PRESETS,
    Drop,
    IlRopeConfig,
    InputTime,
    LowRankAdaLN,
    OneDConfig,
    RoutingConfig,
)
from mogao.flow import FlowInputs
from mogao.model.transformer import ModelOutput
from mogao.packing.layout import Layout, TokenKind, lay_out
from mogao.packing.pack import PackedBatch, pack
from mogao.packing.positions import image_positions
from mogao.packing.spans import Span, keep, part_boundary
from mogao.pipeline import Mogao
from mogao.sampling.context import Context, boundary_runs, read
from mogao.sampling.groups import DenoiseGroup, Run
from mogao.sampling.session import Session
from mogao.sequence import ImageSegment, InterleavedSequence, Segment, TextSegment
from tests.tiny import picture

GRID = (2, 3)
SIZE = (32, 48)
T = 0.7

# Every branch of every preset, and the drops that only training uses.
PRESET_DROPS = {
    name if preset == "mogao" else f"{preset}: {name}": drop
    for preset in ("mogao", "bagel", "text_only")
    for name, drop in PRESETS[preset].drops.items()
}
DROPS = PRESET_DROPS | {
    "text only": Drop(images=True),
    "no vit": Drop(vit=True),
    "no clean": Drop(clean=True),
    "tagged": Drop(tags=("aside",)),
    "tagged, moved up": Drop(tags=("aside",), keep_positions=False),
}
READS_LATENTS: dict[str, dict[str, tuple[str, ...]]] = {
    "earlier": dict.fromkeys(("text", "vit", "clean", "noisy"), ("text", "vit", "clean")),
    "own": {
        "text": ("text",),
        "vit": ("vit", "clean"),
        "clean": ("clean",),
        "noisy": ("noisy",),
    },
}
VARIANTS: dict[str, dict[str, Any]] = {
    "nano": {},
    "same axes, own routing, time at the input": {
        "positions": IlRopeConfig(text_axes="same"),
        "routing": RoutingConfig(vit="visual", clean="text"),
        "time": InputTime(),
    },
    "text reads latents, swiglu, low-rank time": {
        "visibility": READS_LATENTS,
        "ffn": "swiglu",
        "time": LowRankAdaLN(rank=4),
        "qkv_bias": True,
    },
    "tables of 2-D positions": {"grid_tables": {"vit_side": 3, "latent_side": 4}},
    "chatml": {"layout": {"turns": "chatml", "begin": False}},
    "bagel": {
        "positions": OneDConfig(),
        "layout": {
            "part_order": ("noisy", "clean", "vit"),
            "part_step": 1,
            "boundary": "part",
            "begin": False,
            "text_frame": True,
            "vit_size": {"patch_pixels": 16, "longest": 32, "shortest": 16},
        },
        "visibility": READS_LATENTS,
        "grid_tables": {"vit_side": 3, "latent_side": 4},
        "connector_activation": "gelu_tanh",
        "ffn": "swiglu",
        "time": InputTime(stretch=1.0),
        "qkv_bias": True,
        "tied_embeddings": False,
    },
    "noised history": {
        "layout": {"part_order": ("vit", "noisy")},
        "visibility": {
            "earlier": {
                "text": ("text", "vit"),
                "vit": ("text", "vit"),
                "clean": (),
                "noisy": ("text", "vit", "noisy"),
            },
        },
    },
}


def conversation() -> list[Segment]:
    """Two turns of the user and one of the model, with pictures of both."""
    return [
        ImageSegment(picture(1), role="user"),
        TextSegment("make it red", role="user"),
        TextSegment("sure", role="model", loss=False, tags=("aside",)),
        ImageSegment(picture(2, height=16, width=32), role="model", loss=False, tags=("aside",)),
        TextSegment("now blue", role="user"),
    ]


def document() -> list[Segment]:
    return [TextSegment("a cat", loss=False), ImageSegment(picture(3), loss=False)]


def opened(model: Mogao, segments: Sequence[Segment]) -> tuple[Session, int]:
    """A session that has just opened a picture, and the picture's time."""
    session = model.session()
    session.extend(segments)
    session.state.transcript.open_turn("model")
    time = session.state.transcript.open_picture(drawn())
    return session, time


def drawn() -> ImageSegment:
    return ImageSegment(picture(9, height=SIZE[0], width=SIZE[1]))


@torch.inference_mode()
def training_forward(
    model: Mogao, layouts: list[Layout], noisy: Tensor, *, backend: str = "dense"
) -> tuple[PackedBatch, ModelOutput]:
    """The training forward of layouts: learned noisy tokens at time T, noisy history clean.

    The velocities that come back are those of the learned tokens.
    """
    session = model.session()

    def latents(images: Sequence[ImageSegment]) -> list[Tensor]:
        return [session.state.codes.encode(image) for image in images]

    batch = pack(layouts, model.config.transformer, latents=latents)
    return batch, pack_forward(model, batch, noisy, backend=backend)


def pack_forward(
    model: Mogao, batch: PackedBatch, noisy: Tensor, *, backend: Any = "dense"
) -> ModelOutput:
    """The training forward of a pack; see `training_forward`."""
    is_learned = batch.noisy_weights > 0
    entered = batch.noisy_clean.clone()
    entered[is_learned] = noisy
    times = [T * float(run[0]) for run in is_learned.float().split(batch.noisy_lengths)]
    flow = FlowInputs(entered, torch.tensor(times), torch.zeros_like(entered))
    pixels = [picture.float() / 127.5 - 1 for picture in batch.vit_pixels]
    features = model.parts.vision(pixels)
    output = model.parts.transformer(batch, flow, vit_features=features, backend=backend)
    return replace(output, velocity=output.velocity[is_learned])


def branch_layouts(model: Mogao, segments: Sequence[Segment], drop: Drop) -> list[Layout]:
    """What training lays out for the picture behind `segments` under condition dropout."""
    sequence = InterleavedSequence((*segments, drawn()))
    tokenizer, config = model.parts.tokenizer, model.config.transformer
    return lay_out(sequence, tokenizer, config, end_loss=False, drop=drop)


def noise(seed: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(GRID[0] * GRID[1], 16, generator=generator)


@torch.inference_mode()
def cached_velocities(model: Mogao, segments: Sequence[Segment], drops: list[Drop]) -> Tensor:
    """One denoise step at time T under several drops, as one batch."""
    session, time = opened(model, segments)
    runner, spans = session.state.runner, session.state.transcript.spans
    index = session.state.transcript.index
    contexts = [Context(runner, drop=drop) for drop in drops]
    kept = [keep(spans, drop, drawn=index) for drop in drops]
    read(list(zip(contexts, kept, strict=True)), session.state.codes, runner=runner)
    moves = [time_behind(part) - time for part in kept]
    assert all(not move or not drop.keep_positions for move, drop in zip(moves, drops, strict=True))
    runs = [denoise_runs(model, part) for part in kept]
    size = sum(run.length for run in runs[0])
    group = DenoiseGroup([context.cache for context in contexts], size, runner.rule)
    return runner.velocity(group, [run for part in runs for run in part])


def positions_behind(model: Mogao, spans: Sequence[Span]) -> Tensor:
    """Positions of a picture whose open token is the last of some spans."""
    form = model.config.transformer.positions
    return torch.from_numpy(image_positions(time_behind(spans), GRID, form))


def time_behind(spans: Sequence[Span]) -> int:
    """Time position of a picture whose open token, maybe empty, is the last of some spans."""
    return spans[-1].time + len(spans[-1].ids)


def denoise_runs(model: Mogao, spans: Sequence[Span]) -> list[Run]:
    """What a denoise step at time T reads of a picture that opens behind some spans."""
    ids = part_boundary(model.parts.tokenizer, model.config.transformer.layout)
    time, device = time_behind(spans), torch.device("cpu")
    run = Run(TokenKind.NOISY, positions_behind(model, spans), noise(), T)
    return [*boundary_runs(TokenKind.NOISY, ids, time=time, device=device), run]


def relative(got: Tensor, expected: Tensor) -> float:
    return float((got - expected).abs().max() / expected.abs().max())
