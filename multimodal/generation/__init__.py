"""From conditioning latents to text.

generator       decoder, tokenizer and sampler behind one call
guidance        passes without parts of the condition, and how they are composed
storage         decoder and tokenizer on disk and on the Hugging Face hub
writers         the ways to fill a canvas: by diffusion of tokens or of vectors, and left to right
continuous      diffusion of vectors: the process that a decoder was trained for
autoregressive  left to right: how texts become sequences; greedy, drawn and beam search
speculative     drafted all at once, read left to right
text            what is asked for and what is answered
lengths         gaps whose length is chosen first
length_floor    texts that do not end before the length that the first call saw
strength        how far an edit goes from its input
consensus       the choice among several texts of one sample
constraints     what a text must be like
constrained     the search for a text that is like that
calibration     what the model's probabilities are worth
"""

from multimodal.generation.constraints import Constraints
from multimodal.generation.generator import TextGenerator, pad_latents
from multimodal.generation.storage import CONFIG, FILES, TOKENIZER, WEIGHTS, require_files, write_model
from multimodal.generation.text import Generation, Request

__all__ = [
    "CONFIG",
    "FILES",
    "TOKENIZER",
    "WEIGHTS",
    "Constraints",
    "Generation",
    "Request",
    "TextGenerator",
    "pad_latents",
    "require_files",
    "write_model",
]
