"""The shape of a decoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """Shape of a decoder.

    Args:
        vocab_size: token ids.
        max_tokens: longest canvas.
        latent_sizes: modality -> width of its latents.
        tasks: names of the tasks it was trained for, in the order of their embeddings.
        styles: names of the target styles, in the order of their embeddings.
        grid_positions: modality -> number of latents, where these lie on a fixed grid (pictures): each gets a learned
            position, since rows and columns are no smooth function of a running index. Others get sinusoids.
        resample: modality -> number of learned queries that read its latents in the decoder's stead.
        downsample: modality -> how many neighbouring latents become one; not for latents on a grid.
        draft_layers: of the encoder that reads the tokens of a text to be edited; 0: this decoder reads no drafts.
        max_draft: longest draft in tokens, its end included.
        causal: positions attend to themselves and what is left of them: the autoregressive twin.
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
    draft_layers: int = 0
    max_draft: int = 64
    causal: bool = False
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

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` reads it."""
        return {name: _plain(getattr(self, name)) for name in self.__slots__}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DecoderConfig:
        """The inverse of `to_dict`."""
        known: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**known)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value
