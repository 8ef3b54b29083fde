"""The shape of a decoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ContinuousConfig:
    """What a decoder reads in place of tokens, and what else writing must know about how it was trained.

    Args:
        process: `gaussian`, noisy embeddings; or `simplex`, noisy near one-hot logits.
        embedding_size: gaussian: width of the embeddings that noise is added to.
        sde: gaussian: `vp` or `ve`.
        objective: gaussian: `cross_entropy`, the decoder's output is logits; or `mse`, it is clean embeddings.
        block_size: simplex: positions that are written at once.
        simplex_scale: simplex: K, a token is K at its own place and -K at all others.
    """

    process: str
    embedding_size: int = 64
    sde: str = "vp"
    objective: str = "cross_entropy"
    block_size: int = 25
    simplex_scale: float = 5.0


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """Shape of a decoder.

    Args:
        vocab_size: token ids.
        max_tokens: longest text that is read at once.
        latent_sizes: modality -> width of its latents.
        tasks: names of the tasks it was trained for, in the order of their embeddings.
        styles: names of the target styles, in the order of their embeddings.
        task_styles: task -> those of its own texts; of decoders from before there were any, restyle has them all.
        grid_positions: modality -> number of latents, where these lie on a fixed grid (pictures): each gets a learned
            position, since rows and columns are no smooth function of a running index. Others get sinusoids.
        rates: modality -> tokens per latent, where latents follow the text's order (speech, text): heads are then
            drawn to the latents around a token's own place. Modalities not named have no order in common with text.
        resample: modality -> number of learned queries that read its latents in the decoder's stead.
        downsample: modality -> how many neighbouring latents become one; not for latents on a grid.
        drafts: tasks that are given the tokens of a text to be edited.
        draft_layers: of the encoder that reads them.
        max_draft: longest draft in tokens, its end included.
        memory: captions that it remembers and the size of their pictures' pooled vectors; (): it remembers none.
        further: what it reads beside a task's own latents and draft where a row has it: `hint`, `picture`.
        causal: positions attend to themselves and what is left of them: the autoregressive twin.
        process: the diffusion process that it was trained to undo; a causal decoder undoes none.
        process_options: what that process takes beside tokens, by name.
        continuous: of a decoder that reads noisy vectors in place of tokens; None: it reads tokens.
        norm: `layer` or `rms`.
        activation: of the gated feed-forward layers: `silu` (SwiGLU) or `gelu` (GeGLU).
        feed_forward_size: their inner width; 0: 8/3 of `hidden_size`, to the next multiple of 32.
        qk_norm: whether queries and keys are normalised.
        rotary_bases: of the blocks' rotary positions, in turn.
        embedding_norm: the embeddings are normalised instead of the first block's input to self-attention.
    """

    vocab_size: int
    max_tokens: int
    latent_sizes: Mapping[str, int]
    tasks: tuple[str, ...]
    styles: tuple[str, ...] = ()
    grid_positions: Mapping[str, int] = field(default_factory=dict)
    resample: Mapping[str, int] = field(default_factory=dict)
    downsample: Mapping[str, int] = field(default_factory=dict)
    hidden_size: int = 192
    num_layers: int = 4
    num_heads: int = 6
    dropout: float = 0.0
    rates: Mapping[str, float] = field(default_factory=dict)
    drafts: tuple[str, ...] = ()
    draft_layers: int = 2
    max_draft: int = 64
    memory: tuple[int, ...] = ()
    further: tuple[str, ...] = ()
    task_styles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    causal: bool = False
    process: str = "absorbing"
    process_options: Mapping[str, float] = field(default_factory=dict)
    continuous: ContinuousConfig | None = None
    norm: str = "layer"
    activation: str = "silu"
    feed_forward_size: int = 0
    qk_norm: bool = True
    rotary_bases: tuple[float, ...] = (1e4,)
    embedding_norm: bool = False

    def __post_init__(self) -> None:
        if self.hidden_size % (2 * self.num_heads):
            raise ValueError(f"hidden_size {self.hidden_size} must be a multiple of 2 * num_heads {2 * self.num_heads}")
        both = sorted(self.downsample.keys() & self.grid_positions.keys())
        if both:
            raise ValueError(f"latents of {both[0]} lie on a grid, whose neighbours are no row: resample them instead")

    @property
    def max_canvas(self) -> int:
        """Longest canvas: where texts have a start, it takes one of the positions."""
        return self.max_tokens - (self.process == "speculative")

    def styles_of(self, task: str) -> tuple[str, ...]:
        """The styles that texts of a task can be asked for in."""
        if not self.task_styles:
            return self.styles if task == "restyle" else ()
        return self.task_styles.get(task, ())

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` reads it."""
        return {name: _plain(getattr(self, name)) for name in self.__slots__}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DecoderConfig:
        """The inverse of `to_dict`."""
        known: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        known["task_styles"] = {task: tuple(names) for task, names in known.get("task_styles", {}).items()}
        if known.get("continuous"):
            known["continuous"] = ContinuousConfig(**known["continuous"])
        return cls(**known)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return list(value) if isinstance(value, tuple) else value
