"""Sampling with compiled layers against eager ones; prints JSON. Run as `python -m tests.compiled`.

A program of its own: what checks types in the tests cannot be compiled.
"""

from __future__ import annotations

import json

import numpy as np
from torch._dynamo.utils import counters

from mogao.config import GenerationConfig, ImageSamplingConfig, RuntimeConfig
from mogao.model.ready import make_ready
from mogao.sampling.engine import Engine
from mogao.sampling.session import Session
from mogao.sequence import Pixels
from tests.tiny import picture, tiny_generation, tiny_model


def program(session: Session) -> tuple[str, Pixels]:
    """A text and a picture of the user, a picture and a text of the model."""
    session.extend(["make it red", picture(1, height=32, width=32)], role="user")
    image = session.generate_image(size=(32, 32))
    return session.generate_text(max_tokens=6), image.pixels


def main() -> None:
    """Run the program in both ways, then texts and pictures of other sizes."""
    plain, compiled = tiny_model(), tiny_model()
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
    }
    print(json.dumps(result))  # noqa: T201 - the result of this program


if __name__ == "__main__":
    main()
