"""Constraints: what they accept, and that every text written under them meets them."""

import numpy as np
import pytest
import torch

from multimodal.decoder import CrossAttentionDecoder, DecoderConfig
from multimodal.errors import RequestError
from multimodal.generation import Constraints, Request, TextGenerator
from multimodal.sample import Task
from multimodal.tokenizer import TextTokenizer
from multimodal.training.options import SamplerOptions
from tests.generation.test_generator import TEXTS

OPTIONS = SamplerOptions(num_steps=4)


@pytest.fixture(scope="module")
def generator() -> TextGenerator:
    """Untrained: it writes anything, and constraints must hold all the same."""
    tokenizer = TextTokenizer.train(TEXTS, 320)
    torch.manual_seed(0)
    config = DecoderConfig(
        tokenizer.vocab_size, 60, {"image": 6}, ("caption", "infill"), hidden_size=32, num_layers=2, num_heads=4
    )
    decoder = CrossAttentionDecoder(config).eval()
    with torch.no_grad():
        decoder.embedding.weight.mul_(20)  # so that logits differ
    return TextGenerator(decoder, tokenizer, {"caption": 40, "infill": 40})


def written(generator: TextGenerator, seed: int = 0, **constraints: object) -> str:
    """One caption of random latents under constraints."""
    states = np.random.default_rng(seed).normal(size=(5, generator.decoder.config.latent_sizes["image"]))
    request = Request(
        f"r{seed}", Task.CAPTION, states.astype(np.float16), constraints=Constraints.from_json(constraints)
    )
    found = generator.generate([request], OPTIONS)[0]
    assert not Constraints.from_json(constraints).violations(found.text)
    assert found.nfe >= 1
    return found.text


@pytest.mark.parametrize("seed", range(3))
def test_words_that_must_be_there_are_there(generator: TextGenerator, seed: int) -> None:
    """Whole words, one and several, known and unknown to the tokenizer."""
    word = TEXTS[0].split()[1]
    assert word in written(generator, seed, must_contain=[word])
    written(generator, seed, must_contain=[word, "zebra"])


@pytest.mark.parametrize("seed", range(3))
def test_words_that_must_not_be_there_are_not(generator: TextGenerator, seed: int) -> None:
    """The free text's own words, all of them."""
    free = written(generator, seed)
    words = sorted({word.strip(".,").lower() for word in free.split() if word.strip(".,").isalpha()})
    text = written(generator, seed, must_not_contain=words[:4])
    assert not set(words[:4]) & set(text.lower().split())


@pytest.mark.parametrize("seed", range(3))
def test_ends_stand_where_they_were_put(generator: TextGenerator, seed: int) -> None:
    """A prefix, a suffix of words, one of punctuation, both."""
    assert written(generator, seed, prefix="A red").startswith("A red")
    assert written(generator, seed, suffix="on grass").endswith(" on grass")
    assert written(generator, seed, suffix=".").endswith(".")
    text = written(generator, seed, prefix="A", suffix="on grass")
    assert text.startswith("A") and text.endswith("on grass")


@pytest.mark.parametrize("seed", range(3))
def test_lengths_are_kept(generator: TextGenerator, seed: int) -> None:
    """Bounds in words, from both sides."""
    assert len(written(generator, seed, max_words=3).split()) <= 3
    assert len(written(generator, seed, min_words=5).split()) >= 5
    assert len(written(generator, seed, min_words=4, max_words=5).split()) in (4, 5)


def test_texts_without_constraints_stay_as_they_are(generator: TextGenerator) -> None:
    """A constrained neighbour changes nothing."""
    states = (
        np.random.default_rng(0).normal(size=(5, generator.decoder.config.latent_sizes["image"])).astype(np.float16)
    )
    plain, bound = (
        Request("a", Task.CAPTION, states),
        Request("b", Task.CAPTION, states, constraints=Constraints(prefix="A")),
    )
    together = generator.generate([bound, plain], OPTIONS)
    assert together[1] == generator.generate([plain], OPTIONS)[0]
    assert together[0] == generator.generate([bound], OPTIONS)[0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("[1]", "known are must_contain"),
        ("{", "no JSON object"),
        ({"contains": ["x"]}, "unknown contains"),
        ({"must_contain": 3}, "list of words"),
        ({"max_words": "3"}, "max_words cannot be"),
        ({"min_words": 4, "max_words": 3}, "no text has"),
        ({"must_contain": ["red dog"], "must_not_contain": ["dog"]}, "must not"),
        ({"prefix": "a red", "must_not_contain": ["red"]}, "which must not be there"),
    ],
)
def test_nonsense_is_refused(values: object, message: str) -> None:
    """One clear line each."""
    with pytest.raises(RequestError, match=message):
        Constraints.from_json(values)  # type: ignore[arg-type]


def test_what_does_not_fit_is_refused(generator: TextGenerator) -> None:
    """A prefix longer than the canvas, and infilling."""
    with pytest.raises(RequestError, match="canvas"):
        written(generator, prefix="word " * 60)
    with pytest.raises(RequestError, match="infill"):
        generator.generate([Request("i", Task.INFILL, None, "a ___ b", constraints=Constraints(max_words=3))], OPTIONS)


def test_whole_words_count() -> None:
    """ "red" is not in "redder"."""
    assert Constraints(must_contain=("red",)).violations("a redder one") == ("lacks 'red'",)
    assert not Constraints(must_contain=("Red",)).violations("a red, one")
    assert Constraints(must_not_contain=("red dog",)).violations("the Red  dog")
