"""Speed of sampling: text at several contexts, a denoise step, a document, many sessions together.

In: nothing. Out: the JSON of `mogao bench decode`, `denoise`, `interleave` and `batch`. Weights are
random where no model is named.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from mogao.bench.measure import seconds_of
from mogao.config import (
    AutoencoderConfig,
    GenerationConfig,
    ImageSamplingConfig,
    LimitsConfig,
    ModelConfig,
    RuntimeConfig,
    TransformerConfig,
    VisionConfig,
)
from mogao.model.hardware import compiler_available
from mogao.pipeline import Mogao
from mogao.sampling.engine import Engine
from mogao.sampling.session import Session
from mogao.sequence import ImageSegment, Pixels, TextSegment
from mogao.tokenizer import Tokenizer

CONTEXTS = (256, 1024, 4096)
NEW_TOKENS = 64
REPEATS = 5
SMALL = TransformerConfig(
    vocab_size=1000, hidden=256, num_layers=4, num_heads=4, num_kv_heads=2, head_dim=64,
    ffn_hidden=1024, ffn="swiglu", latent_dim=64, vision_dim=64,
)  # fmt: skip
"""Width 256, four layers, four query and two key heads: the size at which peers are measured."""
SMALL_IMAGE = ImageSamplingConfig(num_steps=20, guidance="text_only", height=256, width=256)
"""256 tokens, 20 evaluations of two branches."""


class OnlyText:
    """A grammar without an end: texts of an exact length."""

    def __init__(self, model: Mogao) -> None:
        tokenizer = model.parts.tokenizer
        self._allowed = torch.ones(model.config.transformer.vocab_size, dtype=torch.bool)
        self._allowed[[tokenizer.end, tokenizer.image_open]] = False

    def allowed(self, ids: Sequence[int]) -> Bool[Tensor, " vocab"]:  # noqa: ARG002 - the protocol
        """Return everything but the end and pictures."""
        return self._allowed


def runtime(*, compiled: bool) -> RuntimeConfig:
    """Return how models are made ready: layers compiled where a compiler exists, or eager."""
    available = compiler_available(torch.device("cpu"))
    return RuntimeConfig(compile="default" if compiled and available else "off")


def small_model(*, dtype: str, compiled: bool) -> Mogao:
    """Return a model of `SMALL` with random weights, and a tokenizer of single bytes."""
    config = ModelConfig(
        name="bench",
        transformer=SMALL,
        vision=VisionConfig(hidden=64, num_layers=1, num_heads=1, ffn_hidden=128),
        autoencoder=AutoencoderConfig(block_channels=(32,)),
    )
    generation = GenerationConfig(
        limits=LimitsConfig(pixel_budget=65_536),
        image=SMALL_IMAGE,
        runtime=runtime(compiled=compiled),
    )
    tokenizer = Tokenizer.train([], vocab_size=264)
    return Mogao.from_config(config, tokenizer=tokenizer, generation=generation, dtype=dtype)


def decode(
    *, dtype: str, compiled: bool, contexts: Sequence[int] = CONTEXTS, seed: int = 0
) -> dict[str, Any]:
    """Measure text decoding behind prompts of several lengths, prefill excluded."""
    model = small_model(dtype=dtype, compiled=compiled)
    grammar = OnlyText(model)
    rows = []
    for context in contexts:
        rates = []
        for number in range(REPEATS + 1):
            session = model.session(seed=seed)
            session.extend("x" * (context - 1))
            session.generate_text(max_tokens=NEW_TOKENS, grammar=grammar)
            if not number:
                continue  # compiles
            (event,) = (e for e in session.trace()["events"] if e["event"] == "text")
            rates.append(event["tokens"] / (event["seconds"] - event["prefill_seconds"]))
        rows.append({"context": context, "tokens_per_second": statistics.median(rates)})
    return {"rows": rows}


def denoise(
    *,
    model: Mogao,
    side: int,
    history: int,
    branches: Sequence[int],
    picture: bool = True,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure one denoise step under one, two and three guidance branches.

    Args:
        model: The model.
        side: Of the square picture that is drawn, pixels.
        history: Text tokens before it.
        branches: Numbers of branches.
        picture: Whether a picture of the same size comes first; three branches need one.
        seed: Of the noise.
    """
    settings = {
        1: ImageSamplingConfig(guidance="off"),
        2: ImageSamplingConfig(guidance="text_only"),
        3: ImageSamplingConfig(guidance="mogao"),
    }
    noise = np.random.default_rng(seed)
    shown = noise.integers(0, 256, (side, side, 3), dtype=np.uint8)
    grid = (side // model.config.token_pixels,) * 2
    rows = []
    for num in branches:
        session = model.session(seed=seed)
        session.extend([ImageSegment(shown)] * picture + [TextSegment("x" * history)])
        transcript = session.state.transcript
        with torch.inference_mode():
            transcript.open_picture(ImageSegment(shown))
            velocity, _ = session.state.guided_velocity(settings[num], grid, drawn=transcript.index)
            size = (grid[0] * grid[1], model.config.transformer.latent_dim)
            latents = torch.from_numpy(noise.standard_normal(size, np.float32))
            step = partial(velocity, latents, 0.5)
            for _ in range(3):
                step()
            seconds = statistics.median(seconds_of(step) for _ in range(4 * REPEATS))
        rows.append({"branches": num, "seconds_per_step": seconds})
    return {"rows": rows}


def interleave(
    *, dtype: str, compiled: bool, num_documents: int = 1, seed: int = 0
) -> dict[str, Any]:
    """Measure a document: 32 tokens of text, a picture of 256 tokens, and both once more.

    Args:
        dtype: Compute type.
        compiled: Whether layers are compiled.
        num_documents: Several run together in an engine.
        seed: Of the first; the others follow.
    """
    model = small_model(dtype=dtype, compiled=compiled)
    grammar = OnlyText(model)

    def document(session: Session) -> None:
        session.extend("x")
        for _ in range(2):
            session.generate_text(max_tokens=32, grammar=grammar)
            session.generate_image()

    def run() -> None:
        if num_documents == 1:
            document(model.session(seed=seed))
            return
        with Engine(model.parts, generation=model.generation) as engine:
            list(engine.map([document] * num_documents, seeds=count(seed)))

    run()
    return {"seconds": statistics.median(seconds_of(run) for _ in range(REPEATS))}


def picture(*, dtype: str, compiled: bool, seed: int = 0) -> dict[str, Any]:
    """Measure one picture of 256 tokens behind 24 of text: 20 evaluations of two branches."""
    model = small_model(dtype=dtype, compiled=compiled)

    def run() -> None:
        session = model.session(seed=seed)
        session.extend("x" * 24)
        session.generate_image()

    run()
    return {"seconds": statistics.median(seconds_of(run) for _ in range(REPEATS))}


def default_picture(model: Mogao, *, seed: int = 0) -> dict[str, Any]:
    """Measure one picture of a model at its default quality."""

    def run() -> None:
        session = model.session(seed=seed)
        session.extend("a photo of a cat")
        session.generate_image()

    run()
    return {"seconds": statistics.median(seconds_of(run) for _ in range(REPEATS))}


def first_token(model: Mogao, *, seed: int = 0) -> dict[str, Any]:
    """Measure the time to the first token behind a prompt of some 200 tokens, warm."""
    grammar, size = OnlyText(model), len(model.parts.tokenizer.encode(PROMPT))

    def run() -> None:
        session = model.session(seed=seed)
        session.extend(PROMPT * (200 // size), role="user")
        session.generate_text(max_tokens=1, grammar=grammar)

    run()
    return {"seconds": statistics.median(seconds_of(run) for _ in range(2 * REPEATS))}


Job = Callable[[Session], tuple[str, list[Pixels]]]


def batch(*, model: Mogao, exact: Mogao, seed: int = 0) -> dict[str, Any]:
    """Measure eight requests together and in turn: texts, pictures, four of each.

    Args:
        model: Measured in its own type.
        exact: The same model in float32, in which results are compared.
        seed: Of the first request; the others follow.
    """
    grammar = OnlyText(model)
    size = len(model.parts.tokenizer.encode(PROMPT))

    def text(session: Session) -> tuple[str, list[Pixels]]:
        session.extend(PROMPT * (200 // size), role="user")
        return session.generate_text(max_tokens=NEW_TOKENS, grammar=grammar), []

    def picture(session: Session) -> tuple[str, list[Pixels]]:
        session.extend("a photo of a cat")
        return "", [session.generate_image().pixels]

    mixes: dict[str, list[Job]] = {
        "text": [text] * 8,
        "pictures": [picture] * 8,
        "mixed": [text, picture] * 4,
    }
    runs = (partial(_in_turn, seed=seed), partial(_together, seed=seed))
    rows = []
    for mix, jobs in mixes.items():
        in_turn, together = (_times(model, jobs, run) for run in runs)
        alone, joined = (run(exact, jobs) for run in runs)
        rows.append({
            "mix": mix,
            "together_seconds": together,
            "in_turn_seconds": in_turn,
            "equal": all(_equal(a, b) for a, b in zip(alone, joined, strict=True)),
        })  # fmt: skip
    return {"rows": rows}


PROMPT = "Describe the picture in detail. "


def _times(model: Mogao, jobs: Sequence[Job], run: Callable[..., object]) -> float:
    run(model, jobs)
    times = []
    for _ in range(3):
        started = time.perf_counter()
        run(model, jobs)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _in_turn(model: Mogao, jobs: Sequence[Job], *, seed: int) -> list[tuple[str, list[Pixels]]]:
    return [job(model.session(seed=own)) for own, job in enumerate(jobs, start=seed)]


def _together(model: Mogao, jobs: Sequence[Job], *, seed: int) -> list[tuple[str, list[Pixels]]]:
    with Engine(model.parts, generation=model.generation) as engine:
        return list(engine.map(jobs, seeds=count(seed)))


def _equal(one: tuple[str, list[Pixels]], other: tuple[str, list[Pixels]]) -> bool:
    """Equal texts; pictures whose bytes differ by rounding at most."""
    pairs = zip(one[1], other[1], strict=True)
    close = all(np.abs(a.astype(int) - b.astype(int)).max() <= 1 for a, b in pairs)
    return one[0] == other[0] and close
