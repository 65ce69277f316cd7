"""The command line: exit codes, one-line errors, JSON keys, whole files, resuming."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main
from PIL import Image
from typer.testing import CliRunner, Result

from mogao import __version__
from mogao.cli import app
from mogao.commands.options import EXIT_INTERRUPTED, EXIT_SYSTEM
from mogao.data.images import read_image
from mogao.errors import CheckpointError, ConfigError, DataError, RequestError

PROVENANCE = {"machine", "threads", "dtype", "commit", "versions"}
FEW_STEPS = ["--set", "image.num_steps=2", "--set", "text.max_tokens=4"]


def run(*arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def result_of(*arguments: object, stdin: str | None = None) -> dict[str, Any]:
    """The object on the last line of standard output of a verb that ends well."""
    result = run(*arguments, "--json", stdin=stdin)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert found.keys() >= PROVENANCE
    return found


def error_of(code: int, *arguments: object) -> str:
    """The message of a verb that ends with this code: one last line, no traceback."""
    result = run(*arguments)
    assert result.exit_code == code, result.output
    last = result.stderr.splitlines()[-1]
    assert last.startswith("mogao: error: "), result.stderr
    assert "Traceback" not in result.output
    return last


@pytest.fixture
def picture(tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "scene.png"
    Image.fromarray(rng.integers(0, 256, (40, 70, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def tiny(tiny_model_folder: Path) -> list[str]:
    """Options of every verb that runs a model."""
    return ["--model", str(tiny_model_folder), "--dtype", "float32"]


def test_version() -> None:
    assert run("--version").stdout.strip() == f"mogao {__version__}"


def test_every_verb_explains_itself_and_takes_json_and_seed() -> None:
    root = typer.main.get_command(app)
    verbs = [
        [name, *rest]
        for name, command in getattr(root, "commands", {}).items()
        for rest in ([[inner] for inner in getattr(command, "commands", {})] or [[]])
    ]
    assert len(verbs) >= 16
    for verb in verbs:
        result = run(*verb, "--help")
        assert result.exit_code == 0
        assert "--json" in result.stdout
        assert "--seed" in result.stdout


@pytest.mark.parametrize("arguments", [["--frobnicate"], ["paint"], ["generate", "--oot", "x"],
                                       ["generate"], ["info", "--seed", "-1"]])  # fmt: skip
def test_wrong_usage_is_exit_2_with_usage(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr
    assert "Traceback" not in result.output


# --- what users get wrong ---------------------------------------------------------------------


def test_missing_model_is_named() -> None:
    message = error_of(
        CheckpointError.exit_code, "generate", "--prompt", "x", "--out", "o", "--model", "./nowhere"
    )
    assert "nowhere" in message


def test_unknown_setting_is_named_with_the_nearest(tiny: list[str], tmp_path: Path) -> None:
    arguments = ["generate", "--prompt", "x", "--out", tmp_path / "o", *tiny]
    message = error_of(ConfigError.exit_code, *arguments, "--set", "image.num_stepz=2")
    assert "num_stepz" in message
    assert "num_steps" in message
    assert "0" in error_of(ConfigError.exit_code, *arguments, "--set", "image.num_steps=0")
    assert "key.path=value" in error_of(ConfigError.exit_code, *arguments, "--set", "fast")


def test_unknown_config_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("max_stepz: 3\n")
    message = error_of(ConfigError.exit_code, "train", path, "--out", tmp_path / "o")
    assert "max_stepz" in message
    assert "max_steps" in message
    assert not (tmp_path / "o").exists()


def test_missing_config_and_missing_out_are_named(tmp_path: Path) -> None:
    message = error_of(ConfigError.exit_code, "train", tmp_path / "none.yaml", "--out", "o")
    assert "none.yaml" in message
    (tmp_path / "run.yaml").write_text("max_steps: 3\n")
    assert "--out" in error_of(ConfigError.exit_code, "train", tmp_path / "run.yaml")


def test_empty_prompt_and_contradictions_are_refused(
    tiny: list[str], picture: Path, tmp_path: Path
) -> None:
    out = ["--out", tmp_path / "o", *tiny]
    code = RequestError.exit_code
    assert "empty" in error_of(code, "generate", "--prompt", "  ", *out)
    assert "--prompt" in error_of(code, "generate", *out)
    assert "--prompt" in error_of(code, "generate", picture, "--prompt", "x", *out)
    assert "128x96" in error_of(
        ConfigError.exit_code, "generate", "--prompt", "x", "--size", "17x16", *out
    )
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("kind", ["missing", "text", "cut", "one_pixel", "huge"])
def test_bad_pictures_are_refused_before_anything_is_written(
    kind: str, tiny: list[str], picture: Path, tmp_path: Path
) -> None:
    bad = tmp_path / f"{kind}.png"
    if kind == "text":
        bad.write_text("not a picture")
    elif kind == "cut":
        bad.write_bytes(picture.read_bytes()[:200])
    elif kind == "one_pixel":
        Image.new("RGB", (1, 1)).save(bad)
    elif kind == "huge":
        Image.new("1", (5000, 4000)).save(bad)
    out = tmp_path / "edited.png"
    message = error_of(RequestError.exit_code, "edit", bad, "Remove it.", "--out", out, *tiny)
    assert bad.name in message
    assert not out.exists()


def test_ask_wants_pictures_then_a_question(tiny: list[str], picture: Path) -> None:
    code = RequestError.exit_code
    assert "question" in error_of(code, "ask", picture, *tiny)
    assert "--batch" in error_of(code, "ask", *tiny)
    assert "empty" in error_of(code, "ask", picture, " ", *tiny)


def test_broken_batch_line_is_named(tiny: list[str], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": "a", "prompt": "x"}\n{"id": "b"}\n')
    message = error_of(DataError.exit_code, "sample", path, "--out", tmp_path / "o", *tiny)
    assert "rows.jsonl:2" in message
    assert not (tmp_path / "o").exists()


def test_broken_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text('{"id": "a", "segments": [{"text": "x"}]}\n{"id": "b", "segments": []}\n')
    result = run("data", "check", path)
    assert result.exit_code == DataError.exit_code
    assert "records.jsonl:2" in result.stdout
    assert "segments" in result.stdout


# --- the two ways a system ends a run -----------------------------------------------------------


def test_full_disk_is_said_and_leaves_nothing_behind(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, *_args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    out = tmp_path / "o"
    arguments = ["generate", "--prompt", "x", "--out", out, *FEW_STEPS, *tiny]
    assert "disk full" in error_of(EXIT_SYSTEM, *arguments)
    assert list(out.iterdir()) == []


def test_interruption_is_exit_130_and_leaves_nothing_behind(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mogao.commands.support

    def interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(mogao.commands.support.Show, "__call__", interrupt)
    out = tmp_path / "o"
    arguments = ["generate", "--prompt", "x", "--force-image", "--out", out, *FEW_STEPS, *tiny]
    assert "interrupted" in error_of(EXIT_INTERRUPTED, *arguments)
    assert not out.exists()


def test_a_text_alone_can_be_asked_for(tiny: list[str], tmp_path: Path) -> None:
    arguments = ["generate", "--prompt", "x", "--no-images", "--out", tmp_path / "o", *tiny]
    assert result_of(*arguments, "--set", "text.max_tokens=40")["pictures"] == 0
    message = error_of(RequestError.exit_code, *arguments, "--force-image")
    assert "forbid" in message


# --- what the verbs do --------------------------------------------------------------------------


def test_generate_writes_a_document_with_given_and_drawn_pictures(
    tiny: list[str], picture: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o"
    found = result_of("generate", "--prompt", "x", "--image", picture, "--force-image",
                      "--max-images", "1", "--size", "32x16", "--out", out, *FEW_STEPS,
                      *tiny)  # fmt: skip
    keys = {"out", "pictures", "text_tokens", "seconds", "evaluations", "cache_bytes"}
    assert found.keys() >= keys
    assert found["pictures"] == 1
    assert found["evaluations"] >= 2
    assert read_image(out / "002.png").shape == (16, 32, 3)
    trace = json.loads((out / "trace.json").read_text())
    assert trace["inputs"] == [{"from": [40, 70], "to": [48, 64]}]
    assert trace["generation"]["image"]["num_steps"] == 2
    assert trace["seed"] == 0


def test_generate_continues_its_own_document(tiny: list[str], tmp_path: Path) -> None:
    (tmp_path / "doc.md").write_text("Two red apples.\n")
    options = ["--force-image", "--max-images", "1", "--size", "16x16", *FEW_STEPS, *tiny]
    result_of("generate", tmp_path / "doc.md", "--out", tmp_path / "a", *options)
    found = result_of("generate", tmp_path / "a/index.md", "--out", tmp_path / "b", *options)
    assert found["pictures"] == 1
    assert (tmp_path / "b/001.png").read_bytes() == (tmp_path / "a/001.png").read_bytes()
    assert (tmp_path / "b/002.png").is_file()


def test_same_seed_same_result(tiny: list[str], tmp_path: Path) -> None:
    options = ["--prompt", "x", "--force-image", "--max-images", "1", "--size", "16x16",
               *FEW_STEPS, *tiny]  # fmt: skip
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        result_of("generate", "--out", tmp_path / name, "--seed", str(seed), *options)
    first, again, other = ((tmp_path / name / "001.png").read_bytes() for name in "abc")
    assert first == again
    assert first != other


def test_sample_resumes_and_refuses_other_settings(tiny: list[str], tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": "a", "prompt": "x"}\n{"id": "b", "prompt": "y"}\n')
    out = tmp_path / "o"
    arguments = ["sample", rows, "--out", out, "--n", "2", "--size", "16x16", *FEW_STEPS, *tiny]
    assert result_of(*arguments)["drawn_now"] == 4
    before = {path: path.read_bytes() for path in out.rglob("*.png")}
    (out / "a/1.png").unlink()
    with (out / "manifest.jsonl").open("a") as manifest:
        manifest.write('{"id": "b", "k"')
    found = result_of(*arguments)
    assert (found["pictures"], found["drawn_now"]) == (4, 1)
    assert {path: path.read_bytes() for path in out.rglob("*.png")} == before
    lines = (out / "manifest.jsonl").read_text().splitlines()
    assert len([json.loads(line) for line in lines]) == 5
    assert "seed" in error_of(ConfigError.exit_code, *arguments, "--seed", "9")


def test_ask_answers_each_row(tiny: list[str], picture: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    line = {"images": [picture.name], "question": "What is it?"}
    rows.write_text("".join(json.dumps({"id": name, **line}) + "\n" for name in "ab"))
    found = result_of("ask", "--batch", rows, *FEW_STEPS, *tiny)
    single = result_of("ask", picture, "What is it?", *FEW_STEPS, *tiny)
    assert [answer["id"] for answer in found["answers"]] == ["a", "b"]
    assert single["answers"][0]["text"] == found["answers"][0]["text"]


def test_edit_writes_one_picture_or_a_folder(
    tiny: list[str], picture: Path, tmp_path: Path
) -> None:
    options = ["--force-image", *FEW_STEPS, *tiny]
    found = result_of("edit", picture, "Remove it.", "--out", tmp_path / "e.png", *options)
    assert found["pictures"] == 1
    assert read_image(tmp_path / "e.png").shape == (48, 64, 3)
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        json.dumps({"id": "one", "images": [picture.name], "instruction": "Remove it."}) + "\n"
    )
    found = result_of("edit", "--batch", rows, "--out", tmp_path / "o", *options)
    assert found["out"] == str(tmp_path / "o")
    assert (tmp_path / "o/one.png").read_bytes() == (tmp_path / "e.png").read_bytes()


def test_chat_talks_shows_saves_and_survives_mistakes(
    tiny: list[str], picture: Path, tmp_path: Path
) -> None:
    lines = [f"/image '{picture}'", "What is it?", "/image nothing.png", "/frobnicate",
             "/draw a fox", f"/save '{tmp_path / 'talk'}'", "/quit", "never read"]  # fmt: skip
    found = result_of("chat", *FEW_STEPS, *tiny, stdin="\n".join(lines))
    assert found["pictures"] >= 2
    page = (tmp_path / "talk/index.html").read_text()
    assert "What is it?" in page
    assert "never read" not in page


def test_info_tells_parameters_size_hash_and_config(tiny_model_folder: Path) -> None:
    found = result_of("info", tiny_model_folder)
    assert found.keys() >= {"parameters", "bytes", "sha256", "config"}
    assert found["parameters"].keys() >= {"text", "visual", "vision", "vae"}
    assert found["bytes"] > 0
    assert len(found["sha256"]) == 64
    assert str(found["bytes"] // 100_000 / 10) in run("info", tiny_model_folder).stdout


def test_world_records_are_built_checked_and_shown(tiny_model_folder: Path, tmp_path: Path) -> None:
    records = tmp_path / "world.jsonl"
    assert result_of("data", "build", "--out", records, "--n", "6")["records"] == 6
    found = result_of("data", "check", records)
    assert found["passed"]
    assert found["records"] == 6
    shown = result_of("data", "show", records, "--n", "2", "--model", tiny_model_folder)
    assert all(item["runs"] and item["mask"] for item in shown["documents"])
    page = tmp_path / "world.html"
    assert result_of("data", "show", "world", "--n", "2", "--out", page)["out"] == str(page)
    assert page.is_file()


def test_train_plans_trains_and_resumes_on_records(
    tiny_model_folder: Path, tmp_path: Path, repository: Path
) -> None:
    records = tmp_path / "world.jsonl"
    result_of("data", "build", "--out", records, "--n", "4")
    out = tmp_path / "run"
    arguments = ["train", repository / "configs/finetune.yaml", f"data.path={records}",
                 f"task.init_from={tiny_model_folder}", "dtype=float32", "compile=off",
                 "token_budget=512", "sample_minutes=0", "--out", out]  # fmt: skip
    plan = result_of(*arguments, "max_steps=1", "--dry-run")
    assert plan.keys() >= {"parameters", "steps", "memory_bytes"}
    assert not out.exists()
    assert result_of(*arguments, "max_steps=1")["step"] == 1
    assert "resume" in error_of(ConfigError.exit_code, *arguments, "max_steps=2")
    found = result_of(*arguments, "max_steps=2", "--resume")
    assert (found["step"], found["stopped"]) == (2, "steps")
    assert result_of("info", found["model"])["parameters"]
