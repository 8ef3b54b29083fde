"""From conditioning latents to text.

generator       decoder, tokenizer and sampler behind one call
writers         the ways to fill a canvas: by diffusion of tokens or of vectors, and left to right
continuous      diffusion of vectors: the process that a decoder was trained for
autoregressive  left to right: how texts become sequences; greedy, drawn and beam search
consensus       the choice among several texts of one sample
"""

from multimodal.generation.generator import CONFIG, TOKENIZER, WEIGHTS, Generation, Request, TextGenerator, pad_latents

__all__ = ["CONFIG", "TOKENIZER", "WEIGHTS", "Generation", "Request", "TextGenerator", "pad_latents"]
