"""The model card of a converted model: what came from where, and what nobody has trained.

In: a config and the origins of its parts. Out: Markdown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mogao.config import ModelConfig
from mogao.convert.families import Origin
from mogao.model.weights.rules import Part, some

CARD = """# {name}

A mogao model: one causal transformer that reads and writes interleaved text and pictures. It was
made by `mogao convert` and has not been trained since.

| part | taken from | family |
|---|---|---|
{rows}

## What is untrained

{untrained}

```python
from mogao import Mogao

session = Mogao.from_pretrained("PATH OF THIS FOLDER").session(seed=0)
```

The licences of the parts are those of the models that they come from. `convert.json` has the files,
their checksums and all settings.
"""
WHOLE = "Nothing: every weight comes from the model above."
LANGUAGE_ONLY = """This is a language model in the shape of a mogao model. It writes text as before;
it cannot look at pictures or draw before it is trained to."""
ROWS: dict[Part, str] = {
    "transformer": "transformer",
    "vision": "understanding encoder, `vision/`",
    "vae": "autoencoder, `vae/`",
}


def model_card(config: ModelConfig, origins: Mapping[Part, Origin], *, new: Sequence[str]) -> str:
    """Return the card.

    Args:
        config: Of the model.
        origins: Where each part comes from; the others are new.
        new: Names of weights that start anew.
    """
    rows = [
        f"| {title} | {origins[part].source.title} | {origins[part].kind} |"
        if part in origins else f"| {title} | - | new, small |"
        for part, title in ROWS.items()
    ]  # fmt: skip
    lines = [LANGUAGE_ONLY] if origins.keys() == {"transformer"} else []
    lines += [f"{len(new)} weights start anew: {some(new)}."] if new else [WHOLE]
    return CARD.format(name=config.name, rows="\n".join(rows), untrained="\n\n".join(lines))
