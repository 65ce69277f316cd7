"""A model from parts: one config that fits them all, and how each of its weights is made.

In: parts of foreign folders. Out: a `ModelConfig`, and lists of weights to be written. Weights that
no part gives (connector, latents, times, modulation, velocity head, new vocabulary rows) start as
`mogao.model.init` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial, reduce
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mogao.config import LayoutConfig, ModelConfig, TransformerConfig, parse
from mogao.convert.families import Origin
from mogao.convert.source import Source
from mogao.convert.target import Weight
from mogao.errors import CheckpointError, ConfigError
from mogao.model.init import extended, first_weight
from mogao.model.storage import inside
from mogao.model.transformer import MogaoTransformer
from mogao.model.weights.rules import Part, Rule, some
from mogao.tokenizer import Tokenizer
from mogao.tokenizer_foreign import standard_special

TOKENIZER = "tokenizer.json"
VOCABULARY = ("embedding.tokens.weight", "text_head.projection.weight")
"""Weights with one row for each token id."""
CHATML_BEGIN = "<|im_start|>"
FIXED = ("hidden", "num_layers", "num_heads", "num_kv_heads", "head_dim", "ffn_hidden", "ffn",
         "norm_eps", "qkv_bias", "tied_embeddings", "rope_base")  # fmt: skip
"""What the weights of a language model leave no choice in."""
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True, slots=True)
class Options:
    """How a model is made from parts.

    Attributes:
        dtype: Type of the stored weights; "keep" leaves each as it is.
        visual_from: The visual branch starts as a copy of the text branch, or anew.
        overrides: Changes of `config.json`, nested as it is.
        seed: Of the weights that start anew.
    """

    dtype: Literal["keep", "bfloat16", "float32"] = "keep"
    visual_from: Literal["text", "none"] = "text"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    @property
    def stored(self) -> torch.dtype | None:
        """The type of the stored weights; None keeps each."""
        return DTYPES.get(self.dtype)


def read_tokenizer(origin: Origin) -> tuple[Tokenizer, LayoutConfig]:
    """Return the tokenizer of a language model, and how documents are laid out with it.

    Raises:
        CheckpointError: It is missing or of no kind that can be read.
    """
    layout: LayoutConfig = origin.config.layout
    place: Any = origin.source.settings.get(TOKENIZER)
    if place is None:
        place = inside(origin.source.path, TOKENIZER)
    special = standard_special(origin.kind, place)
    if special["begin"] != CHATML_BEGIN:
        layout = layout.model_copy(update={"begin": True, "turns": "token"})
    return Tokenizer.from_foreign(place, special=special), layout


def model_config(
    parts: Mapping[Part, Any], *, name: str, overrides: Mapping[str, Any]
) -> ModelConfig:
    """Return a config in which parts fit each other; parts that are missing are small new ones.

    Args:
        parts: Our config of each part that there is; the transformer must be.
        name: Of the model.
        overrides: Changes, nested as `config.json` is; what follows from parts is worked out
            afterwards.

    Raises:
        ConfigError: A change is not valid, or one that the weights of the language model forbid.
    """
    default = ModelConfig()
    data: dict[str, Any] = {
        "name": name,
        "transformer": parts["transformer"].model_dump(mode="json"),
        "vision": parts.get("vision", default.vision).model_dump(mode="json"),
        "autoencoder": parts.get("vae", default.autoencoder).model_dump(mode="json"),
    }
    data = _merged(data, overrides)
    given = parse(TransformerConfig, data["transformer"], where="config.transformer")
    changed = [key for key in FIXED if getattr(given, key) != getattr(parts["transformer"], key)]
    if changed:
        raise ConfigError(
            f"transformer.{changed[0]} is {getattr(given, changed[0])!r}, but the weights of the "
            f"language model are made for {getattr(parts['transformer'], changed[0])!r}"
        )
    vision = parse(type(default.vision), data["vision"], where="config.vision")
    autoencoder = parse(type(default.autoencoder), data["autoencoder"], where="config.autoencoder")
    if "latent_patch" not in overrides:
        data["latent_patch"] = default.latent_patch
        if given.layout.vit_size is None:
            data["latent_patch"] = max(1, vision.patch_pixels // autoencoder.latent_stride)
    own, patch = overrides.get("transformer", {}), data["latent_patch"]
    fitting = {"vision_dim": vision.hidden}
    if type(patch) is int:  # else the check below names it
        fitting["latent_dim"] = autoencoder.latent_channels * patch**2
    data["transformer"] |= {key: value for key, value in fitting.items() if key not in own}
    return parse(ModelConfig, data, where="config")


def transformer_weights(
    config: TransformerConfig, origin: Origin, options: Options
) -> list[Weight]:
    """Return how each weight of the transformer is made, a visual one right behind its text twin.

    Raises:
        CheckpointError: The part gives a weight that the config has no place for.
    """
    with torch.device("meta"):
        shapes = _shapes(MogaoTransformer(config))
    rules: dict[str, Rule] = {
        rule.ours: rule
        for rule in origin.family.rules(origin.config)
        if not rule.is_copy or (options.visual_from == "text" and rule.ours in shapes)
    }
    homeless = sorted(rules.keys() - shapes.keys())
    if homeless:
        raise CheckpointError(f"the config has no place for: {some(homeless)}")
    joiner = _Joiner(origin.source)
    embedding = rules[VOCABULARY[0]]
    new_dtype = options.stored or _joined_dtype(embedding, origin.source)
    order = {name: number for number, name in enumerate(shapes)}
    twins = sorted(
        shapes, key=lambda n: (order.get(n.replace(".visual.", ".text."), order[n]), order[n])
    )
    weights = []
    for name in twins:
        dtype = new_dtype
        make = partial(
            first_weight, name, shapes[name], num_layers=config.num_layers, seed=options.seed
        )
        if name in rules:
            dtype = options.stored or _joined_dtype(rules[name], origin.source)
            make = partial(joiner.join, rules[name])
        if name in rules and name in VOCABULARY and config.vocab_size > origin.config.vocab_size:
            make = partial(_extend, make, config.vocab_size, name=name, seed=options.seed)
        weights.append(Weight(name, dtype, shapes[name], partial(_cast, make, dtype)))
    return weights


def part_weights(network: nn.Module, origin: Origin, options: Options) -> list[Weight]:
    """Return how each weight of an encoder is made.

    Args:
        network: The library's network, on any device; only names and shapes are read.
        origin: What makes all of its weights.
        options: Type of the weights.

    Raises:
        CheckpointError: The family does not make exactly these weights.
    """
    shapes = _shapes(network)
    rules = {rule.ours: rule for rule in origin.family.rules(origin.config)}
    if rules.keys() != shapes.keys():
        differing = sorted(rules.keys() ^ shapes.keys())
        raise CheckpointError(f"{origin.source.path}: weights do not fit: {some(differing)}")
    joiner = _Joiner(origin.source)
    weights = []
    for name, shape in shapes.items():
        dtype = options.stored or _joined_dtype(rules[name], origin.source)
        make = partial(_cast, partial(joiner.join, rules[name]), dtype)
        weights.append(Weight(name, dtype, shape, make))
    return weights


def new_weights(network: nn.Module, dtype: torch.dtype) -> list[Weight]:
    """Return the weights of a network that exists, as they are."""
    return [
        Weight(name, dtype, tuple(weight.shape), partial(_cast, partial(_itself, weight), dtype))
        for name, weight in network.state_dict().items()
    ]


class _Joiner:
    """Makes weights from foreign tensors; the last one is kept for its twin."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._last: tuple[Any, Tensor] | None = None

    def join(self, rule: Rule) -> Tensor:
        key = (rule.theirs, rule.form)
        if self._last is None or self._last[0] != key:
            self._last = None  # both together would need twice the memory
            parts = [self._source.read(one.name) for one in rule.theirs]
            self._last = (key, rule.form.join(parts))
        return self._last[1]


def _joined_dtype(rule: Rule, source: Source) -> torch.dtype:
    return reduce(torch.promote_types, [source.tensors[one.name].dtype for one in rule.theirs])


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in network.state_dict().items()}


def _cast(make: Any, dtype: torch.dtype) -> Tensor:
    tensor: Tensor = make().detach().to("cpu", dtype)
    return tensor


def _extend(make: Any, num_rows: int, *, name: str, seed: int) -> Tensor:
    return extended(make(), num_rows, name=name, seed=seed)


def _itself(weight: Tensor) -> Tensor:
    return weight


def _merged(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Changes put into nested data; what is a mapping on both sides is merged."""
    result = dict(data)
    for key, value in changes.items():
        inner: Any = result.get(key)
        # A variant brings its own fields: those of the one before it must not stay.
        is_same = isinstance(inner, Mapping) and isinstance(value, Mapping)
        if is_same and value.get("kind", inner.get("kind")) == inner.get("kind"):
            result[key] = _merged(inner, value)
        else:
            result[key] = value
    return result
