"""Configs from files: what is read, overridden and saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mogao.config import (
    AutoencoderTask,
    Config,
    GenerationConfig,
    JointTask,
    MixtureConfig,
    ModelConfig,
    OneDConfig,
    RecordsConfig,
    RunConfig,
    TextSamplingConfig,
    TransformerConfig,
    VisionTask,
    load,
    override,
    save,
)
from mogao.errors import ConfigError


def written(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_is_read_over_the_defaults(tmp_path: Path) -> None:
    text = "seed: 3\noptim: {kind: muon, betas: [0.8, 0.9]}\n"
    config = load(RunConfig, written(tmp_path, text))
    assert (config.seed, config.optim.kind, config.optim.betas) == (3, "muon", (0.8, 0.9))
    assert config == RunConfig(seed=3, optim={"kind": "muon", "betas": (0.8, 0.9)})
    assert load(RunConfig, written(tmp_path, "")) == RunConfig()


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "seed: 3\noptim: {kind: muon}\n")
    changes = ["seed=4", "optim.learning_rate=1e-4", "optim.betas=[0.5, 0.6]", "compile=off"]
    config = load(RunConfig, path, overrides=changes)
    assert (config.seed, config.compile, config.optim.kind) == (4, "off", "muon")
    assert (config.optim.learning_rate, config.optim.betas) == (1e-4, (0.5, 0.6))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1, 2]", "must hold a mapping, got list"),
        ("3", "must hold a mapping, got int"),
        ("seed: [", "is not valid YAML"),
        ("sed: 1", "unknown key 'sed'"),
    ],
)
def test_a_file_that_is_no_config_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(RunConfig, path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read config .*none\.yaml: No such file"):
        load(RunConfig, tmp_path / "none.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match=r"binary\.yaml is not valid YAML"):
        load(RunConfig, binary)


def test_a_date_in_a_file_is_a_value_of_the_wrong_type(tmp_path: Path) -> None:
    # YAML reads the bare word as a date, which JSON does not know.
    with pytest.raises(ConfigError, match="name: Input should be a valid string"):
        load(RunConfig, written(tmp_path, "name: 2024-01-01"))


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("a=1", {"a": 1}),
        ("a=0.5", {"a": 0.5}),
        ("a=true", {"a": True}),
        ("a=null", {"a": None}),
        ("a=", {"a": None}),
        ("a=word", {"a": "word"}),
        ("a='1'", {"a": "1"}),
        ("a=b=c", {"a": "b=c"}),
        ("a=[1, x]", {"a": [1, "x"]}),
        ("a={b: 2}", {"a": {"b": 2}}),
        ("a.b.c=1", {"a": {"b": {"c": 1}}}),
    ],
)
def test_an_override_sets_a_value_read_as_yaml(item: str, expected: dict[str, Any]) -> None:
    assert override({}, [item]) == expected


def test_overrides_go_deep_in_order_and_leave_the_data_alone() -> None:
    data = {"a": {"b": 1, "c": 2}, "d": [3]}
    found = override(data, ["a.b=5", "a.e.f=6", "a.b=7"])
    assert found == {"a": {"b": 7, "c": 2, "e": {"f": 6}}, "d": [3]}
    assert data == {"a": {"b": 1, "c": 2}, "d": [3]}
    found["d"].append(4)
    assert data["d"] == [3]


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("seed", "override 'seed' must look like key.path=value"),
        ("=3", "override '=3' must look like key.path=value"),
        ("a.b=3", "override 'a.b=3': 'a' is not a mapping"),
        ("list.b=3", "'list' is not a mapping"),
    ],
)
def test_an_override_that_cannot_be_is_named(item: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        override({"a": 1, "list": []}, [item])
    assert said in str(caught.value)


def test_an_override_whose_value_is_no_yaml_is_named() -> None:
    with pytest.raises(ConfigError, match=r"a=\[1"):
        override({}, ["a=[1"])


CONFIGS: dict[str, Config] = {
    "defaults": RunConfig(),
    "a run from a model": RunConfig(
        name="no",  # a word that YAML takes for false when it stands bare
        task=JointTask(init_from="nano", freeze_vision=True, alignment={"weight": 0.25}),
        data=MixtureConfig(
            sources=({"kind": "world", "seed": 5}, {"kind": "records", "path": "a b/*.jsonl"}),
            weights=(0.75, 0.25),
        ),
        optim={"eps": 1e-12},
        compile="off",
        max_minutes=1.5,
    ),
    "an autoencoder": RunConfig(task=AutoencoderTask(shift_weight=0.5)),
    "a vision encoder": RunConfig(task=VisionTask(batch_images=3)),
    "a model": ModelConfig(transformer={"positions": OneDConfig(), "time": {"kind": "low_rank"}}),
    "generation": GenerationConfig(
        image={"schedule": (1.0, 0.25, 0.0), "text_guidance_scale": ((0.25, 1.0), (1.0, 7.5))},
        text={"stop": ("\n\n", "ja: nein")},
    ),
    "records": RecordsConfig(
        path="x", keep={"a": 1, "b": True, "c": 0.5, "d": "1", "e": "no", "f": 1e-9}
    ),
}


@pytest.mark.parametrize("name", ["config.yaml", "config.json"])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=list(CONFIGS))
def test_what_is_saved_is_read_again_as_the_same(tmp_path: Path, config: Config, name: str) -> None:
    path = tmp_path / name
    save(config, path)
    again = load(type(config), path)
    assert again == config
    assert again.model_dump_json() == config.model_dump_json()  # 1, True and 1.0 are equal values
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["config.yaml", "config.json"])
def test_a_saved_config_holds_every_default_in_the_order_of_the_fields(
    tmp_path: Path, name: str
) -> None:
    save(TextSamplingConfig(top_k=3), tmp_path / name)
    text = (tmp_path / name).read_text(encoding="utf-8")
    data = json.loads(text) if name.endswith(".json") else yaml.safe_load(text)
    assert list(data) == list(TextSamplingConfig.model_fields)
    assert (data["top_k"], data["top_p"], data["max_tokens"]) == (3, 1.0, 256)


@given(
    rate=st.floats(1e-12, 10.0),
    seed=st.integers(),
    name=st.text(st.characters(codec="utf-8")),
    minutes=st.none() | st.floats(1e-9, 1e9),
    keep=st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=4),
        st.text(st.characters(codec="utf-8"), max_size=4)
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False),
        max_size=3,
    ),
    suffix=st.sampled_from(["yaml", "json"]),
)
@settings(deadline=None)
def test_any_values_survive_saving(
    tmp_path_factory: pytest.TempPathFactory, rate, seed, name, minutes, keep, suffix
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any.{suffix}"
    config = RunConfig(
        seed=seed,
        name=name,
        max_minutes=minutes,
        optim={"learning_rate": rate},
        data=RecordsConfig(path="x", keep=keep),
    )
    save(config, path)
    assert load(RunConfig, path).model_dump_json() == config.model_dump_json()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layout": {"boundary": "part"}}, "text_frame"),
        ({"layout": {"text_frame": True}}, "begin: false"),
        ({"hidden": 34, "grid_tables": {}}, "multiple of 4"),
    ],
)
def test_tables_that_cannot_work_together_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        TransformerConfig.model_validate(changes)
