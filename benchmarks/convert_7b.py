"""Convert a model of Qwen2.5-7B's shapes to a 14B folder, at full size, on a small machine.

The source shards are sparse: true headers, and zeros that take no room on the disk. Each finished
shard is checked against its checksum and deleted at once, so the run needs the disk of about one
shard. Run: python benchmarks/convert_7b.py FOLDER, which prints one JSON object.
"""

from __future__ import annotations

import hashlib
import json
import math
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch

from mogao.convert.assemble import Options
from mogao.convert.families import kind_of
from mogao.convert.run import MAX_SHARD_BYTES, plan_conversion
from mogao.convert.target import RECORD, Target
from mogao.model.shards import layout_header
from mogao.tokenizer_files import BYTE_CHARS, ForeignToken, TokenizerData, dump, frame_of

CONFIG: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "vocab_size": 152_064,
    "hidden_size": 3584,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "intermediate_size": 18_944,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 1_000_000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
NUM_SHARDS = 4
GIB = 1 << 30


def main() -> None:
    """Make the source, convert it, print the figures."""
    folder = Path(sys.argv[1])
    source, target_folder = folder / "qwen2.5-7b", folder / "mogao-7b"
    source.mkdir(parents=True, exist_ok=True)
    (source / "config.json").write_text(json.dumps(CONFIG))
    _write_tokenizer(source)
    source_bytes = _write_sparse(source)
    start = time.monotonic()
    job = plan_conversion(source, "qwen2", Options(), max_shard_bytes=MAX_SHARD_BYTES)
    planned = time.monotonic() - start
    target = Target(target_folder, job.request, restart=True)
    shards: list[dict[str, Any]] = []

    def finished(path: Path) -> None:
        """Check the file by reading it again, note it, delete it."""
        record = json.loads((target.partial / RECORD).read_text())["files"]
        facts = record[path.relative_to(target.partial).as_posix()]
        used = sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())
        with path.open("rb") as stream:
            is_same = hashlib.file_digest(stream, "sha256").hexdigest() == facts["sha256"]
        shards.append(facts | {"file": path.name, "checked": is_same, "disk_bytes": used})
        path.unlink()
        print(path.name, f"{time.monotonic() - start:.0f} s", f"{_peak() / GIB:.2f} GiB",
              file=sys.stderr, flush=True)  # fmt: skip

    target.write(job.files, finished=finished)
    result = {
        "source_bytes": source_bytes,
        "bytes": job.num_bytes,
        "parameters": sum(math.prod(w.shape) for file in job.files for w in file.weights),
        "files": len(job.files),
        "all_checked": all(shard["checked"] for shard in shards),
        "plan_seconds": round(planned, 1),
        "seconds": round(time.monotonic() - start, 1),
        "peak_memory_gib": round(_peak() / GIB, 2),
        "peak_disk_gib": round(max(shard["disk_bytes"] for shard in shards) / GIB, 2),
    }
    print(json.dumps(result))


def _peak() -> int:
    """Largest resident memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _write_sparse(folder: Path) -> int:
    """Write shards whose tensors are holes, with an index; return their size."""
    family = kind_of("qwen2").spellings("transformer")[0]
    rules = family.rules(family.config({"config.json": CONFIG}))
    shapes = {one.name: one.shape for rule in rules for one in rule.theirs}
    names = list(shapes)
    share = -(-len(names) // NUM_SHARDS)
    named: dict[str, str] = {}
    total = 0
    for number in range(NUM_SHARDS):
        part = names[number * share : (number + 1) * share]
        header = layout_header([(name, torch.bfloat16, shapes[name]) for name in part])
        size = len(header) + 2 * sum(math.prod(shapes[name]) for name in part)
        file = f"model-{number + 1:05}-of-{NUM_SHARDS:05}.safetensors"
        with (folder / file).open("wb") as stream:
            stream.write(header)
            stream.truncate(size)
        named |= dict.fromkeys(part, file)
        total += size
    index = {"metadata": {"total_size": total}, "weight_map": named}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return total


def _write_tokenizer(folder: Path) -> None:
    """A byte-level tokenizer with the ids that Qwen's special tokens have."""
    contents = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>",
                "<|vision_end|>")  # fmt: skip
    ids = (151_643, 151_644, 151_645, 151_652, 151_653)
    vocab = {char: number for number, char in enumerate(sorted(BYTE_CHARS))}
    frame = frame_of(TokenizerData(vocab, [], words="qwen2"))
    tokens = [ForeignToken(i, content) for i, content in zip(ids, contents, strict=True)]
    frame["added_tokens"] = [
        {"id": t.id, "content": t.content, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for t in tokens
    ]  # fmt: skip
    vocab |= {token.content: token.id for token in tokens}
    (folder / "tokenizer.json").write_text(dump(frame, vocab, merges=[]))


if __name__ == "__main__":
    main()
