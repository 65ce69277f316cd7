"""Two tasks of the world under lmms-eval, offline: questions about pictures, and drawings.

`python examples/lmms/run.py --out out/lmms` makes the records from the world, then lets lmms-eval
run them with a model of ours. It needs an environment with lmms-eval; see docs/evaluation.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mogao.data.images import save_png
from mogao.evaluation.benchmark import Item
from mogao.evaluation.prompts import PICTURE_TASKS
from mogao.evaluation.runner import choose
from mogao.evaluation.tasks.world.nano import NanoSuite
from mogao.files import atomic_write, to_json

TASKS = ("mogao_world_questions", "mogao_world_drawings")
HERE = Path(__file__).resolve().parent


def write_records(items: Sequence[Item], path: Path) -> None:
    """Write records as JSON lines, the pictures that are shown beside them."""
    rows = []
    for item in items:
        truth = dict(item.truth)
        row = {"id": item.id, "group": item.group, "prompt": item.prompt}
        row |= {"answer": truth.get("answer", ""), "truth": json.dumps(truth)}
        for shown in item.given().images:
            row["image"] = f"shown/{item.id}.png"
            save_png(shown.pixels, path.parent / row["image"])
        rows.append(to_json(row) + "\n")
    atomic_write(path, "".join(rows))


def command(out: Path, *, model: str, seed: int, batch_size: int) -> list[str]:
    """Return the command line of lmms-eval."""
    arguments = {"pretrained": model, "seed": seed, "pictures": out / "pictures"}
    return [
        sys.executable, "-m", "lmms_eval", "--model", "mogao",
        "--model_args", ",".join(f"{name}={value}" for name, value in arguments.items()),
        "--include_path", str(HERE), "--tasks", ",".join(TASKS),
        "--batch_size", str(batch_size), "--log_samples", "--output_path", str(out / "results"),
    ]  # fmt: skip


def result_files(out: Path) -> set[Path]:
    """Return the files with scores that lmms-eval has left."""
    return set((out / "results").rglob("*_results.json"))


def main() -> int:
    """Make the records and run lmms-eval; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/lmms"))
    parser.add_argument("--model", default="nano", help="folder, built-in name or hub id")
    parser.add_argument("--items", type=int, default=12, help="of each task")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=8)
    given = parser.parse_args()
    out = given.out.resolve()
    items = NanoSuite().items()
    each = -(-given.items // len(PICTURE_TASKS))
    drawings = choose(items, groups=PICTURE_TASKS, most=each)[: given.items]
    write_records(drawings, out / "drawings.jsonl")
    write_records(choose(items, groups=["questions"], most=given.items), out / "questions.jsonl")
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(out / "cache")}
    words = command(out, model=given.model, seed=given.seed, batch_size=given.batch_size)
    before = result_files(out)
    # The tasks name their records relative to the folder that lmms-eval runs in.
    done = subprocess.run(words, cwd=out, env=os.environ | offline, check=False)
    # lmms-eval prints an error of an evaluation and ends with 0.
    return done.returncode or int(result_files(out) == before)


if __name__ == "__main__":
    sys.exit(main())
