"""Continuous diffusion and the decoder: which process a decoder was built for, and how its texts are written."""

from __future__ import annotations

from multimodal.decoder import CrossAttentionDecoder
from multimodal.decoder.noisy import EmbeddingReader
from multimodal.diffusion.continuous.correctors import CORRECTORS
from multimodal.diffusion.continuous.embeddings import TEXT_SDES, CategoricalEmbeddings, RegressedEmbeddings
from multimodal.diffusion.continuous.predictors import PREDICTORS
from multimodal.diffusion.continuous.simplex import SimplexDiffusion
from multimodal.diffusion.continuous.text import TextDiffusion, TextSampling
from multimodal.tokenizer import TextTokenizer
from multimodal.training.options import SamplerOptions


def build_text_diffusion(decoder: CrossAttentionDecoder, tokenizer: TextTokenizer) -> TextDiffusion:
    """The continuous process that a decoder is, or was, trained for; it sees embeddings as they are when it is used."""
    config, reader = decoder.config.continuous, decoder.reader
    assert config is not None, "the decoder reads tokens"
    if not isinstance(reader, EmbeddingReader):
        return SimplexDiffusion(
            tokenizer.mask_token_id,
            tokenizer.pad_token_id,
            decoder.config.vocab_size,
            config.block_size,
            config.simplex_scale,
        )
    kind = RegressedEmbeddings if config.objective == "mse" else CategoricalEmbeddings
    return kind(tokenizer.mask_token_id, lambda: reader.table.weight, TEXT_SDES[config.sde])


def text_sampling(options: SamplerOptions, trajectory: bool) -> TextSampling:
    """The part of the sampler's options that continuous diffusion takes."""
    corrector = CORRECTORS[options.corrector](options.snr) if options.corrector != "none" else None
    return TextSampling(
        options.num_steps,
        options.temperature,
        PREDICTORS[options.predictor](),
        corrector,
        options.corrector_steps,
        options.estimate == "nearest",
        trajectory,
    )
