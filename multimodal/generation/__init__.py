"""From conditioning latents to text.

generator       decoder, tokenizer and sampler behind one call
guidance        passes without parts of the condition, and how they are composed
storage         decoder and tokenizer on disk and on the Hugging Face hub
writers         the two ways to fill a canvas: by diffusion, and left to right
autoregressive  the second way: how texts become sequences; greedy, drawn and beam search
consensus       the choice among several texts of one sample
"""

from multimodal.generation.generator import Generation, Request, TextGenerator, pad_latents
from multimodal.generation.storage import CONFIG, FILES, TOKENIZER, WEIGHTS, require_files, write_model

__all__ = [
    "CONFIG",
    "FILES",
    "TOKENIZER",
    "WEIGHTS",
    "Generation",
    "Request",
    "TextGenerator",
    "pad_latents",
    "require_files",
    "write_model",
]
