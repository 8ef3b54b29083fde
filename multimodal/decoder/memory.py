"""The captions that a decoder remembers of its training, to be found again by what their pictures looked like."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from multimodal.decoder.config import DecoderConfig


class CaptionMemory(nn.Module):
    """Pooled vectors of the train pictures, each with the tokens of a caption: part of the decoder's saved state, so
    that new pictures get drafts of the kind that it was trained with wherever it is loaded.

    Args:
        count: captions.
        size: of a pooled vector.
        max_tokens: of a caption; shorter ones end with -1.
    """

    vectors: Tensor
    tokens: Tensor

    def __init__(self, count: int, size: int, max_tokens: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(count, size))
        self.register_buffer("tokens", torch.full((count, max_tokens), -1, dtype=torch.int32))

    def fill(self, vectors: Tensor, captions: list[list[int]]) -> None:
        """Remember captions, of vectors of length 1, float [count, size]."""
        self.vectors.copy_(vectors)
        for row, ids in enumerate(captions):
            kept = torch.tensor(ids[: self.tokens.shape[1]], dtype=torch.int32)
            self.tokens[row, : len(kept)] = kept

    def nearest(self, vector: Tensor) -> list[int]:
        """Tokens of the caption whose picture is most like a pooled vector, float [size], by cosine."""
        row = (self.vectors @ vector.to(self.vectors)).argmax()
        return [token for token in self.tokens[row].tolist() if token >= 0]


def build_memory(config: DecoderConfig) -> CaptionMemory | None:
    """The empty memory that a configuration asks for."""
    if not config.memory:
        return None
    count, size = config.memory
    return CaptionMemory(count, size, config.max_draft)
