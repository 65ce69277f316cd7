"""The build tool refuses art it does not know and finds an icon or a drawing for every word."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from mogao.data.world import atlas, build
from mogao.data.world.drawings import DRAWINGS, PALETTES
from mogao.data.world.vocabulary import EXTRA, GENEVAL
from mogao.errors import DataError


def test_a_package_with_another_hash_is_refused(tmp_path: Path) -> None:
    (tmp_path / "iconify-json-noto-1.2.9.tgz").write_bytes(b"something else")
    with pytest.raises(DataError, match="expected 3e918d88"):
        build.fetch("noto", tmp_path)


def test_icons_are_read_from_a_package_and_aliases_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    icons = {
        "width": 32,
        "height": 32,
        "icons": {"fox": {"body": "<rect width='9' height='9'/>"}},
        "aliases": {"vixen": {"parent": "fox"}},
    }
    (tmp_path / "icons.json").write_text(json.dumps(icons))
    archive = tmp_path / "iconify-json-noto-1.2.9.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "icons.json", "package/icons.json")
    package = {**build.PACKAGES["noto"], "sha256": build.digest(archive)}
    monkeypatch.setitem(build.PACKAGES, "noto", package)
    found = build.fetch("noto", tmp_path)
    assert build.icon_svg(found, "vixen") == build.icon_svg(found, "fox")
    assert 'viewBox="0 0 32 32"' in build.icon_svg(found, "fox")


def test_every_drawing_belongs_to_a_word_and_has_a_palette_in_each_style() -> None:
    ids = {word.id for word in (*GENEVAL, *EXTRA)}
    for concept, (palette, body) in DRAWINGS.items():
        assert concept in ids
        for style in PALETTES:
            svg = build.drawing_svg(concept, style)
            assert PALETTES[style][palette]["main"] in svg
        assert "{" not in svg
        assert body.count("<") >= 3


def test_the_atlas_shows_the_drawings_of_the_source() -> None:
    pytest.importorskip("resvg_py")
    for concept in ("bench", "vase"):
        drawn = np.asarray(build.rasterise(build.drawing_svg(concept, "noto"))).astype(int)
        shown = np.asarray(atlas.sprite(concept, style="noto", colour=None, pixels=64, flip=False))
        alpha = drawn[..., 3:] / 255
        assert np.abs((drawn[..., :3] - shown[..., :3]) * alpha).mean() < 3


def test_an_empty_drawing_is_refused() -> None:
    pytest.importorskip("resvg_py")
    with pytest.raises(DataError, match="empty"):
        build.rasterise('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"></svg>')


def test_sources_and_hashes_are_recorded_beside_the_sheets() -> None:
    data = json.loads((build.ATLAS / "concepts.json").read_text(encoding="utf-8"))
    assert data["packages"] == build.PACKAGES
    for row in data["concepts"]:
        assert set(row["sources"]) == set(build.PACKAGES)
        own = row["id"] in DRAWINGS
        assert (set(row["sources"].values()) == {"own drawing"}) == own
