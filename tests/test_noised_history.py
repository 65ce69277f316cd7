"""The rival of ECTF: no CLEAN copies, later pictures see NOISY ones, each at its own time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from mogao.config import KEEP_ALL, Drop, LayoutConfig
from mogao.errors import ConfigError
from mogao.packing.cost import allowed_pairs
from mogao.packing.layout import Layout, TokenKind, lay_out
from mogao.packing.mask import MaskRule
from mogao.packing.pack import pack
from mogao.sampling.context import Context
from mogao.sampling.groups import CommitGroup, DenoiseGroup, Run
from mogao.sampling.runner import CommitStep, DenoiseStep, Runner, run_together
from mogao.sequence import ImageSegment, InterleavedSequence, Segment, TextSegment
from tests.branches import VARIANTS, T, noise, positions_behind
from tests.packs import (
    GRID,
    VOCABULARY,
    config,
    flow_of,
    forward,
    image,
    latents_of,
    network,
    packed,
    relative,
    story,
)
from tests.tiny import tiny_model
from tests.tolerances import CACHED

NOISED = VARIANTS["noised history"]
SIDE = GRID[0] * GRID[1]


def layouts_of(*segments: Segment, drop: Drop = KEEP_ALL) -> list[Layout]:
    document = InterleavedSequence(tuple(segments))
    return lay_out(document, VOCABULARY, config(**NOISED), end_loss=False, drop=drop)


def copies(layout: Layout) -> list[str]:
    kinds = [TokenKind(kind).name.lower() for kind in layout.table.kind]
    return [kind for kind in kinds if kind != "text"]


def seen(seed: int) -> ImageSegment:
    return image(seed, loss=False)


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ([TextSegment("a"), image(1)], "noisy"),
        ([TextSegment("a"), image(1), TextSegment("b")], "vit noisy"),
        ([TextSegment("a"), image(1), TextSegment("b"), image(2)], "vit noisy noisy"),
        ([seen(1), TextSegment("b", loss=False), image(2)], "vit noisy noisy"),
        ([seen(1), TextSegment("b")], "vit"),
    ],
)
def test_a_picture_is_laid_out_once_noisy_and_once_as_seen(
    segments: Sequence[Segment], expected: str
) -> None:
    (layout,) = layouts_of(*segments)
    assert copies(layout) == expected.split()


def test_a_picture_without_loss_is_noisy_history_that_weighs_nothing() -> None:
    (layout,) = layouts_of(seen(1), TextSegment("b", loss=False), image(2, weight=0.5))
    assert layout.noisy_weights.tolist() == [0.0] * SIDE + [0.5] * SIDE
    batch = pack([layout], config(**NOISED), latents=latents_of)
    assert len(flow_of(batch).t.unique()) == 2


@pytest.mark.parametrize(
    ("segments", "drop"),
    [
        ([TextSegment("a"), image(1), TextSegment("b"), image(2)], Drop(clean=True)),
        ([TextSegment("a"), image(1, latents=False), TextSegment("b"), image(2)], KEEP_ALL),
    ],
)
def test_latents_that_must_be_hidden_are_learned_in_a_document_of_their_own(
    segments: Sequence[Segment], drop: Drop
) -> None:
    first, second = layouts_of(*segments, drop=drop)
    assert (copies(first), copies(second)) == (["noisy"], ["vit", "noisy"])
    assert first.images[-1] is segments[1]
    assert second.images[-1] is segments[3]


def test_one_picture_alone_keeps_its_text_loss_where_latents_are_dropped() -> None:
    (layout,) = layouts_of(TextSegment("a"), image(1), TextSegment("b"), drop=Drop(clean=True))
    assert np.count_nonzero(layout.target_weights)


def test_token_and_pair_counts_match_the_formulas() -> None:
    words, count = 4, 3
    t, u, a = words + 2, SIDE, SIDE
    parts: list[Segment] = []
    for number in range(count):
        parts += [TextSegment("x" * words), image(number)]
    settings = config(**NOISED)
    layouts = lay_out(InterleavedSequence(tuple(parts)), VOCABULARY, settings, end_loss=False)
    batch = pack(layouts, settings, latents=latents_of)
    assert batch.num_tokens == count * (t + u + a) - u
    before, after = count * (count - 1) // 2, count * (count + 1) // 2
    text = count * t * (t + 1) // 2 + t * (t + u) * before
    vit = u * (t * before + u * before)  # all but the last, each with its own and earlier ones
    noisy = a * (t * after + (u + a) * before) + count * a * a
    rule = MaskRule.from_config(settings.visibility)
    assert allowed_pairs(batch, rule) == text + vit + noisy
    assert int(rule.dense(batch.meta).sum()) == allowed_pairs(batch, rule)


@pytest.mark.parametrize("backend", ["dense", "segments"])
def test_a_later_picture_sees_the_noise_of_an_earlier_one_and_text_never_does(backend: str) -> None:
    settings = config(**NOISED)
    transformer, batch = network(settings), packed(settings, story())
    flow = flow_of(batch)
    before = forward(transformer, batch, flow, backend=backend)
    flow.noisy[:SIDE] += 1.0
    after = forward(transformer, batch, flow, backend=backend)
    moved = [relative(a, b) for a, b in zip(*(o.velocity.split(SIDE) for o in (after, before)),
                                           strict=True)]  # fmt: skip
    assert min(moved) > 1e-3
    assert torch.equal(after.logits, before.logits)
    flow.noisy[:SIDE] -= 1.0
    flow.noisy[-SIDE:] += 1.0  # the last one is seen by nobody
    last = forward(transformer, batch, flow, backend=backend)
    assert relative(last.velocity[:-SIDE], before.velocity[:-SIDE]) < CACHED


@torch.inference_mode()
def test_history_and_a_picture_being_drawn_share_a_step() -> None:
    model = tiny_model(**NOISED)
    session = model.session()
    session.extend("a")
    spans = session.state.transcript.spans
    runner = Runner(model.parts.transformer)
    context = Context(runner, drop=KEEP_ALL)
    for group in context.groups(spans, session.state.codes):
        runner.commit([group])
    positions = positions_behind(model, spans)
    drawn = DenoiseGroup([context.cache], len(noise()), runner.rule)
    run = Run(TokenKind.NOISY, positions, noise(), T)
    alone = runner.velocity(drawn, [run])
    # Another length than that of the picture being drawn, and in front of it.
    finished = Run(TokenKind.NOISY, positions[:4], noise(1)[:4])
    commit = CommitGroup([finished], context.fork().cache, runner.rule)
    _, together = run_together(model.parts.transformer, [CommitStep([commit]), DenoiseStep(drawn)])
    assert isinstance(together, torch.Tensor)
    assert relative(together, alone) < CACHED


@pytest.mark.parametrize(
    "changes",
    [
        {"visibility": NOISED["visibility"]},
        {
            "layout": LayoutConfig(part_order=("noisy", "vit")),
            "visibility": {
                "earlier": NOISED["visibility"]["earlier"] | {"text": ("text", "vit", "clean")},
            },
        },
    ],
)
def test_a_cache_that_would_hold_another_copy_than_training_saw_is_refused(
    changes: dict[str, Any],
) -> None:
    with pytest.raises(ConfigError, match=r"visibility\.earlier\.(noisy|text) names"):
        tiny_model(**changes).session()


def test_without_clean_and_without_sight_of_noisy_there_is_no_latent_history() -> None:
    settings = config(layout=LayoutConfig(part_order=("vit", "noisy")))
    assert settings.history is None
    document = InterleavedSequence((seen(1), TextSegment("b", loss=False), image(2)))
    (layout,) = lay_out(document, VOCABULARY, settings, end_loss=False)
    assert copies(layout) == ["vit", "noisy"]
