"""`mogao convert`: what it takes, reports and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mogao.cli import app
from mogao.pipeline import load_config
from tests.convert.folders import language_folder, language_model


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return language_folder(tmp_path_factory.mktemp("models") / "toy", language_model())


def run(*words: object) -> tuple[int, str, dict[str, Any]]:
    """Exit code, standard error, and the last line of standard output as JSON."""
    result = CliRunner().invoke(app, ["convert", *map(str, words)])
    lines = result.stdout.splitlines()
    data = json.loads(lines[-1]) if "--json" in words and lines else {}
    return result.exit_code, result.stderr, data


def test_there_and_back(source: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    out, back = tmp_path / "out", tmp_path / "back"
    model = tiny_model_folder
    code, _, facts = run("--compose", f"llm={source}", f"vision={model}", f"vae={model}",
                         "transformer.positions.kind=one_d", out, "--json")  # fmt: skip
    assert code == 0
    assert facts["families"] == {"transformer": "qwen2", "vision": "siglip2",
                                 "vae": "autoencoder_kl"}  # fmt: skip
    assert facts["new_tokens"] == ["image", "/image", "user", "model", "system"]
    assert facts["versions"]
    assert load_config(out).transformer.positions.kind == "one_d"
    code, _, facts = run(out, back, "--to", "qwen2", "--json")
    assert code == 0
    assert facts["files"] == ["model.safetensors"]
    assert "embedding.latents.weight" in facts["left"]


def test_a_conversion_says_what_is_new(source: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["convert", str(source), str(tmp_path / "out"), "--from", "qwen2", "--dtype",
              "bfloat16", "--max-shard-gb", "0.00002", "--visual-from", "none"]
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "weights taken over" in result.stdout
    assert "start anew" in result.stdout
    assert (tmp_path / "out" / "model.safetensors.index.json").is_file()


def test_a_config_file_and_words_change_the_config(source: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "name: mine\ntransformer:\n  time: {kind: low_rank, rank: 4}\n"
    )
    code, error, _ = run(source, tmp_path / "out", "transformer.time.rank=8", "--from", "qwen2",
                         "--config", tmp_path / "c.yaml")  # fmt: skip
    assert code == 0, error
    config = load_config(tmp_path / "out")
    assert config.name == "mine"
    assert config.transformer.time.model_dump() == {"kind": "low_rank", "rank": 8}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["SRC", "OUT"], 2, "say one of --from FAMILY, --to FAMILY, --compose"),
        (["SRC", "OUT", "--from", "qwen2", "--to", "qwen2"], 2, "say one of"),
        (["SRC", "--from", "qwen2"], 2, "needs two folders: SRC DST"),
        (["OUT", "OUT", "--compose", "llm=SRC"], 2, "needs one folder: DST"),
        (["OUT", "--compose", "llm=SRC", "llm=SRC"], 2, "each part must be given once"),
        (["OUT", "--compose", "vision=SRC"], 2, "needs llm=PATH"),
        (["SRC", "OUT", "--from", "qwen9"], 2, "family 'qwen9' is not known"),
        (["SRC", "OUT", "--from", "llama"], 5, "model_type is 'qwen2', expected 'llama'"),
        (["SRC", "OUT", "--from", "qwen2", "--dtype", "int8"], 2, "--dtype 'int8' must be one of"),
        (["SRC", "OUT", "--from", "qwen2", "--visual-from", "vit"], 2, "must be one of text, none"),
        (["SRC", "OUT", "--from", "qwen2", "--max-shard-gb", "0"], 2, "must be above 0"),
        (["SRC", "OUT", "--from", "qwen2", "transformer.hidden=7"], 2, "but the weights of the"),
        (["SRC", "OUT", "--to", "qwen2", "name=x"], 2, "--to writes a model as it is"),
        (["SRC", "SRC", "--from", "qwen2"], 5, "is there already"),
        (["no/folder", "OUT", "--from", "qwen2"], 5, "not found"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    source: Path, tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    places = {"SRC": str(source), "OUT": str(tmp_path / "out")}
    for name, path in places.items():
        words = [word.replace(name, path) for word in words]
    got, error, _ = run(*words)
    assert got == code, error
    assert message in error
    assert error.startswith("mogao: error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
