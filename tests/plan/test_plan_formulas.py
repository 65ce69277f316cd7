"""The formulas of `mogao plan` against what small networks really keep, compute and allocate."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode

from mogao import loss as losses
from mogao.config import FlowConfig, ImageSamplingConfig, JointTask, ModelConfig, OptimConfig
from mogao.config.presets import MODEL_PRESETS, preset
from mogao.flow import corrupt
from mogao.model.attention import SegmentAttention
from mogao.model.transformer import MogaoTransformer, pack_inputs
from mogao.model.vision import VisionEncoder
from mogao.packing.cost import pair_flops, step_flops
from mogao.packing.layout import TokenKind
from mogao.packing.mask import MaskRule
from mogao.packing.pack import PackedBatch
from mogao.plan.activations import Backend, kept_bytes, layer_bytes
from mogao.plan.context import Context, contexts, picture_context
from mogao.plan.facts import largest
from mogao.plan.flops import RECOMPUTED, TRAINING, token_flops
from mogao.plan.memory import Setting, count_weights, train_memory
from mogao.plan.work import Document, measure
from mogao.sampling.cache import KVCache, Plane
from mogao.sampling.slabs import SlabPool
from mogao.sequence import TextSegment
from mogao.training.joint import to_unit_range
from mogao.training.optim import Optimiser
from tests.tiny import tiny_config, tiny_model

TOLERANCE = 0.05
DOCUMENT = Document(64, 96, pictures=3, text_tokens=20)


def shape(hidden: int = 64, layers: int = 2, **settings: Any) -> ModelConfig:
    """A small model; the vocabulary holds one id for each character."""
    return tiny_config(
        vocab_size=1100, hidden=hidden, num_layers=layers, ffn_hidden=3 * hidden, head_dim=16,
        **settings,
    )  # fmt: skip


class Kept:
    """Bytes of the tensors that autograd keeps: each storage once, parameters left out."""

    def __init__(self, *modules: torch.nn.Module) -> None:
        self._own = {p.untyped_storage().data_ptr() for m in modules for p in m.parameters()}
        self._found: dict[int, Tensor] = {}

    def pack(self, tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in self._own:
            self._found.setdefault(place, tensor)  # held, so that no address is used twice
        return tensor

    @property
    def bytes(self) -> int:
        return sum(tensor.untyped_storage().nbytes() for tensor in self._found.values())


def networks(model: ModelConfig, dtype: torch.dtype) -> tuple[MogaoTransformer, VisionEncoder]:
    transformer = MogaoTransformer(model.transformer, compute_dtype=dtype)
    return transformer, VisionEncoder(model.vision, compute_dtype=dtype)


def step(
    transformer: MogaoTransformer, vision: VisionEncoder, batch: PackedBatch, *, backend: Backend
) -> Tensor:
    """The loss of a training step."""
    generator = torch.Generator().manual_seed(0)
    flow = corrupt(batch.noisy_clean, batch.noisy_lengths, FlowConfig(), generator=generator)
    features = vision([to_unit_range(pixels) for pixels in batch.vit_pixels])
    output = transformer(batch, flow, vit_features=features, backend=backend)
    text = losses.text_loss_sum(output.logits, batch.targets, batch.target_weights)
    return text + losses.flow_loss_sum(output.velocity, flow.velocity, batch.noisy_weights)


CASES: dict[str, tuple[ModelConfig, torch.dtype, Backend, bool]] = {
    "float32": (shape(), torch.float32, "segments", False),
    "bfloat16": (shape(), torch.bfloat16, "segments", False),
    "wider": (shape(hidden=160), torch.bfloat16, "segments", False),
    "deeper": (shape(layers=5), torch.float32, "dense", False),
    "gated": (shape(ffn="swiglu"), torch.float32, "dense", False),
    "gated bfloat16": (shape(ffn="swiglu", hidden=96), torch.bfloat16, "segments", False),
    "no query norm": (
        shape(qk_norm={"text": False, "visual": False}), torch.float32, "segments", False,
    ),
    "norm of one branch": (
        shape(qk_norm={"text": True, "visual": False}), torch.bfloat16, "dense", False,
    ),
    "time at the input": (shape(time={"kind": "input_add"}), torch.bfloat16, "segments", False),
    "low rank": (shape(time={"kind": "low_rank", "rank": 4}), torch.float32, "segments", False),
    "recomputed": (shape(layers=4), torch.float32, "segments", True),
    "recomputed bfloat16": (shape(layers=4, ffn="swiglu"), torch.bfloat16, "dense", True),
    "untied": (shape(tied_embeddings=False), torch.bfloat16, "segments", False),
    "noise and text in one branch": (
        shape(routing={"noisy": "text", "clean": "text"}), torch.float32, "segments", False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_a_step_keeps_is_as_planned(name: str) -> None:
    model, dtype, backend, recompute = CASES[name]
    transformer, vision = networks(model, dtype)
    transformer.recomputes_layers = recompute
    batch = DOCUMENT.packed(model)
    kept = Kept(transformer, vision)
    with saved_tensors_hooks(kept.pack, lambda tensor: tensor):
        loss = step(transformer, vision, batch, backend=backend)
    assert loss.isfinite()
    planned = kept_bytes(
        model,
        measure(batch, model.transformer),
        dtype=dtype,
        backend=backend,
        recompute=recompute,
        trains_vision=True,
    )
    weights = count_weights(model, JointTask(model=model), dtype)
    # Casts inside layers that are computed again are not kept.
    cast = weights.outside if recompute else weights.cast
    copies = dtype.itemsize * cast if dtype != torch.float32 else 0
    assert sum(planned.values()) + copies == pytest.approx(kept.bytes, rel=TOLERANCE)


def test_a_layer_computed_again_is_the_rest_of_what_layers_kept() -> None:
    model = shape(layers=3)
    work = measure(DOCUMENT.packed(model), model.transformer)
    options: dict[str, Any] = {"dtype": torch.float32, "backend": "segments"}
    kept = kept_bytes(model, work, recompute=False, trains_vision=True, **options)
    assert kept["layers"] == 3 * layer_bytes(model.transformer, work, **options)
    frozen = kept_bytes(model, work, recompute=True, trains_vision=False, **options)
    assert frozen["layers"] == 3 * 4 * work.total * model.transformer.hidden
    assert frozen["encoder"] == 0


def test_flex_keeps_what_a_fused_kernel_keeps() -> None:
    """A kernel that keeps its output and one number a row stands in for that of CUDA."""
    config = shape().transformer
    batch = DOCUMENT.packed(shape())
    work = measure(batch, config)
    planned = layer_bytes(config, work, dtype=torch.float32, backend="flex")
    # The stand-in has no groups: it keeps a key and a value for every query head.
    planned += 2 * 4 * work.total * (config.num_heads - config.num_kv_heads) * config.head_dim
    kept = fused_bytes(shape(layers=3), batch) - fused_bytes(shape(layers=2), batch)
    assert planned == pytest.approx(kept, rel=TOLERANCE)


def fused_bytes(model: ModelConfig, batch: PackedBatch) -> int:
    """What the layers of a model keep with a fused attention."""
    transformer, _ = networks(model, torch.float32)
    generator = torch.Generator().manual_seed(0)
    flow = corrupt(batch.noisy_clean, batch.noisy_lengths, FlowConfig(), generator=generator)
    features = torch.zeros(sum(pixels[0].numel() // 256 for pixels in batch.vit_pixels), 16)
    kept = Kept(transformer)
    with saved_tensors_hooks(kept.pack, lambda tensor: tensor):
        transformer.hidden_states(pack_inputs(batch, flow, vit_features=features), fused)
    return kept.bytes


def fused(q: Tensor, k: Tensor, v: Tensor, *, layer: int) -> Tensor:
    """Attention of every token to every token."""
    assert layer >= 0
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for x in (k, v))
    q, k, v = (x.transpose(0, 1)[None].contiguous() for x in (q, k, v))
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        return scaled_dot_product_attention(q, k, v)[0].transpose(0, 1)


@pytest.mark.parametrize("backend", ["dense", "segments"])
@pytest.mark.parametrize(
    "model",
    [shape(), shape(hidden=128, ffn="swiglu"), shape(layers=5, num_kv_heads=4)],
    ids=["small", "wide", "deep"],
)  # fmt: skip
def test_a_step_computes_the_planned_flops(model: ModelConfig, backend: Backend) -> None:
    counted, batch = counted_flops(model, backend=backend)
    work, rule = (
        measure(batch, model.transformer),
        MaskRule.from_config(model.transformer.visibility),
    )
    area = work.total**2 if backend == "dense" else work.padded[2]
    planned = step_flops(batch, model.transformer, model.vision, rule=rule)
    planned += TRAINING * pair_flops(model.transformer) * (area - work.pairs)
    assert planned == pytest.approx(counted, rel=TOLERANCE)


def test_recomputed_layers_cost_one_more_forward_pass() -> None:
    model = shape(hidden=128, layers=4)
    plain, _ = counted_flops(model, backend="segments")
    again, _ = counted_flops(model, backend="segments", recompute=True)
    assert again / plain == pytest.approx(RECOMPUTED / TRAINING, rel=TOLERANCE)


def counted_flops(
    model: ModelConfig, *, backend: Backend, recompute: bool = False
) -> tuple[int, PackedBatch]:
    transformer, vision = networks(model, torch.float32)
    transformer.recomputes_layers = recompute
    batch = DOCUMENT.packed(model)
    # The counter does not know the fused kernel of the CPU.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        step(transformer, vision, batch, backend=backend).backward()
    return counter.get_total_flops(), batch


def test_the_kinds_of_tokens_add_up_to_the_step() -> None:
    model = shape()
    batch = DOCUMENT.packed(model)
    found = token_flops(model, batch)
    work = measure(batch, model.transformer)
    total = work.predictions * found["head"]["training"]
    total += sum(
        count * found[kind.name.lower()]["training"] for kind, count in work.tokens.items()
    )
    rule = MaskRule.from_config(model.transformer.visibility)
    assert total == pytest.approx(step_flops(batch, model.transformer, model.vision, rule=rule))
    assert total == pytest.approx(found["mean"]["training"] * batch.num_tokens)


def test_planned_padding_is_that_of_the_segments_plan() -> None:
    model = shape()
    batch, rule = DOCUMENT.packed(model), MaskRule.from_config(model.transformer.visibility)
    real = SegmentAttention(rule, batch.table, batch.meta, dtype=torch.float32)
    queries, keys, area = measure(batch, model.transformer).padded
    assert area == real.area
    assert queries == sum(bucket.query_index.numel() for bucket in real.buckets)
    assert keys == sum(bucket.key_index.numel() for bucket in real.buckets)


def test_twice_the_documents_are_twice_the_work() -> None:
    model = shape()
    work = measure(DOCUMENT.packed(model), model.transformer)
    double = work.times(2.0)
    assert double.total == 2 * work.total
    assert double.tokens[TokenKind.VIT] == 2 * work.tokens[TokenKind.VIT]
    assert double.padded == tuple(2 * count for count in work.padded)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_optimiser_bytes_are_those_of_the_real_optimiser(kind: Any) -> None:
    model, optim = shape(), OptimConfig(kind=kind)
    transformer, vision = networks(model, torch.float32)
    module = torch.nn.ModuleDict({"transformer": transformer, "vision": vision})
    matrices = {
        name: ()
        for name, weight in module.named_parameters()
        if weight.ndim == 2 and (".blocks." in name or ".layers." in name)
    }
    optimiser = Optimiser(module, matrices=matrices, config=optim)
    for weight in module.parameters():
        weight.grad = torch.zeros_like(weight)
    optimiser.step(1.0)
    found = list(tensors(optimiser.state_dict()))
    real = sum(tensor.numel() * tensor.element_size() for tensor in found if tensor.ndim)
    weights = count_weights(model, JointTask(model=model), torch.float32)
    memory = train_memory(
        model,
        weights,
        measure(DOCUMENT.packed(model), model.transformer),
        setting=Setting(JointTask(model=model), optim, torch.float32, "segments"),
        devices=1,
        recompute=False,
    )
    assert memory["optimiser"] == real
    assert memory["gradients"] == memory["average"] == 4 * weights.trained
    assert weights.trained == sum(weight.numel() for weight in module.parameters())


def tensors(state: Any) -> list[Tensor]:
    if isinstance(state, Tensor):
        return [state]
    if isinstance(state, dict):
        return [tensor for part in state.values() for tensor in tensors(part)]
    return []


def test_devices_share_weights_but_not_what_a_step_keeps() -> None:
    model = shape()
    weights = count_weights(model, JointTask(model=model), torch.bfloat16)
    work = measure(DOCUMENT.packed(model), model.transformer)
    setting = Setting(JointTask(model=model), OptimConfig(), torch.bfloat16, "segments")
    one, four = (
        train_memory(model, weights, work, setting=setting, devices=devices, recompute=False)
        for devices in (1, 4)
    )
    for name in ("gradients", "optimiser", "average"):
        assert four[name] == pytest.approx(one[name] / 4, abs=1)
    assert four["activations"] == one["activations"]
    assert one["total"] == sum(count for name, count in one.items() if name != "total")


def test_sampling_weights_are_as_large_as_the_loaded_model() -> None:
    model = tiny_model()
    parts = model.parts
    modules = (parts.transformer, parts.vision, parts.autoencoder)
    real = sum(p.numel() * p.element_size() for m in modules for p in m.parameters())
    weights = count_weights(model.config, JointTask(model=model.config), torch.float32)
    assert weights.sampled_bytes == real


def test_cache_bytes_are_those_of_the_slabs() -> None:
    model = shape()
    pool = SlabPool(model.transformer, dtype=torch.float32, device=torch.device("cpu"))
    cache = KVCache(pool)
    cache.reserve(Plane.TEXT, 300)
    cache.reserve(Plane.CLEAN, 24)
    assert Context(300, 24).bytes(model, torch.float32) == cache.bytes


def test_a_document_is_planned_as_a_session_keeps_it() -> None:
    model = tiny_model()
    document = Document(32, 48, pictures=2, text_tokens=7)
    session = model.session()
    for _ in range(document.pictures):
        session.extend(TextSegment("x" * document.text_tokens))
        session.generate_image()
    session.generate_text(max_tokens=1)
    planned = contexts(model.config, document, model.generation.image)
    kept = [context.cache.lengths for context in session.state.contexts.values()]
    assert kept == [[one.text, one.clean] for one in planned.values()]
    one = picture_context(model.config, document)
    assert (one.text, one.clean) == (6 + 2, 6)


def test_a_branch_that_begins_as_the_full_context_holds_only_the_rest() -> None:
    model, document = shape(), Document(32, 32, pictures=2, text_tokens=30)
    found = contexts(model, document, ImageSamplingConfig(guidance="bagel"))
    # begin, text, open, VIT, close, text, open, VIT, close, end; two CLEAN copies
    assert found["full"] == Context(1 + 2 * (30 + 1 + 4 + 1) + 1, 8)
    assert found["no_last_text"] == Context(1, 0)  # the open token, now earlier
    assert found["no_images"] == Context(30 + 1, 0)  # the text behind the picture, now earlier


@pytest.mark.parametrize("most", [0, 1, 2, 5, 1000])
def test_largest_is_the_last_that_fits(most: int) -> None:
    def fits(count: int) -> bool:
        return count <= most

    assert largest(fits) == most


@pytest.mark.parametrize("name", MODEL_PRESETS)
def test_every_preset_has_a_plan(name: str) -> None:
    model = preset(name)
    batch = Document(256, 256, pictures=2, text_tokens=16).packed(model)
    work = measure(batch, model.transformer)
    assert work.tokens[TokenKind.NOISY] == 2 * 256
    assert token_flops(model, batch)["mean"]["forward"] > 0
