"""Sampling with compiled layers against eager ones; prints JSON. Run as `python -m tests.compiled`.

A program of its own: what checks types in the tests cannot be compiled.
"""

from __future__ import annotations

import json
from importlib.util import find_spec

import numpy as np
import torch
from torch._dynamo.utils import counters

from mogao.config import GenerationConfig, ImageSamplingConfig, RuntimeConfig
from mogao.model.ready import make_ready
from mogao.model.transformer import MogaoTransformer
from mogao.sampling.engine import Engine
from mogao.sampling.session import Session
from mogao.sequence import Pixels
from tests.tiny import picture, tiny_generation, tiny_model

WIDE: dict[str, int] = {"hidden": 64, "ffn_hidden": 512}
"""So wide that a product of one row is added up in parts."""


def error_of_bytes() -> float | None:
    """How far the compiled product of one row with 8-bit matrices is from the library's."""
    if find_spec("torchao") is None:
        return None
    eager, compiled = (tiny_model(**WIDE).parts.transformer for _ in range(2))
    make_ready(eager, RuntimeConfig(weights="int8"))
    make_ready(compiled, RuntimeConfig(weights="int8", compile="default"))
    ids, positions = torch.tensor([5]), torch.full((1, 3), 16.0)
    past = torch.randn(2, 2, 1, 2, 16, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, got = (
            model.text_step(ids, positions, past=past, bias=None)[0] for model in (eager, compiled)
        )
    return float((got - expected).abs().max() / expected.abs().max())


def errors_in_bfloat16() -> dict[str, float]:
    """How far compiled steps of two texts and of two pictures are from eager ones."""
    shape: dict[str, int] = {**WIDE, "head_dim": 32}
    eager, compiled = (tiny_model(**shape).parts.transformer.bfloat16() for _ in range(2))
    eager.compute_dtype = compiled.compute_dtype = torch.bfloat16
    make_ready(compiled, RuntimeConfig(compile="default"))
    generator = torch.Generator().manual_seed(0)
    past = torch.randn(2, 2, 2, 2, 40, 32, generator=generator).bfloat16()
    latents = torch.randn(2 * 16, eager.config.latent_dim, generator=generator)
    places = torch.randint(9, (2 * 16, 3), generator=generator).float()
    hidden = torch.zeros(2, 1, 40, dtype=torch.bfloat16)
    hidden[1, :, 20:] = -torch.inf
    hidden_behind_own = torch.cat((torch.zeros_like(hidden[..., :16]), hidden), dim=-1)

    def text(model: MogaoTransformer) -> torch.Tensor:
        ids, positions = torch.tensor([5, 9]), torch.full((2, 3), 40.0)
        return model.text_step(ids, positions, past=past, bias=hidden)[0]

    def pictures(model: MogaoTransformer) -> torch.Tensor:
        t = torch.tensor([0.2, 0.7])
        return model.picture_step(latents, t, places, past=past, bias=hidden_behind_own)

    errors = {}
    with torch.inference_mode():
        for step in (text, pictures):
            expected, got = step(eager), step(compiled)
            errors[step.__name__] = float((got - expected).abs().max() / expected.abs().max())
    return errors


def program(session: Session) -> tuple[str, Pixels]:
    """A text and a picture of the user, a picture and a text of the model."""
    session.extend(["make it red", picture(1, height=32, width=32)], role="user")
    image = session.generate_image(size=(32, 32))
    return session.generate_text(max_tokens=6), image.pixels


def main() -> None:
    """Run the program in both ways, then texts and pictures of other sizes."""
    plain, compiled = tiny_model(**WIDE), tiny_model(**WIDE)
    make_ready(compiled.parts.transformer, RuntimeConfig(compile="default"))
    expected, got = program(plain.session()), program(compiled.session())
    two_branches = GenerationConfig(
        image=ImageSamplingConfig(num_steps=2, height=32, width=48, guidance="text_only")
    )
    alone = [program(plain.session(seed=i, generation=two_branches)) for i in range(2)]
    with Engine(compiled.parts, generation=two_branches) as engine:
        joined = list(engine.map([program] * 2, seeds=range(2)))
    first = sum(counters["frames"].values())
    other = compiled.session(generation=tiny_generation())
    other.extend("something else that is longer than what came before", role="user")
    other.generate_image(size=(48, 32))
    other.generate_text(max_tokens=3)
    pairs = zip([got, *joined], [expected, *alone], strict=True)
    result = {
        "texts_equal": [text for text, _ in [got, *joined]] == [t for t, _ in [expected, *alone]],
        "largest_difference": max(
            int(np.abs(mine[1].astype(int) - theirs[1].astype(int)).max()) for mine, theirs in pairs
        ),
        "compiled": first,
        "compiled_later": sum(counters["frames"].values()) - first,
        "error_of_bytes": error_of_bytes(),
        "errors_in_bfloat16": errors_in_bfloat16(),
    }
    print(json.dumps(result))  # noqa: T201 - the result of this program


if __name__ == "__main__":
    main()
