"""Invariants of design.md section 6 that concern sampling, under the names they have there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mogao.config import (
    KEEP_ALL,
    PRESETS,
    Drop,
    IlRopeConfig,
    ImageSamplingConfig,
    InputTime,
    LowRankAdaLN,
    RoutingConfig,
)
from mogao.flow import FlowInputs
from mogao.model.transformer import ModelOutput
from mogao.packing.layout import Layout, TokenKind, lay_out
from mogao.packing.pack import PackedBatch, pack
from mogao.packing.positions import image_positions
from mogao.packing.spans import Span, keep
from mogao.pipeline import Mogao
from mogao.sampling.context import Context, read
from mogao.sampling.groups import DenoiseGroup, Run
from mogao.sampling.session import Session
from mogao.sequence import ImageSegment, InterleavedSequence, Segment, TextSegment
from tests.tiny import picture, tiny_generation, tiny_model
from tests.tolerances import CACHED

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
VARIANTS: dict[str, dict[str, Any]] = {
    "nano": {},
    "same axes, own routing, time at the input": {
        "positions": IlRopeConfig(text_axes="same"),
        "routing": RoutingConfig(vit="visual", clean="text"),
        "time": InputTime(),
    },
    "text reads latents, swiglu, low-rank time": {
        "visibility": {
            "earlier": {
                "text": ("text", "vit", "clean"),
                "vit": ("text", "vit", "clean"),
                "clean": ("text", "vit", "clean"),
                "noisy": ("text", "vit", "clean"),
            },
            "own": {
                "text": ("text",),
                "vit": ("vit", "clean"),
                "clean": ("clean",),
                "noisy": ("noisy",),
            },
        },
        "ffn": "swiglu",
        "time": LowRankAdaLN(rank=4),
        "qkv_bias": True,
    },
}


@pytest.fixture(scope="module")
def model() -> Mogao:
    return tiny_model()


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
    """The training forward of layouts, every noisy token at time T."""
    session = model.session()

    def latents(images: Sequence[ImageSegment]) -> list[Tensor]:
        return [session.state.codes.encode(image) for image in images]

    batch = pack(layouts, model.config.transformer, latents=latents)
    flow = FlowInputs(noisy, torch.full((len(batch.noisy_lengths),), T), torch.zeros_like(noisy))
    pixels = [picture.float() / 127.5 - 1 for picture in batch.vit_pixels]
    features = model.parts.vision(pixels)
    output = model.parts.transformer(batch, flow, vit_features=features, backend=backend)
    return batch, output


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
    moves = [part[-1].time + 1 - time for part in kept]
    assert all(not move or not drop.keep_positions for move, drop in zip(moves, drops, strict=True))
    runs = [Run(TokenKind.NOISY, positions_behind(model, part), noise(), T) for part in kept]
    group = DenoiseGroup([context.cache for context in contexts], runs[0].length, runner.rule)
    return runner.velocity(group, runs)


def positions_behind(model: Mogao, spans: Sequence[Span]) -> Tensor:
    """Positions of a picture whose open token is the last of some spans."""
    form = model.config.transformer.positions
    return torch.from_numpy(image_positions(spans[-1].time + 1, GRID, form))


def relative(got: Tensor, expected: Tensor) -> float:
    return float((got - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("segments", [conversation(), document()], ids=["conversation", "document"])
def test_cached_equals_full_for_a_denoise_step_of_every_branch(
    variant: str, segments: list[Segment]
) -> None:
    model = tiny_model(**VARIANTS[variant])
    cached = cached_velocities(model, segments, list(DROPS.values()))
    for drop, velocity in zip(DROPS.values(), cached, strict=True):
        (layout,) = branch_layouts(model, segments, drop)
        _, output = training_forward(model, [layout], noise())
        assert relative(velocity, output.velocity) < CACHED


@pytest.mark.parametrize("variant", VARIANTS)
def test_cached_equals_full_for_text(variant: str) -> None:
    model = tiny_model(**VARIANTS[variant])
    tokenizer, config = model.parts.tokenizer, model.config.transformer
    answer = "a blue one"
    sequence = InterleavedSequence((*conversation(), TextSegment(answer), drawn()))
    layouts = lay_out(sequence, tokenizer, config, end_loss=False)
    batch, output = training_forward(model, layouts, noise())
    session = model.session()
    session.extend(conversation())
    session.state.transcript.open_turn("model")
    with torch.inference_mode():
        context = session.state.context(KEEP_ALL)
        read(
            [(context, session.state.transcript.spans)],
            session.state.codes,
            runner=session.state.runner,
        )
        logits = []
        for token in [*tokenizer.encode(answer), None]:
            assert context.logits is not None
            logits.append(context.logits)
            if token is not None:
                context.read_token(session.state.transcript.write_token(token))
    assert batch.targets.tolist() == [*tokenizer.encode(answer), tokenizer.image_open]
    assert relative(torch.cat(logits), output.logits) < CACHED


def test_cached_equals_full_behind_a_drawn_picture(model: Mogao) -> None:
    # Text behind a picture that the model drew, then one more picture behind both.
    generation = tiny_generation(max_tokens=0)
    session = model.session(generation=generation)
    session.extend("a cat")
    first = session.generate_image(size=SIZE)
    session.extend("and a dog")
    second = session.generate_image(size=SIZE)
    drawn_latents = {id(first): session.state.codes.known_latents[1][1]}
    sequence = InterleavedSequence(
        (
            TextSegment("a cat", loss=False),
            replace(first, loss=False),
            TextSegment("and a dog", loss=False),
            second,
        )
    )
    (layout,) = lay_out(sequence, model.parts.tokenizer, model.config.transformer, end_loss=False)
    given = {id(sequence.segments[1]): drawn_latents[id(first)]}
    with torch.inference_mode():
        batch = pack(
            [layout],
            model.config.transformer,
            latents=lambda images: [given.get(id(i), noise()) for i in images],
        )
        flow = FlowInputs(noise(), torch.tensor([T]), torch.zeros(6, 16))
        features = model.parts.vision([p.float() / 127.5 - 1 for p in batch.vit_pixels])
        output = model.parts.transformer(batch, flow, vit_features=features)
        context = session.state.context(KEEP_ALL)
        spans = session.state.transcript.spans[:-2]
        read([(context, spans)], session.state.codes, runner=session.state.runner)
        picture_span = session.state.transcript.spans[-2]
        positions = image_positions(picture_span.time, GRID, model.config.transformer.positions)
        run = Run(TokenKind.NOISY, torch.from_numpy(positions), noise(), T)
        group = DenoiseGroup([context.cache], run.length, session.state.runner.rule)
        velocity = session.state.runner.velocity(group, [run])[0]
    assert relative(velocity, output.velocity) < CACHED


@pytest.mark.parametrize("name", [*PRESET_DROPS, "text only", "tagged", "tagged, moved up"])
@pytest.mark.parametrize("segments", [conversation(), document()], ids=["conversation", "document"])
def test_dropped_branches_match_training_dropout(
    model: Mogao, name: str, segments: list[Segment]
) -> None:
    session, _ = opened(model, segments)
    spans, index = session.state.transcript.spans, session.state.transcript.index
    kept = keep(spans, DROPS[name], drawn=index)
    (layout,) = branch_layouts(model, segments, DROPS[name])
    is_text = np.repeat(layout.table.kind == TokenKind.TEXT, layout.table.length)
    ids = [i for span in kept for i in span.ids]
    times = [span.time + k for span in kept for k in range(len(span.ids))]
    assert layout.ids.tolist() == ids
    assert layout.positions[is_text, 0].tolist() == times
    is_noisy = np.repeat(layout.table.kind == TokenKind.NOISY, layout.table.length)
    expected = positions_behind(model, kept)
    assert layout.positions[is_noisy].tolist() == expected.tolist()


def test_dropping_everything_leaves_begin_and_open(model: Mogao) -> None:
    session, _ = opened(model, document())
    transcript, tokenizer = session.state.transcript, model.parts.tokenizer
    drop = DROPS["none"]
    kept = keep(transcript.spans, drop, drawn=transcript.index)
    assert [s.ids for s in kept] == [(tokenizer.begin,), (tokenizer.image_open,)]
    assert kept[1].time == transcript.spans[-1].time > 1


def text_logits(model: Mogao, segments: Sequence[Segment]) -> Tensor:
    """Logits of every learned text token of a document, noisy tokens included in the pack."""
    sequence = InterleavedSequence(tuple(segments))
    layouts = lay_out(sequence, model.parts.tokenizer, model.config.transformer)
    count = sum(len(layout.noisy_weights) for layout in layouts)
    _, output = training_forward(model, layouts, torch.ones(count, 16))
    return output.logits


def story() -> list[Segment]:
    return [
        TextSegment("once"),
        ImageSegment(picture(4)),
        TextSegment("then"),
        ImageSegment(picture(5)),
        TextSegment("the end"),
    ]


@torch.inference_mode()
def test_text_is_blind_to_latents(model: Mogao) -> None:
    session = model.session()
    session.extend(story())
    runner, spans = session.state.runner, session.state.transcript.spans

    class Scrambled:
        features = staticmethod(session.state.codes.features)

        @staticmethod
        def latents(span: object) -> Tensor:
            return 100 * torch.ones_like(session.state.codes.latents(span))  # type: ignore[arg-type]

    states = []
    for codes in (session.state.codes, Scrambled):
        context = Context(runner, drop=KEEP_ALL)
        read([(context, spans)], codes, runner=runner)
        assert context.logits is not None
        states.append(context.logits)
    assert torch.equal(*states)


def test_future_is_invisible(model: Mogao) -> None:
    before = story()
    changed = [*before[:3], ImageSegment(picture(77)), TextSegment("another end")]
    logits = text_logits(model, before)
    count = len(model.parts.tokenizer.encode("once")) + len(model.parts.tokenizer.encode("then"))
    kept = count - 1 + 1  # targets: all of both texts but the first token, both open tokens
    assert relative(text_logits(model, changed)[:kept], logits[:kept]) < CACHED
    cached = cached_velocities(model, before[:1], [KEEP_ALL])
    session, _ = opened(model, before[:1])
    assert session.state.transcript.num_tokens == len("once") + 2
    (layout,) = branch_layouts(model, before[:1], KEEP_ALL)
    other = lay_out(
        InterleavedSequence((*before[:1], drawn(), TextSegment("whatever follows"))),
        model.parts.tokenizer,
        model.config.transformer,
    )
    for layouts in ([layout], other, [layout, *branch_layouts(model, conversation(), KEEP_ALL)]):
        count = sum(len(item.noisy_weights) for item in layouts)
        noisy = torch.cat([noise(), torch.ones(count - len(noise()), 16)])
        _, output = training_forward(model, layouts, noisy, backend="segments")
        assert relative(cached[0], output.velocity[: len(noise())]) < CACHED


@torch.inference_mode()
def guided(model: Mogao, config: ImageSamplingConfig, *, t: float = T) -> tuple[Tensor, int]:
    """The guided velocity behind the conversation, and its evaluations."""
    session, _ = opened(model, conversation())
    velocity, _ = session.state.guided_velocity(config, GRID, drawn=session.state.transcript.index)
    return velocity(noise(), t), velocity.evaluations


def test_two_scales_follow_the_formula(model: Mogao) -> None:
    full, pictures, none = cached_velocities(
        model, conversation(), [DROPS["full"], DROPS["pictures"], DROPS["none"]]
    )
    got, evaluations = guided(model, ImageSamplingConfig())
    expected = none + 1.5 * (pictures - none) + 7.5 * (full - pictures)
    assert evaluations == 3
    assert relative(got, expected) < CACHED


def cut(velocity: Tensor, full: Tensor, *, dim: int | None = None) -> Tensor:
    norms = [v.norm() if dim is None else v.norm(dim=dim, keepdim=True) for v in (full, velocity)]
    return velocity * (norms[0] / norms[1]).clamp(max=1)


def test_bagel_is_nested_and_cut_to_the_full_velocity(model: Mogao) -> None:
    names = ("bagel: full", "bagel: no_last_text", "bagel: no_images")
    full, no_text, no_images = cached_velocities(model, conversation(), [DROPS[n] for n in names])
    inner = no_text + 3.0 * (full - no_text)
    scales = {"text_guidance_scale": 3.0, "image_guidance_scale": 2.5}
    got, evaluations = guided(model, ImageSamplingConfig(guidance="bagel", **scales))
    assert evaluations == 3
    assert relative(got, cut(no_images + 2.5 * (inner - no_images), full)) < CACHED
    got, _ = guided(model, ImageSamplingConfig(guidance="bagel_edit", **scales))
    inner = cut(inner, full, dim=-1)
    assert relative(got, no_images + 2.5 * (inner - no_images)) < CACHED


def test_text_only_is_plain_guidance_that_keeps_the_pictures(model: Mogao) -> None:
    drops = [KEEP_ALL, DROPS["text_only: no_text"]]
    full, no_text = cached_velocities(model, conversation(), drops)
    config = ImageSamplingConfig(guidance="text_only", text_guidance_scale=3.0)
    got, evaluations = guided(model, config)
    assert evaluations == 2
    assert relative(got, no_text + 3.0 * (full - no_text)) < CACHED


def test_a_table_of_ones_own_by_tags(model: Mogao) -> None:
    full, rest = cached_velocities(model, conversation(), [KEEP_ALL, DROPS["tagged"]])
    rows = [
        {"name": "full", "coefficient": [[0.5, 1.0], [0.9, 3.0]]},
        {"name": "rest", "drop": {"tags": ["aside"]}, "coefficient": [[0.5, 0.0], [0.9, -2.0]]},
    ]
    config = ImageSamplingConfig.model_validate({"guidance": "table", "branches": rows})
    got, evaluations = guided(model, config)
    assert evaluations == 2
    assert relative(got, 2.0 * full - rest) < CACHED
    got, evaluations = guided(model, config, t=0.4)
    assert evaluations == 1  # its coefficient is zero there


def test_scales_may_depend_on_the_time(model: Mogao) -> None:
    curve = {"text_guidance_scale": ((0.6, 2.0), (0.8, 6.0)), "image_guidance_scale": 1.0}
    got, evaluations = guided(model, ImageSamplingConfig(**curve))
    expected, _ = guided(
        model, ImageSamplingConfig(text_guidance_scale=4.0, image_guidance_scale=1.0)
    )
    assert evaluations == 2  # at image scale 1 the empty context counts for nothing
    assert relative(got, expected) < CACHED


def test_equal_scales_are_plain_guidance(model: Mogao) -> None:
    full, none = cached_velocities(model, conversation(), [DROPS["full"], DROPS["none"]])
    scale = 4.0
    config = ImageSamplingConfig(text_guidance_scale=scale, image_guidance_scale=scale)
    got, evaluations = guided(model, config)
    assert evaluations == 2
    assert relative(got, none + scale * (full - none)) < CACHED


def test_scale_one_is_conditional(model: Mogao) -> None:
    (full,) = cached_velocities(model, conversation(), [KEEP_ALL])
    config = ImageSamplingConfig(text_guidance_scale=1.0, image_guidance_scale=1.0)
    got, evaluations = guided(model, config)
    assert evaluations == 1
    assert relative(got, full) < CACHED
    assert torch.equal(got, guided(model, ImageSamplingConfig(guidance="off"))[0])


def test_guidance_acts_only_inside_its_interval(model: Mogao) -> None:
    (full,) = cached_velocities(model, conversation(), [KEEP_ALL])
    for interval, evaluations in (((0.0, T), 3), ((T, 1.0), 1), ((0.0, 0.5), 1)):
        config = ImageSamplingConfig(guidance_interval=interval)
        got, count = guided(model, config)
        assert count == evaluations
        assert (relative(got, full) < CACHED) == (count == 1)


def test_global_renorm_never_exceeds_the_conditional_norm(model: Mogao) -> None:
    (full,) = cached_velocities(model, conversation(), [KEEP_ALL])
    plain, _ = guided(model, ImageSamplingConfig())
    got, _ = guided(model, ImageSamplingConfig(renorm="global"))
    assert plain.norm() > full.norm()
    assert relative(got, plain * full.norm() / plain.norm()) < CACHED


def test_batch_mates_do_not_matter(model: Mogao) -> None:
    # As far as batching exists: guidance branches of one picture, contexts read together.
    drops = list(DROPS.values())
    together = cached_velocities(model, conversation(), drops)
    for drop, velocity in zip(drops, together, strict=True):
        alone = cached_velocities(model, conversation(), [drop])
        assert relative(velocity, alone[0]) < CACHED


@pytest.mark.parametrize("name", ["none", "bagel: no_last_text", "tagged"])
def test_each_learned_picture_of_a_reduced_document_is_learned_once(
    model: Mogao, name: str
) -> None:
    sequence = InterleavedSequence(
        tuple(part for k in range(3) for part in (TextSegment("x"), ImageSegment(picture(k))))
    )
    tokenizer, config = model.parts.tokenizer, model.config.transformer
    layouts = lay_out(sequence, tokenizer, config, drop=DROPS[name])
    assert [len(layout.noisy_weights) for layout in layouts] == [4, 4, 4]
