"""What a session keeps: memory that is given back, traces that say what was asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from mogao.config import GenerationConfig, TextSamplingConfig
from mogao.errors import RequestError
from mogao.pipeline import Mogao
from mogao.sampling.events import Finished, ImageStarted
from mogao.sampling.session import Session
from tests.tiny import tiny_generation


def test_a_picture_left_at_any_step_frees_its_memory(model: Mogao) -> None:
    session = model.session(seed=3, generation=tiny_generation())
    session.extend("a cat")
    session.generate_text(max_tokens=1)
    before = session.cache_bytes
    for count in (1, 2, 2):
        stream = session.stream(force_image=True)
        for _ in range(count):
            next(stream)
        assert count == 1 or session.cache_bytes > before
        stream.close()
        assert session.cache_bytes == before
    assert not session.state.codes.known_latents
    left = [event for event in session.trace()["events"] if event["event"] == "image_left"]
    assert len(left) == 2
    assert session.trace()["evaluations"] == sum(event["evaluations"] for event in left) > 0


def test_rewinding_forgets_what_is_known_of_pictures(model: Mogao) -> None:
    session = model.session(seed=3, generation=tiny_generation())
    session.extend("a cat")
    session.generate_image()
    session.generate_image()
    assert session.state.codes.known_latents
    session.rewind(1)
    assert not session.state.codes.known_latents
    assert not session.state.codes.known_features


def test_the_trace_says_what_was_asked_for(model: Mogao) -> None:
    session = model.session(seed=3, generation=tiny_generation())
    session.extend("a cat")
    session.generate_image(size=(32, 16))
    other = tiny_generation().model_copy(update={"text": TextSamplingConfig(max_tokens=3)})
    session.generate_text(generation=other)
    first, second = (e for e in session.trace()["events"] if e["event"] == "started")
    assert first == {
        "event": "started", "image_size": [32, 16], "force_image": True, "only_image": True,
    }  # fmt: skip
    assert second["generation"]["text"]["max_tokens"] == 3


def test_the_token_that_ends_or_opens_has_a_log_probability_too(model: Mogao) -> None:
    text = TextSamplingConfig(temperature=1.0, max_tokens=400, log_probs=True)
    generation = tiny_generation().model_copy(update={"text": text})
    session = model.session(seed=1, generation=generation)
    session.extend("a cat", role="user")
    events = list(session.stream(max_images=3))
    opened = [event for event in events if isinstance(event, ImageStarted)]
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert opened or finished.reason == "end"
    assert all(event.log_prob is not None and event.log_prob < 0 for event in opened)
    assert (finished.log_prob is not None) == (finished.reason == "end")
    forced = session.stream(force_image=True, max_images=1)
    assert next(forced) == ImageStarted(0, *opened_size(session), None)
    forced.close()


def opened_size(session: Session) -> tuple[int, int]:
    images = session.sequence.images
    image = session.generation.image
    return images[-1].size if images else (image.height, image.width)


def test_a_picture_beyond_the_limit_is_refused_before_anything_is_written(model: Mogao) -> None:
    limits = tiny_generation().limits.model_copy(update={"max_output_pixels": 1024})
    generation = tiny_generation().model_copy(update={"limits": limits})
    session = model.session(generation=generation)
    session.extend("a cat")
    with pytest.raises(RequestError, match="max_output_pixels"):
        session.stream(image_size=(64, 32))


def test_pillow_pictures_are_oriented_and_refused_like_files(model: Mogao) -> None:
    upright = Image.fromarray(np.zeros((32, 16, 3), np.uint8))
    turned = upright.copy()
    turned.getexif()[0x0112] = 6  # to be shown turned by a quarter
    clear = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    session = model.session()
    session.extend([upright, turned, clear])
    sizes = [image.size for image in session.sequence.images]
    assert sizes == [(32, 16), (16, 32), (16, 16)]
    assert session.sequence.images[2].pixels.min() == 255
    with pytest.raises(RequestError, match="at most"):
        session.extend(Image.new("RGB", (16_384, 16_384)))


@pytest.mark.parametrize(
    ("settings", "evaluations"),
    [
        ({}, 8),
        ({"sampler": "midpoint"}, 16),
        ({"sampler": "heun"}, 14),
        ({"sampler": "dpm"}, 8),
        ({"sampler": "sde"}, 8),
        ({"reuse_threshold": 1e6}, 4),  # the first and the last velocity are computed
    ],
)
def test_a_session_draws_with_the_sampler_that_is_set(
    model: Mogao, settings: dict[str, Any], evaluations: int
) -> None:
    def drawn(changes: dict[str, Any]) -> tuple[np.ndarray, int]:
        image = {"num_steps": 4, "height": 32, "width": 32, "guidance": "text_only", **changes}
        session = model.session(
            seed=3, generation=GenerationConfig.model_validate({"image": image})
        )
        session.extend("a cat")
        pixels = session.generate_image().pixels
        return pixels, session.trace()["evaluations"]

    pixels, count = drawn(settings)
    assert count == evaluations
    assert not settings or (pixels != drawn({})[0]).any()
