"""A page of samples of the world, to be looked at: `mogao data show world`.

In: a `WorldConfig`. Out: one self-contained HTML file; texts stand beside their pictures.
"""

from __future__ import annotations

import html
import json
from pathlib import Path

from mogao.config import WorldConfig
from mogao.data.images import data_url
from mogao.data.world.source import World
from mogao.files import atomic_write
from mogao.sequence import ImageSegment, InterleavedSequence

_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 62em; color: #222; }
article { border-top: 1px solid #ccc; padding: .8em 0; display: flex; flex-wrap: wrap;
  gap: .8em; align-items: center; }
h2 { font-size: 13px; width: 100%; margin: 0; color: #777; font-weight: normal; }
p { margin: 0; max-width: 20em; }
p.user, img.user { border-left: 3px solid #46c; padding-left: 6px }
img { width: 128px; height: 128px; } details { width: 100%; font-size: 12px; color: #666; }
"""


def write_samples_page(path: str | Path, *, config: WorldConfig, num_items: int = 60) -> None:
    """Write the first `num_items` documents as one HTML file; the user's part has a blue bar.

    Raises:
        ConfigError: The config names an unknown recipe or style.
    """
    world = World(config)
    articles = [_article(world.item(index)) for index in range(num_items)]
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>Samples of the world</title><style>{_STYLE}</style></head><body>"
        f"<h1>Samples of the world</h1><p>{num_items} documents, split {config.split}, "
        f"seed {config.seed}</p>{''.join(articles)}</body></html>\n"
    )
    atomic_write(path, text)


def _article(document: InterleavedSequence) -> str:
    parts = [f"<h2>{html.escape(document.id)}: {html.escape(document.meta['recipe'])}</h2>"]
    for segment in document:
        if isinstance(segment, ImageSegment):
            parts.append(f'<img class="{segment.role}" alt="" src="{data_url(segment.pixels)}">')
        else:
            parts.append(f'<p class="{segment.role}">{html.escape(segment.text)}</p>')
    truth = html.escape(json.dumps(document.meta["truth"]))
    parts.append(f"<details><summary>truth</summary>{truth}</details>")
    return f"<article>{''.join(parts)}</article>"
