"""Pictures that are drawn as one batch get the velocities that each would get alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mogao.packing.spans import keep
from mogao.pipeline import Mogao
from mogao.sampling import batches
from mogao.sampling.batches import batch_pictures
from mogao.sampling.context import Context, read
from mogao.sampling.groups import DenoiseGroup, PicturePast
from mogao.sampling.runner import DenoiseStep, run_together
from tests.branches import DROPS, VARIANTS, conversation, denoise_runs, document, opened
from tests.tiny import tiny_model
from tests.tolerances import CACHED


def noisy_group(model: Mogao, segments: Any, names: list[str], *, t: float) -> DenoiseGroup:
    """One picture behind some segments, under several drops, at a time."""
    session, _ = opened(model, segments)
    runner, spans = session.state.runner, session.state.transcript.spans
    drops = [DROPS[name] for name in names]
    contexts = [Context(runner, drop=drop) for drop in drops]
    kept = [keep(spans, drop, drawn=session.state.transcript.index) for drop in drops]
    read(list(zip(contexts, kept, strict=True)), session.state.codes, runner=runner)
    runs = [[replace(run, t=t) for run in denoise_runs(model, part)] for part in kept]
    size = sum(run.length for run in runs[0])
    group = DenoiseGroup([context.cache for context in contexts], size, runner.rule)
    group.runs = tuple(run for part in runs for run in part)
    return group


def velocities(model: Mogao, groups: list[DenoiseGroup], *, is_compiled: bool) -> list[Tensor]:
    transformer = model.parts.transformer
    transformer.is_compiled = is_compiled
    found = run_together(transformer, [DenoiseStep(group) for group in groups])
    transformer.is_compiled = False
    assert all(isinstance(one, Tensor) for one in found)
    return [one for one in found if isinstance(one, Tensor)]


def three(model: Mogao) -> list[DenoiseGroup]:
    names = list(DROPS)
    return [
        noisy_group(model, conversation(), names[:3], t=0.9),
        noisy_group(model, document(), names[:2], t=0.4),
        noisy_group(model, document(), names[:1], t=0.4),
    ]


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "bagel"])
def test_a_batch_of_pictures_equals_each_picture_alone(variant: str) -> None:
    model = tiny_model(**VARIANTS[variant])
    with torch.inference_mode():
        groups = three(model)
        assert [len(one.members) for one in batch_pictures(groups)[0]] == [3]
        got = velocities(model, groups, is_compiled=True)
        for group, velocity in zip(groups, got, strict=True):
            (alone,) = velocities(model, [group], is_compiled=False)
            (solo,) = velocities(model, [group], is_compiled=True)
            torch.testing.assert_close(velocity, alone, rtol=CACHED, atol=CACHED)
            torch.testing.assert_close(solo, alone, rtol=CACHED, atol=CACHED)


def test_what_was_joined_serves_until_others_join(model: Mogao) -> None:
    with torch.inference_mode():
        groups = three(model)
        first = PicturePast.of(groups)
        assert PicturePast.of(groups) is first
        assert PicturePast.of(groups[:2]) is not first
        last = groups.pop()
        del last
        assert first.members[2]() is None  # nobody is kept alive
        alone = PicturePast.of(groups[:1])
        assert alone.keys_values.data_ptr() != groups[0].buffer.data_ptr()
        assert alone.keys_values.untyped_storage().data_ptr() == (
            groups[0].buffer.untyped_storage().data_ptr()
        )


def test_pictures_with_boundaries_or_too_much_past_are_not_joined(
    model: Mogao, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.inference_mode():
        bagel = tiny_model(**VARIANTS["bagel"])
        framed = noisy_group(bagel, document(), list(DROPS)[:1], t=0.4)
        assert batch_pictures([framed]) == ([], [framed])
        groups = three(model)
        expected = velocities(model, groups, is_compiled=False)
        monkeypatch.setattr(batches, "MAX_COPIED_BYTES", 0)
        assert batch_pictures(groups) == ([], groups)
        got = velocities(model, groups, is_compiled=True)
        for one, other in zip(got, expected, strict=True):
            torch.testing.assert_close(one, other)
        assert [len(one.members) for one in batch_pictures(groups[:1])[0]] == [1]
