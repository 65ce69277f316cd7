"""Invariants of design.md section 6 that concern sampling, under the names they have there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from mogao.config import (
    KEEP_ALL,
)
from mogao.packing.layout import TokenKind, lay_out
from mogao.packing.pack import pack
from mogao.packing.spans import Origin, keep
from mogao.pipeline import Mogao
from mogao.sampling.context import Context, read
from mogao.sampling.groups import DenoiseGroup
from mogao.sequence import ImageSegment, InterleavedSequence, Segment, TextSegment
from tests.branches import (
    DROPS,
    PRESET_DROPS,
    SIZE,
    VARIANTS,
    branch_layouts,
    cached_velocities,
    conversation,
    denoise_runs,
    document,
    drawn,
    noise,
    opened,
    pack_forward,
    positions_behind,
    relative,
    training_forward,
)
from tests.tiny import picture, tiny_generation, tiny_model
from tests.tolerances import CACHED


@pytest.mark.parametrize("is_compiled", [False, True])  # as one function, without the compiler
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("segments", [conversation(), document()], ids=["conversation", "document"])
def test_cached_equals_full_for_a_denoise_step_of_every_branch(
    variant: str, segments: list[Segment], *, is_compiled: bool
) -> None:
    model = tiny_model(**VARIANTS[variant])
    model.parts.transformer.is_compiled = is_compiled
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
    session.state.transcript.open_text()
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
                step = context.read_token(session.state.transcript.write_token(token))
                list(session.state.runner.play(step))
    behind = tokenizer.end if config.layout.text_frame else tokenizer.image_open
    assert batch.targets.tolist() == [*tokenizer.encode(answer), behind]
    assert relative(torch.cat(logits), output.logits) < CACHED


@pytest.mark.parametrize("variant", VARIANTS)
def test_cached_equals_full_behind_a_drawn_picture(variant: str) -> None:
    model = tiny_model(**VARIANTS[variant])
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
        output = pack_forward(model, batch, noise())
        context = session.state.context(KEEP_ALL)
        written = session.state.transcript.spans
        (*_, last) = (i for i, span in enumerate(written) if span.origin is Origin.PICTURE)
        spans = written[:last]
        read([(context, spans)], session.state.codes, runner=session.state.runner)
        runs = denoise_runs(model, spans)
        size = sum(run.length for run in runs)
        group = DenoiseGroup([context.cache], size, session.state.runner.rule)
        velocity = session.state.runner.velocity(group, runs)[0]
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
        boundary: tuple[int, ...] = ()
        features = staticmethod(session.state.codes.features)

        @staticmethod
        def latents(span: object) -> Tensor:
            return 100 * torch.ones_like(session.state.codes.latents(span))  # type: ignore[arg-type]

    states = []
    for codes in (session.state.codes, Scrambled()):
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
