"""Make the atlas of the scene world: a tool run by hand, never at run time.

    python -m mogao.data.world.build WORK_DIR

In: npm packages of emoji art (fetched by `npm pack`, checked by SHA-256) and `drawings`. Out: one
sprite sheet per style and `concepts.json` in `atlas/`, and a contact sheet in WORK_DIR to look at.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mogao.data.world.colours import COLOURS, nearest_colour, recolour
from mogao.data.world.drawings import DRAWINGS, PALETTES
from mogao.data.world.vocabulary import EXTRA, GENEVAL
from mogao.errors import DataError

ATLAS = Path(__file__).parent / "atlas"
CELL = 64  # pixels
COLUMNS = 12
OVERSAMPLING = 4
PACKAGES: dict[str, dict[str, str]] = {
    "noto": {
        "name": "@iconify-json/noto",
        "version": "1.2.9",
        "licence": "Apache-2.0",
        "author": "Google Inc. (Noto Emoji)",
        "sha256": "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
    },
    "fluent": {
        "name": "@iconify-json/fluent-emoji-flat",
        "version": "1.2.6",
        "licence": "MIT",
        "author": "Microsoft Corporation (Fluent Emoji)",
        "sha256": "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
    },
}


def digest(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fetch(style: str, folder: Path) -> dict[str, Any]:
    """Return the icon set of a style, packed by npm into `folder` unless it is there already.

    Raises:
        DataError: The package differs from the recorded hash.
    """
    package = PACKAGES[style]
    stem = package["name"].replace("@", "").replace("/", "-")
    archive = folder / f"{stem}-{package['version']}.tgz"
    if not archive.exists():
        wanted = f"{package['name']}@{package['version']}"
        subprocess.run(["npm", "pack", wanted], cwd=folder, check=True, capture_output=True)
    if digest(archive) != package["sha256"]:
        raise DataError(
            f"{archive.name}: got SHA-256 {digest(archive)}, expected {package['sha256']}; "
            "delete the file, or record the new hash in PACKAGES after looking at the art"
        )
    with tarfile.open(archive) as tar:
        member = tar.extractfile("package/icons.json")
        if member is None:
            raise DataError(f"{archive.name} holds no package/icons.json")
        icons: dict[str, Any] = json.load(member)
    return icons


def icon_svg(icons: dict[str, Any], name: str) -> str:
    """Wrap one icon of an icon set as a whole SVG document; aliases are followed."""
    icon = icons["icons"].get(name)
    if icon is None:
        icon = icons["icons"][icons["aliases"][name]["parent"]]
    width = icon.get("width", icons.get("width", 16))
    height = icon.get("height", icons.get("height", 16))
    left, top = icon.get("left", 0), icon.get("top", 0)
    return _wrap(icon["body"], f"{left} {top} {width} {height}")


def drawing_svg(concept: str, style: str) -> str:
    """One of our own drawings in the colours typical of a style."""
    palette, body = DRAWINGS[concept]
    return _wrap(body.format(**PALETTES[style][palette]), "-16 -16 96 96")


def rasterise(svg: str) -> Image.Image:
    """Render an SVG, trim its empty border and fit it into a cell, centred."""
    import resvg_py

    pixels = CELL * OVERSAMPLING
    data = resvg_py.svg_to_bytes(svg_string=svg, width=pixels, height=pixels)
    picture = Image.open(io.BytesIO(bytes(data))).convert("RGBA")
    box = picture.getchannel("A").point([0] * 24 + [255] * 232).getbbox()
    if box is None:
        raise DataError(f"this drawing is empty: {svg:.120}")
    picture = picture.crop(box)
    scale = CELL / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    # Premultiplied, so that colours of transparent pixels do not bleed into the edge.
    picture = picture.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")
    cell = Image.new("RGBA", (CELL, CELL))
    cell.paste(picture, ((CELL - size[0]) // 2, (CELL - size[1]) // 2))
    return cell


def reads_back(sprite: NDArray[np.uint8]) -> bool:
    """Whether nine or more of the ten colours are recognised on a sprite painted in them."""
    seen = [nearest_colour(recolour(sprite, name), share=0.3) == name for name in COLOURS]
    return sum(seen) >= len(seen) - 1


def build(work: Path) -> None:
    """Write the sheets and `concepts.json`, and a contact sheet into `work`."""
    work.mkdir(parents=True, exist_ok=True)
    sets = {style: fetch(style, work) for style in PACKAGES}
    rows: list[dict[str, Any]] = []
    cells: dict[str, list[Image.Image]] = {style: [] for style in PACKAGES}
    for index, concept in enumerate([*GENEVAL, *EXTRA]):
        row: dict[str, Any] = {
            "id": concept.id,
            "plural": concept.plural,
            "category": concept.category,
            "geneval": index < len(GENEVAL),
            "colourable": concept.id != "person",  # GenEval paints everything but people
            "cell": [index // COLUMNS, index % COLUMNS],
            "natural": {},
            "sources": {},
        }
        for style in PACKAGES:
            own = concept.id in DRAWINGS
            svg = (
                drawing_svg(concept.id, style)
                if own
                else icon_svg(sets[style], concept.icon(style))
            )
            sprite = rasterise(svg)
            cells[style].append(sprite)
            look = np.asarray(sprite)
            row["natural"][style] = nearest_colour(look, share=0.6)
            row["colourable"] &= reads_back(look)
            row["sources"][style] = "own drawing" if own else concept.icon(style)
        rows.append(row)
    ATLAS.mkdir(exist_ok=True)
    for style, sprites in cells.items():
        _sheet(sprites).save(ATLAS / f"{style}.webp", lossless=True, quality=100, method=6)
    data = {"cell_pixels": CELL, "packages": PACKAGES, "concepts": rows}
    text = json.dumps(data, indent=1, ensure_ascii=True) + "\n"
    (ATLAS / "concepts.json").write_text(text, encoding="utf-8")
    contact_sheet(rows, cells, work / "contact.png")


def contact_sheet(
    rows: list[dict[str, Any]], cells: dict[str, list[Image.Image]], path: Path
) -> None:
    """Draw all sprites with their names, styles side by side, to be looked at."""
    width, height, columns = 150, 84, 10
    page = Image.new("RGB", (columns * width, -(-len(rows) // columns) * height), "#e8ece4")
    draw = ImageDraw.Draw(page)
    for index, row in enumerate(rows):
        x, y = index % columns * width, index // columns * height
        for offset, sprites in enumerate(cells.values()):
            page.paste(sprites[index], (x + 4 + 70 * offset, y + 2), sprites[index])
        natural = "/".join(str(colour) for colour in row["natural"].values())
        draw.text((x + 4, y + 69), f"{row['id']} {natural}", fill="black")
    page.save(path)


def _sheet(sprites: list[Image.Image]) -> Image.Image:
    rows = -(-len(sprites) // COLUMNS)
    sheet = Image.new("RGBA", (COLUMNS * CELL, rows * CELL))
    for index, sprite in enumerate(sprites):
        sheet.paste(sprite, (index % COLUMNS * CELL, index // COLUMNS * CELL))
    return sheet


def _wrap(body: str, view: str) -> str:
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}">{body}</svg>'


if __name__ == "__main__":
    build(Path(sys.argv[1]))
