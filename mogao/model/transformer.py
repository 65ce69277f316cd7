"""The joint transformer: tokens of both branches in, text logits and velocities out.

In: `TokenInputs` (built from a pack for training, from single runs for sampling) and an `Attend`.
Out: hidden states of both branches, logits, velocities. Training and sampling share every layer;
they differ only in what `attend` does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mogao.config import InputTime, TransformerConfig
from mogao.flow import FlowInputs
from mogao.model.attention import Attend, Backend, make_attention
from mogao.model.block import Block, BranchInput, EitherBranch, Hidden
from mogao.model.embed import Embedding, Modulator, TextHead, VelocityHead
from mogao.model.past import attend_past, attend_picture, register
from mogao.model.rope import Rotation, rotation
from mogao.packing.layout import TokenKind
from mogao.packing.mask import MaskRule
from mogao.packing.pack import PackedBatch

_STEP_OPTIONS = {
    "realize_acc_reads_threshold": 2,  # what enters a product of one row is computed once
    "realize_opcount_threshold": 10,  # cosines and sines too, not once for each head and layer
}
# Row of the modulation table that leaves a token alone (text-like kinds in a modulated branch).
UNTIMED = 0


@dataclass(frozen=True, slots=True, eq=False)
class TokenInputs:
    """What enters the layers, in packed order once gathered.

    Attributes:
        text_ids: TEXT tokens.
        vit_features: VIT tokens, features of the vision encoder.
        clean_latents: CLEAN tokens, latent patches.
        noisy_latents: NOISY tokens, latent patches.
        gather: For each packed token its row in the concatenation of those four.
        num_text_branch: Packed tokens of the text branch; they come first.
        positions: (time, row, column) of each packed token.
        times: Flow times of the modulation rows behind `UNTIMED`; the first is 0, for CLEAN. Empty
            where nothing is timed.
        time_rows: For each branch the modulation row of each group of equally many consecutive
            tokens; None where no token of the branch is timed.
        noisy_rows: The same for the NOISY tokens alone, for the velocity head.
    """

    text_ids: Int64[Tensor, " text"]
    vit_features: Float[Tensor, "vit vision_dim"]
    clean_latents: Float[Tensor, "clean latent_dim"]
    noisy_latents: Float[Tensor, "noisy latent_dim"]
    gather: Int64[Tensor, " tokens"]
    num_text_branch: int
    positions: Float32[Tensor, "tokens 3"]
    times: Float32[Tensor, " times"]
    time_rows: tuple[Int64[Tensor, " _"] | None, Int64[Tensor, " _"] | None]
    noisy_rows: Int64[Tensor, " noisy_groups"]


@dataclass(frozen=True, slots=True, eq=False)
class ModelOutput:
    """Predictions of one pack.

    Attributes:
        logits: At the pack's `predict_index`, float32.
        velocity: At its NOISY tokens, float32.
        tapped: States of the NOISY tokens behind the layer asked for; None where none was.
    """

    logits: Float32[Tensor, "predictions vocab"]
    velocity: Float32[Tensor, "noisy latent_dim"]
    tapped: Float[Tensor, "noisy hidden"] | None = None


class MogaoTransformer(nn.Module):
    """One causal transformer over interleaved text and pictures.

    Source: arXiv 2505.05472, architecture. Weights may be float32 masters; every layer computes in
    `compute_dtype`, by explicit casts. With `recomputes_layers` a layer keeps only its input for
    the backward pass and is computed again there (arXiv 1604.06174).
    """

    def __init__(
        self, config: TransformerConfig, *, compute_dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.config = config
        self.compute_dtype = compute_dtype
        self.is_compiled = False
        self.recomputes_layers = False
        self.rule = MaskRule.from_config(config.visibility)
        self.embedding = Embedding(config)
        self.modulator = Modulator(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.text_head = TextHead(config)
        self.velocity_head = VelocityHead(config)

    def forward(
        self,
        batch: PackedBatch,
        flow: FlowInputs,
        *,
        vit_features: Float[Tensor, "vit vision_dim"],
        backend: Backend = "auto",
        tap: int | None = None,
    ) -> ModelOutput:
        """Return the predictions of a pack; the training forward.

        Args:
            batch: The pack.
            flow: Corruption of its NOISY tokens.
            vit_features: Features of its VIT tokens, in packed order.
            backend: Attention back-end.
            tap: Also return states behind this many layers, at least 1.
        """
        inputs = pack_inputs(batch, flow, vit_features=vit_features)
        attend = make_attention(
            self.rule, batch.table, batch.meta, backend=backend, dtype=self.compute_dtype
        )
        noisy = batch.noisy_index
        tapped, states = None, list[EitherBranch]()
        for number, states in enumerate(self.layer_states(inputs, attend), start=1):
            if number == tap:
                tapped = torch.cat(states).index_select(0, noisy)
        hidden = torch.cat(states)
        return ModelOutput(
            logits=self.logits(hidden.index_select(0, batch.predict_index)),
            velocity=self.velocity(hidden.index_select(0, noisy), inputs),
            tapped=tapped,
        )

    def hidden_states(self, inputs: TokenInputs, attend: Attend) -> list[EitherBranch]:
        """Return the final hidden states of the text branch and of the visual branch."""
        (last,) = deque(self.layer_states(inputs, attend), maxlen=1)
        return last

    def layer_states(self, inputs: TokenInputs, attend: Attend) -> Iterator[list[EitherBranch]]:
        """Yield the states of the text branch and of the visual branch behind each layer."""
        sizes = [inputs.num_text_branch, len(inputs.gather) - inputs.num_text_branch]
        # Kinds that are not there cost nothing, unless their weights wait for a gradient.
        is_timed = len(inputs.times) > 0 or torch.is_grad_enabled()
        embedded_times = self.embedding.time(inputs.times) if is_timed else None
        hidden = list(self._embed(inputs, embedded_times).split(sizes))
        rotations = self._rotations(inputs.positions, sizes)
        modulations: Sequence[Tensor | None] = [None] * self.config.num_layers
        if embedded_times is not None:
            modulations = self.modulator(embedded_times)
        for layer, (block, rows) in enumerate(zip(self.layers, modulations, strict=True)):
            sides = [
                BranchInput(turn, _modulation(rows, groups, self.compute_dtype))
                for turn, groups in zip(rotations, inputs.time_rows, strict=True)
            ]
            step = partial(block, inputs=sides, attend=attend, layer=layer)
            if self.recomputes_layers and torch.is_grad_enabled():
                again = partial(_of_states, step)
                hidden = checkpoint(again, *hidden, use_reentrant=False, preserve_rng_state=False)
            else:
                hidden = step(hidden)
            yield hidden

    def text_step(
        self,
        ids: Int64[Tensor, " texts"],
        positions: Float32[Tensor, "texts 3"],
        *,
        past: Float[Tensor, "2 layers texts kv_heads past head_dim"],
        bias: Float[Tensor, "texts 1 past"] | None,
    ) -> tuple[Float32[Tensor, "texts vocab"], Float[Tensor, "2 layers texts kv_heads head_dim"]]:
        """Return what follows one more token of each of several texts, and its keys and values.

        `hidden_states` with a cache computes the same; this is the decode step as one function of
        tensors that writes nothing, so that it compiles as a whole.

        Args:
            ids: The tokens.
            positions: Theirs.
            past: Keys and values of what each text sees, at least one row.
            bias: Added to the scores; minus infinity hides a row of a shorter text.
        """
        config = self.config
        hidden = self.embedding.text(ids, self.compute_dtype)
        turn = rotation(
            positions, config.positions, head_dim=config.head_dim, base=config.rope_base
        )
        new = []
        for layer, block in enumerate(self.layers):
            branch = block.text if config.routing.text == "text" else block.visual
            q, k, v = branch.before(hidden, turn, None)
            attended = attend_past(q, k, v, past=past[:, layer], bias=bias)
            hidden = branch.after(hidden, attended, None)
            new.append(torch.stack((k, v)))
        return self.logits(hidden), torch.stack(new, dim=1)

    def picture_step(
        self,
        latents: Float[Tensor, "tokens latent_dim"],
        t: Float32[Tensor, " times"],
        positions: Float32[Tensor, "tokens 3"],
        *,
        past: Float[Tensor, "2 layers items kv_heads past head_dim"],
        bias: Float[Tensor, "items 1 keys"] | None,
    ) -> Float32[Tensor, "tokens latent_dim"]:
        """Return the velocities of noisy pictures of one size, one behind each past.

        `hidden_states` with a cache computes the same; this is the denoise step as one function of
        tensors that writes nothing, so that it compiles as a whole.

        Args:
            latents: Noisy patches, picture after picture.
            t: Flow time of each picture, or one of all.
            positions: Of all patches.
            past: Keys and values of what each picture sees besides itself.
            bias: Added to the scores of its own patches, then of the past; minus infinity hides.
        """
        config, dtype = self.config, self.compute_dtype
        embedded = self.embedding.time(t)
        hidden = self.embedding.generation(latents, dtype)
        if isinstance(config.time, InputTime):
            hidden = (hidden.unflatten(0, (len(t), -1)) + embedded.to(dtype)[:, None]).flatten(0, 1)
        if self.embedding.latent_grid is not None:
            hidden = hidden + self.embedding.latent_grid(positions, dtype)
        turn = rotation(
            positions, config.positions, head_dim=config.head_dim, base=config.rope_base
        )
        rows = self.modulator(embedded)
        for layer, (block, row) in enumerate(zip(self.layers, rows, strict=True)):
            branch = block.text if config.routing.noisy == "text" else block.visual
            modulation = None if row is None else row.to(dtype)
            q, k, v = branch.before(hidden, turn, modulation)
            attended = attend_picture(q, k, v, past=past[:, layer], bias=bias)
            hidden = branch.after(hidden, attended, modulation)
        out: Tensor = self.velocity_head(hidden, embedded)
        return out

    def logits(self, hidden: Hidden) -> Float32[Tensor, "tokens vocab"]:
        """Return next-token logits of final hidden states of text tokens."""
        out: Tensor = self.text_head(hidden, self.embedding.tokens.weight)
        return out

    def velocity(self, hidden: Hidden, inputs: TokenInputs) -> Float32[Tensor, "noisy latent_dim"]:
        """Return velocities of the final hidden states of all NOISY tokens."""
        if not len(inputs.noisy_rows):
            return hidden.new_zeros(0, self.config.latent_dim, dtype=torch.float32)
        rows = self.embedding.time(inputs.times).index_select(0, inputs.noisy_rows - 1)
        out: Tensor = self.velocity_head(hidden, rows)
        return out

    @property
    def layers(self) -> list[Block]:
        """The layers, first to last."""
        return [block for block in self.blocks if isinstance(block, Block)]

    def compile_layers(self, *, mode: str = "default") -> None:
        """Compile what lies before and behind the attention of each layer, once for all layers.

        The attention itself stays eager: its plan differs in every pack.

        Args:
            mode: Of `torch.compile`.
        """
        places: list[tuple[nn.Module, str]] = [
            (branch, name)
            for block in self.layers
            for branch in (block.text, block.visual)
            for name in ("before", "after")
        ]
        _compile(places, mode=mode)

    def compile_for_sampling(self, *, mode: str = "default") -> None:
        """Compile the layers, the heads, the decode step and the denoise step.

        Args:
            mode: Of `torch.compile`.
        """
        from torch._inductor import list_mode_options

        register()
        options = list_mode_options(mode, dynamic=True) | _STEP_OPTIONS
        # No Python between the parts of a step.
        options["cpp_wrapper"] = self.embedding.tokens.weight.device.type == "cpu"
        steps = {
            step.__name__: torch.compile(step, dynamic=True, fullgraph=True, options=options)
            for step in (self.text_step, self.picture_step)
        }
        self.compile_layers(mode=mode)
        _compile([(self.velocity_head, "forward"), (self.text_head, "forward")], mode=mode)
        self.__dict__ |= steps
        self.is_compiled = True

    def _embed(self, inputs: TokenInputs, embedded_times: Tensor | None) -> Hidden:
        dtype = self.compute_dtype
        if embedded_times is None and not len(inputs.vit_features):
            return self.embedding.text(inputs.text_ids, dtype).index_select(0, inputs.gather)
        clean = self.embedding.generation(inputs.clean_latents, dtype)
        noisy = self.embedding.generation(inputs.noisy_latents, dtype)
        if isinstance(self.config.time, InputTime) and embedded_times is not None:
            clean = clean + embedded_times[:1].to(dtype)
            if len(inputs.noisy_rows):
                rows = embedded_times.index_select(0, inputs.noisy_rows - 1).to(dtype)
                noisy = noisy + rows.repeat_interleave(len(noisy) // len(rows), dim=0)
        vit = self.embedding.vit(inputs.vit_features, dtype)
        if self.embedding.vit_grid is not None and self.embedding.latent_grid is not None:
            places = torch.empty_like(inputs.positions)
            places = places.index_copy(0, inputs.gather, inputs.positions)
            sizes = [len(x) for x in (inputs.text_ids, vit, clean, noisy)]
            _, *cells = places.split(sizes)
            vit = vit + self.embedding.vit_grid(cells[0], dtype)
            clean = clean + self.embedding.latent_grid(cells[1], dtype)
            noisy = noisy + self.embedding.latent_grid(cells[2], dtype)
        parts = (self.embedding.text(inputs.text_ids, dtype), vit, clean, noisy)
        return torch.cat(parts).index_select(0, inputs.gather)

    def _rotations(
        self, positions: Float32[Tensor, "tokens 3"], sizes: Sequence[int]
    ) -> list[Rotation]:
        config = self.config
        whole = rotation(
            positions, config.positions, head_dim=config.head_dim, base=config.rope_base
        )
        return [whole.slice(0, sizes[0]), whole.slice(sizes[0], sum(sizes))]


def _of_states(step: Callable[..., list[Tensor]], *hidden: Tensor) -> list[Tensor]:
    return step(hidden)


def _compile(places: Sequence[tuple[nn.Module, str]], *, mode: str) -> None:
    """Replace methods by compiled ones that take any number of tokens."""
    for module, name in places:
        setattr(module, name, torch.compile(getattr(module, name), dynamic=True, mode=mode))


def pack_inputs(
    batch: PackedBatch, flow: FlowInputs, *, vit_features: Float[Tensor, "vit vision_dim"]
) -> TokenInputs:
    """Return a pack and its corruption as inputs of the layers."""
    table = batch.table
    is_noisy = table.source == TokenKind.NOISY
    rows = np.where(table.source == TokenKind.CLEAN, UNTIMED + 1, UNTIMED)
    rows[is_noisy] = np.arange(UNTIMED + 2, UNTIMED + 2 + int(is_noisy.sum()))
    is_text_branch = table.start < batch.num_text_branch
    device = batch.positions.device
    return TokenInputs(
        text_ids=batch.text_ids,
        vit_features=vit_features,
        clean_latents=batch.clean_latents,
        noisy_latents=flow.noisy,
        gather=batch.gather,
        num_text_branch=batch.num_text_branch,
        positions=batch.positions,
        times=torch.cat((flow.t.new_zeros(1), flow.t)),
        time_rows=(
            time_rows(rows[is_text_branch], table.length[is_text_branch], device=device),
            time_rows(rows[~is_text_branch], table.length[~is_text_branch], device=device),
        ),
        noisy_rows=_groups(rows[is_noisy], table.length[is_noisy]).to(device),
    )


def time_rows(
    rows: Int64[np.ndarray, " runs"], lengths: Int64[np.ndarray, " runs"], *, device: torch.device
) -> Int64[Tensor, " groups"] | None:
    """Return the modulation row of each group of tokens of a branch; None if none is timed."""
    if not (rows != UNTIMED).any():
        return None
    return _groups(rows, lengths).to(device)


def _groups(
    rows: Int64[np.ndarray, " runs"], lengths: Int64[np.ndarray, " runs"]
) -> Int64[Tensor, " groups"]:
    """One group per run where all runs are equally long, else one per token."""
    if len(lengths) and (lengths == lengths[0]).all():
        return torch.from_numpy(rows)
    return torch.from_numpy(np.repeat(rows, lengths))


def _modulation(
    rows: Float32[Tensor, "rows 6 hidden"] | None,
    groups: Int64[Tensor, " groups"] | None,
    dtype: torch.dtype,
) -> Float[Tensor, "groups 6 hidden"] | None:
    if rows is None or groups is None:
        return None
    untimed = rows.new_zeros(1, *rows.shape[1:])
    return torch.cat((untimed, rows)).index_select(0, groups).to(dtype)
