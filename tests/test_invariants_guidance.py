"""Invariants of design.md section 6 that concern guidance, under the names they have there."""

from __future__ import annotations

import torch
from torch import Tensor

from mogao.config import (
    KEEP_ALL,
    ImageSamplingConfig,
)
from mogao.pipeline import Mogao
from tests.branches import (
    DROPS,
    GRID,
    T,
    cached_velocities,
    conversation,
    noise,
    opened,
    relative,
)
from tests.tolerances import CACHED


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
