"""From conditioning latents to text.

generator       decoder, tokenizer and sampler behind one call
writers         the two ways to fill a canvas: by diffusion, and left to right
autoregressive  the second way: how texts become sequences; greedy, drawn and beam search
consensus       the choice among several texts of one sample
"""

from multimodal.generation.generator import CONFIG, TOKENIZER, WEIGHTS, Generation, Request, TextGenerator, pad_latents

__all__ = ["CONFIG", "TOKENIZER", "WEIGHTS", "Generation", "Request", "TextGenerator", "pad_latents"]
