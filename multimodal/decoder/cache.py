"""What a causal decoder remembers of the text that it has read."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from multimodal.decoder.config import DecoderConfig


@dataclass(slots=True)
class TextCache:
    """Keys and values of the text that a causal decoder has read so far.

    Args:
        keys, values: per layer, float [batch, heads, room, head_size].
        length: positions read.
    """

    keys: list[Tensor]
    values: list[Tensor]
    length: int = 0

    @classmethod
    def empty(cls, config: DecoderConfig, batch: int, room: int, like: Tensor) -> TextCache:
        """Room for `room` positions, in the dtype and on the device of `like`."""
        shape = (batch, config.num_heads, room, config.hidden_size // config.num_heads)
        keys, values = ([like.new_zeros(shape) for _ in range(config.num_layers)] for _ in range(2))
        return cls(keys, values)

    def rows(self, index: Tensor) -> TextCache:
        """Some rows of the batch, in any order and as often as named."""
        keys, values = ([layer[index] for layer in layers] for layers in (self.keys, self.values))
        return TextCache(keys, values, self.length)

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write a layer's new positions, each [batch, heads, new, head_size], and return all up to them."""
        end = self.length + keys.shape[2]
        self.keys[layer][:, :, self.length : end] = keys
        self.values[layer][:, :, self.length : end] = values
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]
