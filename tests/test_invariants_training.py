"""Invariants of design.md section 6 that concern packing, the network and the losses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mogao.bench.ectf import document as bench_document
from mogao.bench.ectf import one_per_picture
from mogao.config import (
    IlRopeConfig,
    MRopeConfig,
    OneDConfig,
    PositionsConfig,
    RoutingConfig,
)
from mogao.flow import FlowInputs, interpolate
from mogao.loss import flow_loss_sum
from mogao.model.attention import Backend, SegmentAttention, make_attention
from mogao.model.block import BranchInput
from mogao.model.init import copy_text_to_visual, initialise
from mogao.model.rope import rotate, rotation
from mogao.model.transformer import MogaoTransformer
from mogao.packing.cost import allowed_pairs
from mogao.packing.layout import TokenKind, lay_out
from mogao.packing.mask import MaskRule
from mogao.packing.pack import num_tokens, pack
from mogao.packing.positions import image_positions, text_positions
from mogao.sequence import InterleavedSequence, Segment, TextSegment
from tests.packs import (
    GRID,
    VOCABULARY,
    config,
    flow_of,
    forward,
    gradients,
    image,
    latents_of,
    network,
    packed,
    relative,
    story,
)
from tests.tolerances import COPIED_WEIGHTS, FLOAT32, FLOAT32_GRADIENT


def test_noisy_block_equals_its_own_run() -> None:
    settings = config()
    transformer = network(settings)
    whole = story()
    together = packed(settings, whole)
    flow = flow_of(together)
    apart = [packed(settings, document) for document in one_per_picture(whole)]
    size = GRID[0] * GRID[1]
    joined = forward(transformer, together, flow).velocity
    own_gradient = torch.zeros(0)
    for number, single in enumerate(apart):
        places = slice(number * size, (number + 1) * size)
        # The same noise and time; the single run has only this one noisy picture.
        own = FlowInputs(flow.noisy[places], flow.t[number : number + 1], flow.velocity[places])
        velocity = forward(transformer, single, own).velocity
        assert relative(velocity, joined[places]) < FLOAT32
        loss = flow_loss_sum(velocity, own.velocity, single.noisy_weights)
        gradient = gradients(transformer, loss)
        own_gradient = gradient if not number else own_gradient + gradient
    together_loss = flow_loss_sum(
        forward(transformer, together, flow).velocity, flow.velocity, together.noisy_weights
    )
    assert relative(own_gradient, gradients(transformer, together_loss)) < FLOAT32_GRADIENT


def test_future_is_invisible_in_a_pack() -> None:
    settings = config()
    transformer = network(settings)
    other = InterleavedSequence((TextSegment("other"), image(8)))
    changed_other = InterleavedSequence((TextSegment("OTHER"), image(9)))
    parts = list(story().segments)
    later = InterleavedSequence((*parts[:4], TextSegment("no"), image(7)))
    batches = [
        packed(settings, story(), other),
        packed(settings, later, other),
        packed(settings, story(), changed_other),
    ]
    outputs = []
    for batch in batches:
        flow = flow_of(batch)
        # A later noisy block gets other noise: it must not matter either.
        flow.noisy[-1] += 3.0
        outputs.append(forward(transformer, batch, flow))
    earlier_text = len("one fox") + 1 + len("it runs far") + 1
    earlier_noisy = 2 * GRID[0] * GRID[1]
    for output in outputs[1:]:
        assert relative(output.logits[:earlier_text], outputs[0].logits[:earlier_text]) < FLOAT32
        assert (
            relative(output.velocity[:earlier_noisy], outputs[0].velocity[:earlier_noisy]) < FLOAT32
        )


def rotated(positions: np.ndarray, kind: PositionsConfig) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(len(positions), 1, 16, generator=generator)
    turn = rotation(torch.from_numpy(positions), kind, head_dim=16, base=100.0)
    return x, rotate(x, turn)


def scores(positions: np.ndarray, kind: PositionsConfig) -> Tensor:
    _, turned = rotated(positions, kind)
    return turned[:, 0] @ turned[:, 0].T


def test_rope_text_only_is_1d() -> None:
    same = IlRopeConfig(text_axes="same")
    three = scores(text_positions(3, 7, same), same)
    one = scores(text_positions(3, 7, OneDConfig()), OneDConfig())
    assert torch.equal(three, one)


@pytest.mark.parametrize("text_axes", ["zero", "same"])
def test_two_equal_images_differ_only_in_time(text_axes: Any) -> None:
    kind = IlRopeConfig(text_axes=text_axes)
    first, second = image_positions(4, GRID, kind), image_positions(9, GRID, kind)
    assert np.array_equal(first[:, 1:], second[:, 1:])
    assert set(first[:, 0]) == {4}
    assert set(second[:, 0]) == {9}


@pytest.mark.parametrize("with_picture", [True, False])
def test_shift_of_time_changes_nothing(with_picture: bool) -> None:
    def document(time: int, kind: IlRopeConfig) -> np.ndarray:
        parts = [text_positions(time, 3, kind)]
        if with_picture:
            parts += [image_positions(time + 3, GRID, kind), text_positions(time + 4, 2, kind)]
        return np.concatenate(parts)

    zero, same = IlRopeConfig(text_axes="zero"), IlRopeConfig(text_axes="same")
    assert relative(scores(document(0, zero), zero), scores(document(11, zero), zero)) < 1e-4
    moved = relative(scores(document(0, same), same), scores(document(11, same), same))
    assert (moved < 1e-4) is not with_picture


def test_m_rope_counts_rows_and_columns_from_the_running_time() -> None:
    positions = image_positions(5, (2, 2), MRopeConfig())
    assert positions.tolist() == [[5, 5, 5], [5, 5, 6], [5, 6, 5], [5, 6, 6]]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_token_and_pair_counts_match_the_formulas(count: int) -> None:
    """T counts the open token and the previous close token (or the begin token)."""
    words, side = 4, GRID[0] * GRID[1]
    t, u, a = words + 2, side, side
    parts: list[Segment] = []
    for number in range(count):
        parts += [TextSegment("x" * words), image(number)]
    document = InterleavedSequence(tuple(parts))
    settings = config()
    layouts = lay_out(document, VOCABULARY, settings, end_loss=False)
    batch = pack(layouts, settings, latents=latents_of)
    assert batch.num_tokens == count * (t + u + 2 * a) - (u + a)
    g, h = count * (count + 1) // 2, count * (count - 1) // 2
    text = count * t * (t + 1) // 2 + t * (t + u) * h
    vit, clean = u * (t + u) * g, a * (t + u + a) * g
    noisy = count * a * a + a * t * g + a * (u + a) * h
    trimmed = u * (t + u) * count + a * (t + u + a) * count
    rule = MaskRule.from_config(settings.visibility)
    assert allowed_pairs(batch, rule) == text + vit + clean + noisy - trimmed
    assert int(rule.dense(batch.meta).sum()) == allowed_pairs(batch, rule)
    apart = [
        layout
        for single in one_per_picture(document)
        for layout in lay_out(single, VOCABULARY, settings, end_loss=False)
    ]
    assert num_tokens(apart) == count * (t + a) + (t + u + a) * h


@pytest.mark.parametrize("ffn", ["swiglu", "relu_squared"])
def test_copied_weights_start_as_the_language_model(ffn: Any) -> None:
    settings = config(ffn=ffn)
    transformer = MogaoTransformer(settings)
    initialise(transformer, generator=torch.Generator().manual_seed(3))
    copy_text_to_visual(transformer)
    block = transformer.layers[0]
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(6, settings.hidden, generator=generator)
    turn = rotation(torch.from_numpy(text_positions(0, 6, settings.positions)),
                    settings.positions, head_dim=8, base=100.0)  # fmt: skip
    modulation = transformer.modulator(transformer.embedding.time(torch.tensor([0.3])))[0]
    assert modulation is not None

    def everything(q: Tensor, k: Tensor, v: Tensor, *, layer: int) -> Tensor:
        del layer
        keys, values = (y.repeat_interleave(2, dim=1).transpose(0, 1) for y in (k, v))
        weights = (q.transpose(0, 1) @ keys.transpose(1, 2) / 8**0.5).softmax(-1)
        return (weights @ values).transpose(0, 1)

    side, empty = BranchInput(turn, None), x[:0]
    visual = BranchInput(turn, modulation)
    as_text = block([x, empty], [side, side], everything, layer=0)[0]
    as_visual = block([empty, x], [side, visual], everything, layer=0)[1]
    assert relative(as_visual, as_text) < COPIED_WEIGHTS


@pytest.mark.parametrize("routing", [RoutingConfig(), RoutingConfig(clean="text", noisy="text")])
def test_backends_agree(routing: RoutingConfig) -> None:
    settings = config(routing=routing)
    transformer = network(settings)
    asked = InterleavedSequence(
        (image(5, role="user"), TextSegment("what?", role="user"), TextSegment("fox"))
    )
    pair = InterleavedSequence((TextSegment("a fox"), image(6)))
    batch = packed(settings, story(), asked, pair)
    flow = flow_of(batch)
    results = {}
    for backend in ("dense", "segments"):
        output = forward(transformer, batch, flow, backend=backend)
        loss = output.logits.square().sum() + output.velocity.square().sum()
        results[backend] = (output, gradients(transformer, loss))
    (dense, dense_gradient), (segments, gradient) = results["dense"], results["segments"]
    assert relative(segments.logits, dense.logits) < FLOAT32
    assert relative(segments.velocity, dense.velocity) < FLOAT32
    assert relative(gradient, dense_gradient) < FLOAT32_GRADIENT


def test_segments_do_less_work_than_the_dense_mask() -> None:
    settings = config()
    whole = bench_document(8)
    layouts = lay_out(whole, VOCABULARY, settings, end_loss=False)
    zeros = torch.zeros(64, settings.latent_dim)
    batch = pack(layouts * 2, settings, latents=lambda images: [zeros for _ in images])
    rule = MaskRule.from_config(settings.visibility)
    attend = SegmentAttention(rule, batch.table, batch.meta, dtype=torch.float32)
    allowed = allowed_pairs(batch, rule)
    assert allowed <= attend.area < 2 * allowed < 0.35 * batch.num_tokens**2


def flex_error() -> float:
    """Relative error of the flex forward against the dense reference."""
    settings = config()
    batch = packed(settings, story(), InterleavedSequence((TextSegment("a"), image(3))))
    rule = MaskRule.from_config(settings.visibility)
    generator = torch.Generator().manual_seed(0)
    tokens = batch.num_tokens
    q = torch.randn(tokens, 4, 16, generator=generator)
    k, v = (torch.randn(tokens, 2, 16, generator=generator) for _ in range(2))
    with torch.no_grad():
        outs = [
            make_attention(rule, batch.table, batch.meta, backend=backend)(q, k, v, layer=0)
            for backend in ("dense", "flex")
        ]
    return relative(outs[1], outs[0])


def printed_without_type_checks(script: str, repository: Path) -> str:
    """What a script prints in a process of its own.

    Dynamo traces the mask rule inside flex_attention and cannot trace run-time type checks.
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=repository,
        env=os.environ | {"JAXTYPING_DISABLE": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return done.stdout


def test_backends_agree_flex_forward(repository: Path) -> None:
    script = "from tests.test_invariants_training import flex_error; print(flex_error())"
    assert float(printed_without_type_checks(script, repository)) < FLOAT32


def backward_errors(backend: Backend, *, device: str) -> dict[str, float]:
    """Relative errors of a back-end against the dense reference: outputs, gradients of q, k, v."""
    settings = config()
    batch = packed(settings, story(), InterleavedSequence((TextSegment("a"), image(3)))).to(device)
    rule = MaskRule.from_config(settings.visibility)
    generator = torch.Generator().manual_seed(0)
    tokens = batch.num_tokens
    # Every output gets another factor: the gradient of a plain sum says nothing about q and k.
    factors = torch.randn(tokens, 4, 16, generator=generator).to(device)
    drawn = [torch.randn(tokens, heads, 16, generator=generator).to(device) for heads in (4, 2, 2)]
    results = []
    for name in ("dense", backend):
        q, k, v = (x.clone().requires_grad_() for x in drawn)
        out = make_attention(rule, batch.table, batch.meta, backend=name)(q, k, v, layer=0)
        results.append([out, *torch.autograd.grad((out * factors).sum(), (q, k, v))])
    return {
        name: relative(got, expected)
        for name, expected, got in zip(("out", "q", "k", "v"), *results, strict=True)
    }


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="flex has no backward on the CPU")
def test_backends_agree_flex_backward(repository: Path) -> None:
    script = """
import json
from tests.test_invariants_training import backward_errors
print(json.dumps(backward_errors("flex", device="cuda")))
"""
    errors = json.loads(printed_without_type_checks(script, repository))
    assert errors.pop("out") < FLOAT32
    assert max(errors.values()) < FLOAT32_GRADIENT


def test_one_noise_level_per_picture_reaches_every_token() -> None:
    settings = config()
    batch = packed(settings, story())
    flow = flow_of(batch)
    size = GRID[0] * GRID[1]
    for number in range(3):
        places = slice(number * size, (number + 1) * size)
        noise = flow.velocity[places] + batch.noisy_clean[places]
        t = flow.t[number].expand(size)
        expected = interpolate(batch.noisy_clean[places], noise, t)
        assert relative(flow.noisy[places], expected) < FLOAT32


def test_branches_never_share_a_weight() -> None:
    settings = config()
    transformer = network(settings)
    batch = packed(settings, story())
    assert bool((batch.meta.kind[: batch.num_text_branch] <= TokenKind.VIT).all())
    assert bool((batch.meta.kind[batch.num_text_branch :] >= TokenKind.CLEAN).all())
    output = forward(transformer, batch, flow_of(batch))
    gradients(transformer, output.logits.square().sum())
    for block in transformer.layers:
        # Text never looks at latents, so its loss reaches no weight of the visual branch.
        grads = [p.grad for p in block.visual.parameters()]
        assert all(grad is None or not bool(grad.any()) for grad in grads)
