"""Models from parts: invariant 9 on a composed model, new rows, what a config may change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mogao.config import ModelConfig
from mogao.convert.assemble import Options
from mogao.convert.run import Job, plan_composition, plan_conversion
from mogao.errors import CheckpointError, ConfigError
from mogao.flow import FlowInputs
from mogao.model.attention import make_attention
from mogao.model.block import BranchInput
from mogao.model.init import extended, first_weight, initialise
from mogao.model.rope import rotation
from mogao.model.transformer import MogaoTransformer
from mogao.packing.layout import lay_out
from mogao.packing.pack import PackedBatch, pack
from mogao.pipeline import Mogao
from mogao.sequence import InterleavedSequence, TextSegment
from tests.convert.folders import ROWS, SMALL, language_folder, language_model
from tests.packs import relative
from tests.tiny import picture, tiny_config
from tests.tolerances import COPIED_WEIGHTS


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "toy"
    return language_folder(folder, language_model(tied=False), shards=2)


def convert(source: Path, **changes: Any) -> Job:
    overrides = SMALL | changes.pop("overrides", {})
    return plan_conversion(source, "qwen2", Options(overrides=overrides, **changes))


@pytest.fixture(scope="module")
def composed(
    source: Path, tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Mogao:
    """A language model with the encoders of a model of ours."""
    folder = tmp_path_factory.mktemp("composed") / "out"
    parts = {"llm": source, "vision": tiny_model_folder, "vae": tiny_model_folder}
    plan_composition(parts, Options()).run(folder)
    return Mogao.from_pretrained(folder, dtype="float32")


def text_pack(model: Mogao, text: str) -> PackedBatch:
    config = model.config.transformer
    layouts = lay_out(InterleavedSequence((TextSegment(text),)), model.parts.tokenizer, config)
    return pack(layouts, config, latents=lambda _: [])


def test_text_only_logits_are_those_of_the_language_model(composed: Mogao, source: Path) -> None:
    import transformers

    batch = text_pack(composed, "what a language model read")
    config = composed.config.transformer
    nothing = torch.zeros(0, config.latent_dim)
    flow = FlowInputs(nothing, torch.zeros(0), nothing)
    theirs: Any = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    with torch.inference_mode():
        ours = composed.parts.transformer(
            batch, flow, vit_features=torch.zeros(0, config.vision_dim)
        ).logits
        expected = theirs(input_ids=batch.text_ids[None], use_cache=False).logits[0]
    known = expected[batch.predict_index]
    assert relative(ours[:, :ROWS], known) < COPIED_WEIGHTS
    assert ours.shape[1] == composed.parts.tokenizer.vocab_size > ROWS


def test_the_visual_block_starts_as_the_text_block(composed: Mogao) -> None:
    transformer, batch = composed.parts.transformer, text_pack(composed, "the same states")
    config = transformer.config
    turn = rotation(
        batch.positions, config.positions, head_dim=config.head_dim, base=config.rope_base
    )
    attend = make_attention(transformer.rule, batch.table, batch.meta)
    states = torch.randn(len(turn.cos), config.hidden, generator=torch.Generator().manual_seed(0))
    nothing = states[:0]
    inputs = BranchInput(turn, None)
    # The modulation of a new model is zero at every time: it must change nothing.
    rows = transformer.modulator(transformer.embedding.time(torch.tensor([0.3])))
    modulated = BranchInput(turn, rows[0])
    none = BranchInput(turn.slice(0, 0), None)
    with torch.inference_mode():
        for layer, block in enumerate(transformer.layers):
            as_text = block([states, nothing], [inputs, none], attend, layer=layer)[0]
            as_visual = block([nothing, states], [none, modulated], attend, layer=layer)[1]
            assert torch.equal(as_text, as_visual)
            assert not torch.equal(as_text, states)


def test_a_composed_model_writes_looks_and_draws(composed: Mogao) -> None:
    session = composed.session(seed=1)
    session.extend(picture(1, height=32, width=32), role="user")
    session.extend("a cat", role="user")
    assert session.generate_image().pixels.dtype.name == "uint8"
    assert composed.config.vision == tiny_config().vision


def test_new_vocabulary_rows_lie_near_the_mean_of_the_old(source: Path, tmp_path: Path) -> None:
    convert(source).run(tmp_path / "out")
    weights = load_file(tmp_path / "out" / "model.safetensors")
    theirs = {k: v for file in source.glob("*.safetensors") for k, v in load_file(file).items()}
    for ours, name in (
        ("embedding.tokens.weight", "model.embed_tokens.weight"),
        ("text_head.projection.weight", "lm_head.weight"),
    ):
        old, new = weights[ours][:ROWS], weights[ours][ROWS:]
        assert torch.equal(old, theirs[name])
        assert len(new) == 4
        spread = (old - old.mean(0)).std()
        assert 0.03 < ((new - old.mean(0)).std() / spread) < 0.3


def test_new_weights_depend_on_seed_and_name_only() -> None:
    shape = (64, 16)
    first = first_weight("embedding.latents.weight", shape, num_layers=2, seed=1)
    assert torch.equal(first, first_weight("embedding.latents.weight", shape, num_layers=2, seed=1))
    for other in (
        first_weight("embedding.latents.weight", shape, num_layers=2, seed=2),
        first_weight("embedding.connector_in.weight", shape, num_layers=2, seed=1),
    ):
        assert not torch.equal(first, other)
    rows = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(extended(rows, 7, name="a"), extended(rows, 7, name="a"))


@pytest.mark.parametrize("time", ["shared", "low_rank", "input_add"])
def test_single_weights_start_as_in_a_whole_model(time: str) -> None:
    config = tiny_config(
        hidden=256, time={"kind": time}, qkv_bias=True, tied_embeddings=False,
        grid_tables={"vit_side": 3, "latent_side": 2},
    ).transformer  # fmt: skip
    whole = MogaoTransformer(config)
    initialise(whole, generator=torch.Generator().manual_seed(0))
    for name, weight in whole.state_dict().items():
        alone = first_weight(name, tuple(weight.shape), num_layers=config.num_layers)
        if weight.unique().numel() == 1 or "_grid" in name:
            assert torch.equal(alone, weight), name
        else:
            assert alone.std().item() == pytest.approx(weight.std().item(), rel=0.1), name


def stored(source: Path, folder: Path, **changes: Any) -> dict[str, Tensor]:
    convert(source, **changes).run(folder)
    return load_file(folder / "model.safetensors")


def test_the_visual_branch_may_start_anew(source: Path, tmp_path: Path) -> None:
    copied = stored(source, tmp_path / "a")
    anew = stored(source, tmp_path / "b", visual_from="none")
    text, visual = "blocks.1.text.ffn.up.weight", "blocks.1.visual.ffn.up.weight"
    assert torch.equal(copied[text], copied[visual])
    assert torch.equal(anew[text], copied[text])
    assert not torch.equal(anew[text], anew[visual])
    assert torch.equal(anew["blocks.0.visual.ffn_norm.weight"], torch.ones(32))


def test_stored_types_are_kept_or_as_told(source: Path, tmp_path: Path) -> None:
    kept = stored(source, tmp_path / "a")
    halved = stored(source, tmp_path / "b", dtype="bfloat16")
    assert {weight.dtype for weight in kept.values()} == {torch.float32}
    assert {weight.dtype for weight in halved.values()} == {torch.bfloat16}
    for name, weight in kept.items():
        assert torch.equal(weight.bfloat16(), halved[name]), name


def test_a_config_may_change_what_weights_leave_open(source: Path) -> None:
    changes = {"positions": {"kind": "one_d"}, "time": {"kind": "low_rank", "rank": 4}}
    job = convert(source, overrides={"transformer": changes, "name": "mine"})
    config = ModelConfig.model_validate(job.request["config"])
    assert config.name == "mine"
    assert config.transformer.positions.kind == "one_d"
    assert config.transformer.time.model_dump() == {"kind": "low_rank", "rank": 4}
    assert config.transformer.latent_dim == 16
    assert config.transformer.vision_dim == 16


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"transformer": {"hidden": 64}}, r"transformer\.hidden is 64, but the weights"),
        ({"transformer": {"rope_base": 1e6}}, r"transformer\.rope_base"),
        ({"transformer": {"hiden": 64}}, "did you mean 'hidden'"),
        ({"transformer": {"vocab_size": 100}}, "vocab_size must be at least 264"),
        ({"transformer": {"latent_dim": 5}}, "latent_dim is 5"),
        ({"latent_patch": "two"}, "latent_patch"),
        ({"transformer": 3}, "transformer"),
        ({"vison": {}}, "did you mean 'vision'"),
    ],
)
def test_a_config_that_does_not_fit_is_explained(
    source: Path, overrides: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        convert(source, overrides=overrides)


def test_parts_that_do_not_fit_are_explained(source: Path, tiny_model_folder: Path) -> None:
    with pytest.raises(ConfigError, match="needs llm=PATH"):
        plan_composition({"vision": tiny_model_folder}, Options())
    with pytest.raises(ConfigError, match="is a mogao model; give a language model"):
        plan_composition({"llm": tiny_model_folder}, Options())
    with pytest.raises(ConfigError, match="is of family qwen2, which has no vision"):
        plan_composition({"llm": source, "vision": source}, Options())
    parts = {"llm": source, "vision": tiny_model_folder}
    deeper = Options(overrides={"vision": {"num_layers": 3}})
    with pytest.raises(ConfigError, match="changes the vision encoder"):
        plan_composition(parts, deeper)
    coarser = Options(overrides={"autoencoder": {"block_channels": [8, 8, 8]}})
    with pytest.raises(ConfigError, match=r"patch_pixels must equal latent_stride x latent_patch"):
        plan_composition(parts, coarser)


def test_a_tokenizer_is_needed(source: Path, tmp_path: Path) -> None:
    for file in source.iterdir():
        if file.name != "tokenizer.json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        convert(tmp_path)


def test_the_card_says_what_is_untrained(source: Path, tmp_path: Path) -> None:
    convert(source).run(tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "it cannot look at pictures or draw before it is trained" in " ".join(card.split())
    assert "| transformer | toy | qwen2 |" in card
    assert "weights start anew: " in card
