"""Texts written by continuous diffusion, with random weights: how they are written is what these tests look at."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from multimodal.decoder import ContinuousConfig, CrossAttentionDecoder, DecoderConfig
from multimodal.generation import CONFIG, TOKENIZER, WEIGHTS, Request, TextGenerator
from multimodal.sample import Task
from multimodal.tokenizer import MASK, TextTokenizer
from multimodal.training.options import SamplerOptions

KINDS = {
    "gaussian": ContinuousConfig("gaussian", embedding_size=16),
    "exploding": ContinuousConfig("gaussian", embedding_size=16, sde="ve"),
    "regressed": ContinuousConfig("gaussian", embedding_size=16, objective="mse"),
    "simplex": ContinuousConfig("simplex", block_size=5),
}


@pytest.fixture(scope="module", params=KINDS)
def generator(request: pytest.FixtureRequest) -> TextGenerator:
    tokenizer = TextTokenizer.train(["a small red circle on grass", "turn on the light"], 320)
    torch.manual_seed(0)
    config = DecoderConfig(
        tokenizer.vocab_size, 40, {"image": 6}, ("caption", "infill"), hidden_size=32, num_layers=2, num_heads=4,
        continuous=KINDS[request.param],
    )  # fmt: skip
    decoder = CrossAttentionDecoder(config).eval()
    with torch.no_grad():
        decoder.embedding.weight.mul_(20)
    return TextGenerator(decoder, tokenizer, {"caption": 12, "infill": 12})


def captions(count: int) -> list[Request]:
    rng = np.random.default_rng(0)
    return [Request(f"r{i}", Task.CAPTION, rng.normal(size=(3 + i % 4, 6)).astype(np.float32)) for i in range(count)]


def fillings(count: int) -> list[Request]:
    return [Request(f"t{i}", Task.INFILL, text=f"a small {'red ' * i}___ on ___") for i in range(count)]


@pytest.mark.parametrize(
    "options",
    [{}, {"temperature": 1.0}, {"predictor": "ancestral", "corrector": "mala"}, {"guidance_scale": 2.0}],
    ids=str,
)
def test_a_text_does_not_depend_on_its_batch(generator: TextGenerator, options: dict[str, str | float]) -> None:
    """Alone, together and in another order; texts with gaps too."""
    requests = captions(4) + fillings(4)
    sampler = SamplerOptions.model_validate({"num_steps": 4, **options})
    together = [written.text for written in generator.generate(requests, sampler)]
    assert [generator.generate([request], sampler)[0].text for request in requests] == together
    assert [written.text for written in generator.generate(requests[::-1], sampler)][::-1] == together
    assert len(set(together)) > 1


def test_the_seed_matters(generator: TextGenerator) -> None:
    """Also at temperature 0: writing starts from noise."""

    def texts(seed: int) -> list[str]:
        return [written.text for written in generator.generate(captions(6), SamplerOptions(num_steps=3, seed=seed))]

    assert texts(1) == texts(1) != texts(2)


def test_given_words_stand(generator: TextGenerator) -> None:
    """Outside of the gaps nothing changes, and no mask is left."""
    for written in generator.generate(fillings(3), SamplerOptions(num_steps=3)):
        assert written.text.startswith("a small") and " on" in written.text
        assert MASK not in written.tokens and len(written.filled) == 2


def test_calls_and_trajectory(generator: TextGenerator) -> None:
    """From masks to the text, one canvas per call and no more calls than steps, where these suffice for the blocks."""
    for written in generator.generate(captions(3), SamplerOptions(num_steps=6), trajectory=True):
        assert 1 <= written.nfe <= 6
        assert set(written.trajectory[0]) == {MASK} and MASK not in written.trajectory[-1]
        assert all(0 <= confidence <= 1 for confidence in (*written.confidences, written.score))


def test_loads_what_a_checkpoint_stores(generator: TextGenerator, tmp_path: Path) -> None:
    """Process and embeddings are part of it: the loaded model writes the same."""
    safetensors.torch.save_file(generator.decoder.state_dict(), tmp_path / WEIGHTS)
    config = {"decoder": generator.decoder.config.to_dict(), "canvas": generator.canvas}
    (tmp_path / CONFIG).write_text(json.dumps(config))
    (tmp_path / TOKENIZER).write_text(generator.tokenizer.to_json())
    options = SamplerOptions(num_steps=3)
    assert TextGenerator.load(tmp_path).generate(captions(2), options) == generator.generate(captions(2), options)
