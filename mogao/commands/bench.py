"""`mogao bench`: speed on this machine, as JSON with fixed keys or as a table.

In: nothing. Out: what `mogao.bench` measures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mogao.commands.output import finish
from mogao.provenance import provenance

if TYPE_CHECKING:
    import torch


def ectf(*, seed: int, as_json: bool) -> None:
    """One packed sequence with N pictures against N sequences with one picture each."""
    import mogao.bench.ectf

    facts = mogao.bench.ectf.run(seed=seed)
    lines = [f"{'pictures':>8}  {'ectf s':>8}  {'one each s':>10}  {'faster':>6}"]
    for row in facts["rows"]:
        ours, theirs = row["ectf"]["seconds"], row["one_per_picture"]["seconds"]
        lines.append(f"{row['pictures']:>8}  {ours:>8.3f}  {theirs:>10.3f}  {theirs / ours:>5.2f}x")
    finish(provenance(facts.get("dtype")) | facts, lines, as_json=as_json)


def train(*, compile_layers: bool, seed: int, as_json: bool) -> None:
    """A training step and its share of the machine's matrix rate."""
    import mogao.bench.train

    facts = mogao.bench.train.run(seed=seed, compile_layers=compile_layers)
    finish(provenance(facts.get("dtype")) | facts, _lines(facts), as_json=as_json)


def decode(*, peers: bool, compiled: bool, dtype: str, seed: int, as_json: bool) -> None:
    """Text at several contexts, beside `transformers` Llama of the same shape."""
    from mogao.bench import sampling
    from mogao.bench.peers import llama_decode

    facts = sampling.decode(dtype=dtype, compiled=compiled, seed=seed)
    if peers:
        llama = llama_decode(dtype=_torch_dtype(dtype), contexts=sampling.CONTEXTS)
        facts["peers"] = {"llama": llama}
    _show(facts, dtype=dtype, compiled=compiled, as_json=as_json)


def denoise(
    *, peers: bool, compiled: bool, model: str, dtype: str, seed: int, as_json: bool
) -> None:
    """One denoise step under one to three branches, a picture at default quality, a first token.

    With peers also a step beside the `diffusers` OmniGen transformer and a whole small picture
    beside `transformers` Janus.
    """
    from mogao.bench import sampling
    from mogao.bench.peers import PICTURE_TOKENS, janus_picture, omnigen_step
    from mogao.pipeline import Mogao

    runtime = sampling.runtime(compiled=compiled)
    loaded = Mogao.from_pretrained(model, dtype=dtype, device="cpu", runtime=runtime)
    facts = sampling.denoise(model=loaded, side=128, history=24, branches=(1, 2, 3), seed=seed)
    facts["default_picture"] = sampling.default_picture(loaded, seed=seed)
    facts["first_token"] = sampling.first_token(loaded, seed=seed)
    if peers:
        facts["small"] = sampling.denoise(
            model=sampling.small_model(dtype=dtype, compiled=compiled),
            side=256,
            history=PICTURE_TOKENS,
            branches=(1, 2),
            picture=False,
            seed=seed,
        )
        rows = [omnigen_step(dtype=_torch_dtype(dtype), branches=n, history=PICTURE_TOKENS)
                for n in (1, 2)]  # fmt: skip
        facts["picture"] = sampling.picture(dtype=dtype, compiled=compiled, seed=seed)
        facts["peers"] = {
            "omnigen": {"rows": rows},
            "janus": janus_picture(dtype=_torch_dtype(dtype)),
        }
    _show(facts, dtype=dtype, compiled=compiled, as_json=as_json)


def interleave(*, peers: bool, compiled: bool, dtype: str, seed: int, as_json: bool) -> None:
    """A document of two texts and two pictures, beside `transfusion-pytorch`."""
    from mogao.bench import sampling
    from mogao.bench.peers import transfusion_documents

    facts = sampling.interleave(dtype=dtype, compiled=compiled, seed=seed)
    if peers:
        one, eight = (
            transfusion_documents(dtype=_torch_dtype(dtype), num_documents=count)
            for count in (1, 8)
        )
        facts["eight"] = sampling.interleave(
            dtype=dtype, compiled=compiled, num_documents=8, seed=seed
        )
        facts["peers"] = {"transfusion-pytorch": one | {"eight_seconds": eight["seconds"]}}
    _show(facts, dtype=dtype, compiled=compiled, as_json=as_json)


def batch(*, compiled: bool, model: str, dtype: str, seed: int, as_json: bool) -> None:
    """Eight requests together and in turn."""
    from mogao.bench import sampling
    from mogao.pipeline import Mogao

    runtime = sampling.runtime(compiled=compiled)
    facts = sampling.batch(
        model=Mogao.from_pretrained(model, dtype=dtype, device="cpu", runtime=runtime),
        exact=Mogao.from_pretrained(
            model, dtype="float32", device="cpu", runtime=sampling.runtime(compiled=False)
        ),
        seed=seed,
    )
    _show(facts, dtype=dtype, compiled=compiled, as_json=as_json)


def judges(*, model: str, num: int, seed: int, as_json: bool) -> None:
    """How often the judges of the world read real renders without a mistake, and how fast."""
    import mogao.bench.judges
    from mogao.pipeline import Mogao

    autoencoder = Mogao.from_pretrained(model, device="cpu").parts.autoencoder
    facts = mogao.bench.judges.run(autoencoder, num=num, seed=seed)
    names = [name for name in facts["rows"][0] if name not in ("judge", "scenes", "pictures")]
    lines = [f"{'':38}" + "".join(f"{name.replace('_', ' '):>13}" for name in names)]
    for row in facts["rows"]:
        shown = (f"{'' if row[name] is None else format(row[name], '.3f'):>13}" for name in names)
        lines.append(f"{row['judge']:18} {row['scenes']:4} {row['pictures']:13} {''.join(shown)}")
    finish(provenance() | facts, lines, as_json=as_json)


def _show(facts: dict[str, Any], *, dtype: str, compiled: bool, as_json: bool) -> None:
    from mogao.bench.sampling import runtime

    facts["compiled"] = runtime(compiled=compiled).compile != "off"
    name = str(_torch_dtype(dtype)).removeprefix("torch.")
    finish(provenance(name) | facts, _flat(facts), as_json=as_json)


def _torch_dtype(name: str) -> torch.dtype:
    import torch

    from mogao.model.hardware import pick_dtype

    return pick_dtype(name, torch.device("cpu"))


def _flat(facts: Any, path: str = "") -> list[str]:
    """One line per number, named by where it stands."""
    if isinstance(facts, dict):
        return [line for key, value in facts.items() for line in _flat(value, f"{path} {key}")]
    if isinstance(facts, list):
        return [line for i, value in enumerate(facts) for line in _flat(value, f"{path} {i}")]
    return [f"{path.strip():48} {f'{facts:,.4f}' if isinstance(facts, float) else facts}"]


def _lines(facts: dict[str, Any]) -> list[str]:
    return [
        f"{key:24} {f'{value:,.3f}' if isinstance(value, float) else value}"
        for key, value in facts.items()
    ]
