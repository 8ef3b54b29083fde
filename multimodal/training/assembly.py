"""Tokenizer and decoder of a training: fresh ones, or those of the model that it starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from multimodal.decoder import CrossAttentionDecoder, DecoderConfig
from multimodal.encoders.masked_lm import load_masked_language_model
from multimodal.generation import TextGenerator
from multimodal.sample import Sample, Task
from multimodal.tokenizer import TextTokenizer
from multimodal.training.finetuning.backbone import backbone_config, load_backbone
from multimodal.training.finetuning.start import grown_decoder, keep_tokenizer
from multimodal.training.options import TokenizerOptions, TrainOptions


def build_tokenizer(
    options: TokenizerOptions,
    train: TrainOptions,
    samples: Mapping[Task, Sequence[Sample]],
    start: TextGenerator | None,
) -> TextTokenizer:
    """One learnt from the samples' texts, or the starting model's.

    Raises:
        ConfigError: see `keep_tokenizer`.
    """

    def learn() -> TextTokenizer:
        texts = (text for rows in samples.values() for sample in rows for text in _texts(sample) if text)
        return TextTokenizer.train(texts, options.vocab_size)

    if start is None:
        return learn()
    return keep_tokenizer(start, str(train.init_from), train.keep_tokenizer, learn)


def _texts(sample: Sample) -> tuple[str, str, str]:
    return sample.text, sample.input, sample.hint


def build_decoder(
    options: TrainOptions,
    config: DecoderConfig,
    tokenizer: TextTokenizer,
    start: TextGenerator | None,
    kind: type[CrossAttentionDecoder] = CrossAttentionDecoder,
) -> CrossAttentionDecoder:
    """A fresh decoder of that kind and shape, or one with the weights that the options name.

    Raises:
        ConfigError: the starting model does not fit, see `grown_decoder`.
        EncoderError: the backbone cannot be had.
    """
    if start is not None:
        return grown_decoder(config, start, options)
    if options.init_backbone is None:
        return kind(config)
    model = load_masked_language_model(options.init_backbone)
    decoder = CrossAttentionDecoder(backbone_config(config, model))
    load_backbone(decoder, model, tokenizer)
    return decoder
