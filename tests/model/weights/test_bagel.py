"""BAGEL as a configuration: a toy checkpoint in its layout, compared with formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mogao.config import KEEP_ALL, ImageSamplingConfig, ModelConfig
from mogao.errors import CheckpointError, RequestError
from mogao.flow import schedule
from mogao.model.vae import pixels_to_tensor
from mogao.model.weights.autoencoder import FLUX_AE
from mogao.model.weights.bagel import BAGEL, BAGEL_VISION, bagel_generation
from mogao.model.weights.rules import check, to_ours, to_theirs
from mogao.packing.spans import vit_pixels
from mogao.pipeline import Mogao
from mogao.sampling.session import Session
from mogao.sequence import ImageSegment, Pixels, TextSegment
from tests.branches import relative
from tests.model.weights.bagel_reference import (
    AE_SETTINGS,
    SETTINGS,
    Reference,
    Tokens,
    shapes,
    tensors,
)
from tests.tiny import picture, tiny_tokenizer

TOLERANCE = 1e-4
SIZE = (32, 48)
GRID = (2, 3)


def bagel() -> tuple[Mogao, Reference]:
    """The toy checkpoint as our model, and as the reference."""
    transformer, vision = BAGEL.config(SETTINGS), BAGEL_VISION.config(SETTINGS)
    config = ModelConfig(
        transformer=transformer, vision=vision, autoencoder=FLUX_AE.config(AE_SETTINGS)
    )
    generation = bagel_generation(config)
    model = Mogao.from_config(config, tokenizer=tiny_tokenizer(), generation=generation)
    found = tensors()
    inside = {n: t for n, t in found.items() if not n.startswith("vit_model")}
    tower = {n: t for n, t in found.items() if n.startswith("vit_model")}
    ours = to_ours(inside, transformer, family=BAGEL, where="toy")
    model.parts.transformer.load_state_dict(ours, strict=True)
    seen = to_ours(tower, vision, family=BAGEL_VISION, where="toy")
    model.parts.vision.model.load_state_dict(seen, strict=True)
    return model, Reference(found)


def boundary(model: Mogao) -> tuple[int, int]:
    return model.parts.tokenizer.image_open, model.parts.tokenizer.image_close


def framed(model: Mogao, text: str) -> list[int]:
    tokenizer = model.parts.tokenizer
    return [tokenizer.begin, *tokenizer.encode(text), tokenizer.end]


def pixels_for_vit(model: Mogao, pixels: Pixels) -> Tensor:
    return pixels_to_tensor([vit_pixels(pixels, model.config.transformer.layout)])[0]


def shown(
    model: Mogao, reference: Reference, pixels: Pixels, *, rope: int, latents: bool = True
) -> list[Tokens]:
    """A picture that was given or finished, as the inferencer adds it: latents, then the ViT."""
    parts = []
    if latents:
        with torch.inference_mode():
            clean = model.session().state.codes.encode(ImageSegment(pixels))
        grid = (pixels.shape[0] // 16, pixels.shape[1] // 16)
        parts.append(reference.latents(clean, grid, boundary(model), t=0.0, rope=rope, mode="full"))
        rope += 1
    return [*parts, reference.vit(pixels_for_vit(model, pixels), boundary(model), rope)]


def test_toy_checkpoint_converts_with_no_key_left_over() -> None:
    rules = [
        *BAGEL.rules(BAGEL.config(SETTINGS)),
        *BAGEL_VISION.rules(BAGEL_VISION.config(SETTINGS)),
    ]
    assert check(rules, shapes(), family=BAGEL).fits
    model, _ = bagel()
    ours = set(model.parts.transformer.state_dict())
    assert {rule.ours for rule in BAGEL.rules(model.config.transformer)} == ours


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_round_trip_is_bit_equal(dtype: torch.dtype) -> None:
    found = {name: tensor.to(dtype) for name, tensor in tensors().items()}
    for family, is_vision in ((BAGEL, False), (BAGEL_VISION, True)):
        config: Any = family.config(SETTINGS)
        part = {n: t for n, t in found.items() if n.startswith("vit_model") is is_vision}
        back = to_theirs(to_ours(part, config, family=family, where=""), config, family=family)
        assert back.keys() == part.keys()
        assert all(torch.equal(back[name], part[name]) for name in part)


def test_settings_describe_the_same_model_again() -> None:
    transformer, vision = BAGEL.config(SETTINGS), BAGEL_VISION.config(SETTINGS)
    written = BAGEL.settings(transformer) | BAGEL_VISION.settings(vision)
    assert BAGEL.config(written) == transformer
    assert BAGEL_VISION.config(written) == vision


def test_settings_that_the_core_lacks_are_refused_by_name() -> None:
    dense = SETTINGS["llm_config.json"] | {"layer_module": "Qwen2DecoderLayer"}
    with pytest.raises(CheckpointError, match="Qwen2MoTDecoderLayer"):
        BAGEL.config(SETTINGS | {"llm_config.json": dense})
    with pytest.raises(CheckpointError, match="interpolate_pos"):
        BAGEL.config(SETTINGS | {"config.json": {"interpolate_pos": True}})
    with pytest.raises(CheckpointError, match="needs vit_config"):
        BAGEL.config({"llm_config.json": SETTINGS["llm_config.json"]})


def answer_logits(model: Mogao, session: Session, answer: str) -> Tensor:
    """Logits behind the begin token and behind each token of an answer, through the cache."""
    state = session.state
    state.transcript.open_text()
    rows = []
    with torch.inference_mode():
        for token in [*model.parts.tokenizer.encode(answer), None]:
            (context,) = state.read([(KEEP_ALL, state.transcript.spans)])
            assert context.logits is not None
            rows.append(context.logits[0])
            if token is not None:
                state.transcript.write_token(token)
    return torch.stack(rows)


def test_text_logits_equal_the_formulas() -> None:
    model, reference = bagel()
    session = model.session()
    session.extend("a cat")
    got = answer_logits(model, session, "meow")
    asked, told = framed(model, "a cat"), framed(model, "meow")[:-1]
    parts = [reference.text(asked, 0), reference.text(told, len(asked))]
    assert relative(got, reference.logits(reference.states(parts)[-1])) < TOLERANCE


@pytest.mark.parametrize("latents", [False, True], ids=["understanding", "both encoders"])
def test_text_behind_a_picture_equals_the_formulas(latents: bool) -> None:
    model, reference = bagel()
    pixels = picture(4, height=SIZE[0], width=SIZE[1])
    session = model.session()
    session.extend([ImageSegment(pixels, latents=latents), TextSegment("what?")])
    got = answer_logits(model, session, "a cat")
    parts = shown(model, reference, pixels, rope=0, latents=latents)
    rope = len(parts)
    asked, told = framed(model, "what?"), framed(model, "a cat")[:-1]
    parts += [reference.text(asked, rope), reference.text(told, rope + len(asked))]
    assert relative(got, reference.logits(reference.states(parts)[-1])) < TOLERANCE


def velocity(
    model: Mogao, reference: Reference, context: list[Tokens], noisy: Tensor, t: float
) -> Tensor:
    """The velocity of a picture behind some context."""
    rope = max((part.ids[-1] for part in context), default=-1) + 1
    drawn = reference.latents(noisy, GRID, boundary(model), t=t, rope=rope, mode="noise")
    return reference.velocity(reference.states([*context, drawn])[-1])


def guided(session: Session, config: ImageSamplingConfig, noisy: Tensor, t: float) -> Tensor:
    state = session.state
    state.transcript.open_picture(ImageSegment(np.zeros((*SIZE, 3), np.uint8)))
    field, _ = state.guided_velocity(config, GRID, drawn=state.transcript.index)
    with torch.inference_mode():
        return field(noisy, t)


def test_picture_beyond_the_table_of_positions_is_refused_or_shrunk() -> None:
    model, _ = bagel()
    session = model.session()
    session.extend("a cat")
    with pytest.raises(RequestError, match="at most 80 pixels a side"):
        session.generate_image(size=(96, 16))
    session.extend(picture(1, height=32, width=160))
    assert session.sequence.images[-1].size == (16, 80)


def noise() -> Tensor:
    return torch.randn(GRID[0] * GRID[1], 16, generator=torch.Generator().manual_seed(3))


def contexts(
    model: Mogao, reference: Reference, pixels: Pixels, *, thought: str = ""
) -> tuple[list[Tokens], list[Tokens], list[Tokens]]:
    """All; without the last text and what was thought; texts alone: of an edit."""
    image = shown(model, reference, pixels, rope=0)
    asked = framed(model, "make it red")
    full = [*image, reference.text(asked, len(image))]
    if thought:
        full.append(reference.text(framed(model, thought), len(image) + len(asked)))
    return full, image, [reference.text(asked, 0)]


@pytest.mark.parametrize("renorm", ["bagel", "bagel_edit"])
@pytest.mark.parametrize("t", [0.9, 0.3])
def test_guided_velocity_of_an_edit_equals_the_formulas(renorm: Any, t: float) -> None:
    model, reference = bagel()
    pixels = picture(4, height=SIZE[0], width=SIZE[1])
    config = ImageSamplingConfig(guidance=renorm)
    session = model.session()
    session.extend([ImageSegment(pixels), TextSegment("make it red")])
    got = guided(session, config, noise(), t)
    full, no_text, no_image = (
        velocity(model, reference, context, noise(), t)
        for context in contexts(model, reference, pixels)
    )
    text, image = (4.0, 1.5) if renorm == "bagel" else (4.0, 2.0)
    if renorm == "bagel" and t <= 0.4:
        expected = full
    elif renorm == "bagel":
        mixed = no_image + image * (no_text + text * (full - no_text) - no_image)
        expected = mixed * (full.norm() / (mixed.norm() + 1e-8)).clamp(max=1.0)
    else:
        told = no_text + text * (full - no_text)
        scale = full.norm(dim=-1, keepdim=True) / (told.norm(dim=-1, keepdim=True) + 1e-8)
        expected = no_image + image * (told * scale.clamp(max=1.0) - no_image)
    assert relative(got, expected) < TOLERANCE


def test_first_picture_is_guided_by_an_empty_context() -> None:
    model, reference = bagel()
    session = model.session()
    session.extend("a cat")
    got = guided(session, ImageSamplingConfig(guidance="bagel"), noise(), 0.8)
    full = velocity(model, reference, [reference.text(framed(model, "a cat"), 0)], noise(), 0.8)
    empty = velocity(model, reference, [], noise(), 0.8)
    told = empty + 4.0 * (full - empty)
    # No picture was given, so the context without pictures is the full one.
    mixed = full + 1.5 * (told - full)
    expected = mixed * (full.norm() / (mixed.norm() + 1e-8)).clamp(max=1.0)
    assert relative(got, expected) < TOLERANCE


def test_thought_is_known_to_the_full_context_alone() -> None:
    model, reference = bagel()
    pixels = picture(4, height=SIZE[0], width=SIZE[1])
    session = model.session()
    session.extend([ImageSegment(pixels), TextSegment("make it red")])
    session.extend(TextSegment("red it is", tags=("thought",)))
    got = guided(session, ImageSamplingConfig(guidance="bagel"), noise(), 0.9)
    full, no_text, no_image = (
        velocity(model, reference, context, noise(), 0.9)
        for context in contexts(model, reference, pixels, thought="red it is")
    )
    mixed = no_image + 1.5 * (no_text + 4.0 * (full - no_text) - no_image)
    expected = mixed * (full.norm() / (mixed.norm() + 1e-8)).clamp(max=1.0)
    assert relative(got, expected) < TOLERANCE


def test_written_thought_carries_its_tag_and_its_frame() -> None:
    model, _ = bagel()
    session = model.session()
    session.extend("a cat")
    session.generate_text(max_tokens=3, tags=("thought",))
    segment = session.sequence.segments[-1]
    assert isinstance(segment, TextSegment)
    assert segment.tags == ("thought",)
    written = [span for span in session.state.transcript.spans if span.segment == 1]
    assert all(span.tags == ("thought",) for span in written)
    tokenizer = model.parts.tokenizer
    assert (written[0].ids, written[-1].ids) == ((tokenizer.begin,), (tokenizer.end,))


def test_session_draws_looks_and_draws_again() -> None:
    model, _ = bagel()
    image = model.generation.image.model_copy(update={"num_steps": 2})
    few = model.generation.model_copy(update={"image": image})
    session = model.session(generation=few)
    session.extend("a cat")
    first = session.generate_image(size=SIZE)
    session.extend("make it blue")
    session.generate_text(max_tokens=3)
    second = session.generate_image()
    assert first.size == second.size == SIZE
    assert session.trace()["evaluations"] > 0


def test_schedule_is_that_of_fifty_time_steps() -> None:
    model, _ = bagel()
    config = model.generation.image
    points = torch.linspace(1, 0, 50)
    expected = 3.0 * points / (1 + 2.0 * points)
    got = schedule(config.num_steps, shift=config.shift)
    assert len(got) - 1 == 49
    torch.testing.assert_close(torch.tensor(got), expected, atol=1e-6, rtol=1e-5)
