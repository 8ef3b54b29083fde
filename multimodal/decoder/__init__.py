"""The decoder: a transformer over text tokens that cross-attends to conditioning latents.

config        its shape
layers        attention, feed-forward layer, norms, rotary positions
adapters      latents become tokens of its width, fewer where that is asked for
layout        where the tokens of a call stand, and which of them see each other
conditioning  latents, task, style and draft become one sequence of condition tokens
cache         what a causal decoder has read
noisy         noisy vectors in place of tokens
model         blocks and decoder
"""

from multimodal.decoder.cache import TextCache
from multimodal.decoder.conditioning import (
    CONDITION_TYPES,
    DRAFT,
    LATENTS,
    STYLE,
    Condition,
    ConditionInput,
    style_index,
    task_index,
)
from multimodal.decoder.config import ContinuousConfig, DecoderConfig
from multimodal.decoder.layout import TextLayout, left_to_right, prefix_and_draft, text_and_draft
from multimodal.decoder.model import CrossAttentionDecoder
from multimodal.decoder.noisy import NoisyText

__all__ = [
    "CONDITION_TYPES",
    "DRAFT",
    "LATENTS",
    "STYLE",
    "Condition",
    "ConditionInput",
    "ContinuousConfig",
    "CrossAttentionDecoder",
    "DecoderConfig",
    "NoisyText",
    "TextCache",
    "TextLayout",
    "left_to_right",
    "prefix_and_draft",
    "style_index",
    "task_index",
    "text_and_draft",
]
