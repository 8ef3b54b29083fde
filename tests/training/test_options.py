"""What can be said about the decoder and its training."""

import pytest
import torch
from pydantic import ValidationError

from multimodal.decoder import CrossAttentionDecoder, DecoderConfig
from multimodal.training.options import DecoderOptions, TrainOptions

MILLIONS = {"tiny": (1.5, 2.5), "small": (8, 12), "base": (50, 70), "large": (270, 330)}


@pytest.mark.parametrize("size", MILLIONS)
def test_sizes_are_what_they_are_called(size: str) -> None:
    """Parameters with a vocabulary of a thousand and three modalities, counted without memory for them."""
    options = DecoderOptions.model_validate({"size": size})
    config = DecoderConfig(
        vocab_size=1024, max_tokens=60, latent_sizes={"image": 128, "audio": 128, "text": 128},
        tasks=("caption", "transcribe", "denoise", "infill", "restyle"), **options.model_dump(exclude={"size"}),
    )  # fmt: skip
    with torch.device("meta"):
        millions = CrossAttentionDecoder(config).num_parameters / 1e6
    least, most = MILLIONS[size]
    assert least < millions < most


def test_explicit_values_win_over_a_size() -> None:
    """What a size says otherwise stands; without one the defaults are as they were."""
    options = DecoderOptions.model_validate({"size": "base", "num_layers": 3})
    assert (options.hidden_size, options.num_layers, options.num_heads) == (512, 3, 8)
    assert DecoderOptions.model_validate(options.model_dump()) == options
    assert DecoderOptions().hidden_size == 192


@pytest.mark.parametrize(
    ("kind", "values", "problem"),
    [
        (DecoderOptions, {"size": "huge"}, "'tiny', 'small', 'base' or 'large'"),
        (DecoderOptions, {"downsample": {"image": 2}}, "resample.image"),
        (DecoderOptions, {"resample": {"image": 0}}, "greater than or equal to 1"),
        (TrainOptions, {"init_from": "a", "init_backbone": "b"}, "leave out init_backbone"),
        (TrainOptions, {"rehearse": {"share": 0.2}}, "rehearse needs init_from"),
        (TrainOptions, {"freeze": ["heads"]}, "'backbone', 'embeddings', 'adapters' or 'condition'"),
        (TrainOptions, {"lora": {"targets": []}}, "at least 1 item"),
    ],
)
def test_contradictions_are_refused(kind: type, values: dict[str, object], problem: str) -> None:
    """In words, before any work."""
    with pytest.raises(ValidationError, match=problem):
        kind.model_validate(values)
