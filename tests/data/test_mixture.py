"""Sources and their mixture: shares follow the weights, ranks differ, resuming is exact."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from mogao.config import MixtureConfig, RecordsConfig, WorldConfig
from mogao.data.mixture import Mixture, Source, WorldSource, build_source
from mogao.data.world.source import World
from mogao.errors import CheckpointError, ConfigError


def records(path: Path, count: int) -> RecordsConfig:
    rows = [{"id": f"{path.stem}{i}", "segments": [{"text": "x"}]} for i in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return RecordsConfig(path=str(path))


def mixture(folder: Path, weights: tuple[float, ...] = (3.0, 1.0)) -> MixtureConfig:
    sources = (records(folder / "a.jsonl", 5), records(folder / "b.jsonl", 4))
    return MixtureConfig(sources=sources, weights=weights, seed=7)


def take(source: Source, count: int) -> list[str]:
    return [source.next().id for _ in range(count)]


def test_shares_follow_the_weights(tmp_path: Path) -> None:
    counts = Counter(id_[0] for id_ in take(build_source(mixture(tmp_path)), 800))
    assert 0.7 < counts["a"] / 800 < 0.8


@pytest.mark.parametrize("before", [0, 13])
def test_resume_continues_exactly(tmp_path: Path, before: int) -> None:
    config = mixture(tmp_path)
    source = build_source(config)
    take(source, before)
    state = json.loads(json.dumps(source.state_dict()))
    expected = take(source, 30)
    resumed = build_source(config)
    resumed.load_state_dict(state)
    assert take(resumed, 30) == expected


def test_a_state_of_other_sources_is_refused(tmp_path: Path) -> None:
    state = build_source(mixture(tmp_path)).state_dict()
    alone = Mixture([build_source(records(tmp_path / "a.jsonl", 5))], [1.0], seed=[0])
    with pytest.raises(CheckpointError, match="mixes 2 sources, the config 1"):
        alone.load_state_dict(state)


def test_sources_need_a_positive_weight_each() -> None:
    for weights in ([], [0.0]):
        with pytest.raises(ConfigError, match="need a positive weight each"):
            Mixture([WorldSource(World(WorldConfig()))], weights, seed=[0])


def test_ranks_of_the_world_share_its_items() -> None:
    config = WorldConfig(recipes={"question": 1.0})
    alone = take(build_source(config), 4)
    ranks = [build_source(config, rank=rank, num_ranks=2) for rank in range(2)]
    shared = [take(source, 2) for source in ranks]
    assert [shared[0][0], shared[1][0], shared[0][1], shared[1][1]] == alone


def test_the_world_resumes_also_with_another_number_of_ranks() -> None:
    config = WorldConfig(recipes={"question": 1.0})
    pair = build_source(config, num_ranks=2)
    take(pair, 2)
    alone = build_source(config)
    alone.load_state_dict(pair.state_dict())
    assert take(alone, 1) == take(pair, 1)
    odd = build_source(config, num_ranks=3)
    with pytest.raises(CheckpointError, match="which 3 ranks do not divide"):
        odd.load_state_dict(pair.state_dict() | {"next_index": 4})
