"""From latents to text."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from multimodal.decoder import CrossAttentionDecoder, DecoderConfig
from multimodal.diffusion import SAMPLERS_OF
from multimodal.diffusion.processes import HybridProcess
from multimodal.diffusion.samplers import PosteriorSampler, RevisionSampler
from multimodal.errors import CheckpointError, ConfigError, RequestError
from multimodal.generation import Generation, Request, TextGenerator
from multimodal.generation.consensus import most_agreeable
from multimodal.generation.guidance import GuidedCondition
from multimodal.generation.writers import DiffusionWriter
from multimodal.sample import Task
from multimodal.tasks import GAP_SLOTS
from multimodal.tokenizer import MASK, TextTokenizer
from multimodal.training.options import SamplerOptions

TEXTS = ["a small red circle on grass", "turn on the light", "please do not stop here"]


@pytest.fixture(scope="module")
def generator() -> TextGenerator:
    """Random weights: what is written is nonsense, how it is written is what these tests look at."""
    tokenizer = TextTokenizer.train(TEXTS, 320)
    torch.manual_seed(1)
    config = DecoderConfig(
        tokenizer.vocab_size, 40, {"image": 6, "text": 5}, ("caption", "infill", "restyle"), ("formal",),
        hidden_size=32, num_layers=2, num_heads=4,
    )  # fmt: skip
    decoder = CrossAttentionDecoder(config).eval()
    with torch.no_grad():
        decoder.embedding.weight.mul_(20)  # so that logits differ enough for confidences to vary
    return TextGenerator(decoder, tokenizer, {"caption": 12, "infill": 12, "restyle": 14})


def captions(count: int) -> list[Request]:
    rng = np.random.default_rng(0)
    return [Request(f"r{i}", Task.CAPTION, rng.normal(size=(3 + i % 4, 6)).astype(np.float32)) for i in range(count)]


def test_a_text_does_not_depend_on_its_batch(generator: TextGenerator) -> None:
    """Drawn at temperature 1, a text is the same alone, in a batch and in another order."""
    options = SamplerOptions(num_steps=4, temperature=1.0, seed=7)
    requests = captions(6)
    together = generator.generate(requests, options)
    assert [generator.generate([request], options)[0].text for request in requests] == [g.text for g in together]
    backwards = generator.generate(requests[::-1], options)
    assert [g.text for g in backwards[::-1]] == [g.text for g in together]


def test_a_filling_does_not_depend_on_its_batch(generator: TextGenerator) -> None:
    """Texts of different lengths are not padded to each other's."""
    requests = [Request(f"t{i}", Task.INFILL, text=f"a small {'red ' * 4 * i}___ on grass") for i in range(5)]
    together = generator.generate(requests, SamplerOptions())
    assert [generator.generate([request], SamplerOptions())[0].text for request in requests] == [
        generation.text for generation in together
    ]


def undoes(generator: TextGenerator, process: str) -> TextGenerator:
    """The same weights as if they had been trained by another process."""
    decoder = CrossAttentionDecoder(replace(generator.decoder.config, process=process)).eval()
    decoder.load_state_dict(generator.decoder.state_dict())
    return TextGenerator(decoder, generator.tokenizer, generator.canvas)


PAIRS = [(process, kind) for process, kinds in SAMPLERS_OF.items() for kind in ("auto", *kinds)]


@pytest.mark.parametrize(("process", "kind"), PAIRS)
def test_every_sampler_can_be_asked_for(generator: TextGenerator, process: str, kind: str) -> None:
    """By its name; the trajectory ends at the text, within the given calls."""
    options = SamplerOptions.model_validate({"kind": kind, "num_steps": 3})
    for generation in undoes(generator, process).generate(captions(3), options, trajectory=True):
        assert 1 <= generation.nfe <= 3 and MASK not in generation.trajectory[-1]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("process", ["uniform", "hybrid"])
def test_no_process_looks_at_the_batch(generator: TextGenerator, process: str, temperature: float) -> None:
    """Captions and fillings are the same alone, in a batch and in another order; given words stand."""
    writer, options = undoes(generator, process), SamplerOptions(num_steps=4, temperature=temperature, seed=5)
    gaps = [Request(f"t{i}", Task.INFILL, text=f"a small {'red ' * 3 * i}___ on grass") for i in range(3)]
    requests = [*captions(4), *gaps]
    together = [generation.text for generation in writer.generate(requests, options)]
    assert [writer.generate([request], options)[0].text for request in requests] == together
    assert [generation.text for generation in writer.generate(requests[::-1], options)][::-1] == together
    assert all(text.startswith("a small") and text.endswith("on grass") for text in together[4:])


@pytest.mark.parametrize(("process", "kind"), PAIRS)
def test_no_sampler_looks_where_nothing_is_computed(
    generator: TextGenerator, process: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts and confidences are those of a decoder that is asked for all positions in every call."""
    requests = [*captions(3), Request("t", Task.INFILL, text="a small ___ circle on ___")]
    options = SamplerOptions.model_validate({"kind": kind, "num_steps": 4, "temperature": 0.7, "seed": 2})
    writer = undoes(generator, process)
    sparing = writer.generate(requests, options)

    def everywhere(
        self: DiffusionWriter,
        guided: GuidedCondition,
        tokens: torch.Tensor,
        rows: torch.Tensor,
        looked_at: torch.Tensor,
    ) -> torch.Tensor:
        return guided.logits(self.decoder, tokens, rows)

    monkeypatch.setattr(DiffusionWriter, "_logits", everywhere)
    for one, other in zip(sparing, writer.generate(requests, options), strict=True):
        assert one.text == other.text and one.nfe == other.nfe
        assert one.confidences == pytest.approx(other.confidences, abs=1e-5)


def test_a_sampler_of_another_process_is_refused(generator: TextGenerator) -> None:
    """Before anything is written, with the names that would do; it is no fault of a request, which evaluation skips."""
    with pytest.raises(ConfigError, match=r"sampler.kind: .*'safe' .* 'uniform'; auto, renoising, posterior do"):
        undoes(generator, "uniform").generate(captions(1), SamplerOptions(kind="safe"))
    with pytest.raises(ConfigError, match="'revision' does not go with the process 'absorbing'"):
        generator.generate(captions(1), SamplerOptions(kind="revision"))


def test_the_options_of_a_sampler_reach_it(generator: TextGenerator) -> None:
    """A bound that all entropies meet needs few calls (equal neighbours wait), one of zero a call per position."""
    (at_once,) = generator.generate(captions(1), SamplerOptions(kind="entropy", entropy_bound=1e6, num_steps=12))
    (in_turn,) = generator.generate(captions(1), SamplerOptions(kind="entropy", entropy_bound=0, num_steps=12))
    assert at_once.nfe <= 7 and in_turn.nfe == 12


def test_what_a_process_was_trained_with_reaches_its_sampler(generator: TextGenerator) -> None:
    """The decoder's own share of replaced tokens, not the default one; revision has its threshold."""
    config = replace(generator.decoder.config, process="hybrid", process_options={"replaced": 0.25})
    writer = TextGenerator(CrossAttentionDecoder(config), generator.tokenizer, generator.canvas).writer
    assert isinstance(writer, DiffusionWriter)
    sampler = writer.sampler(SamplerOptions(kind="posterior"))
    assert isinstance(sampler, PosteriorSampler) and isinstance(sampler.process, HybridProcess)
    assert sampler.process.scale == pytest.approx(2 * 0.25 / 0.75)
    revision = writer.sampler(SamplerOptions(edit_threshold=0.7))
    assert isinstance(revision, RevisionSampler) and revision.edit_threshold == 0.7


def test_of_several_candidates_one_is_kept(generator: TextGenerator) -> None:
    """The one most like the others; the calls of all count, and the first is what would be drawn alone."""
    requests, draw = captions(3), SamplerOptions(num_steps=2, temperature=2.0)
    single = generator.generate(requests, draw)
    several = generator.generate(requests, draw.model_copy(update={"candidates": 5}))
    assert [generation.request_id for generation in several] == ["r0", "r1", "r2"]
    assert all(more.nfe >= 5 for more in several)
    ids = [f"{request.request_id}/{number}" for request in requests for number in range(1, 5)]
    drawn = [
        generator.generate([replace(requests[i // 4], request_id=name)], draw)[0].text for i, name in enumerate(ids)
    ]
    for index, chosen in enumerate(several):
        texts = [single[index].text, *drawn[4 * index : 4 * index + 4]]
        assert chosen.text == texts[most_agreeable(texts)]


def test_equal_candidates_are_refused() -> None:
    """Several texts at temperature 0 would be one text several times."""
    with pytest.raises(ValueError, match="set a temperature"):
        SamplerOptions(candidates=3)


def test_seed_and_temperature_matter(generator: TextGenerator) -> None:
    """Another seed draws another text; at temperature 0 the seed does nothing."""
    requests = captions(4)

    def texts(**options: float) -> list[str]:
        return [g.text for g in generator.generate(requests, SamplerOptions.model_validate(options))]

    assert texts(temperature=1.0, seed=1) != texts(temperature=1.0, seed=2)
    assert texts(seed=1) == texts(seed=2)


def test_guidance_of_one_is_off_and_two_is_not(generator: TextGenerator) -> None:
    """Scale 1 gives the conditional model's own confidences."""
    requests = captions(3)
    plain = generator.generate(requests, SamplerOptions())
    same = generator.generate(requests, SamplerOptions(guidance_scale=1.0))
    strong = generator.generate(requests, SamplerOptions(guidance_scale=3.0))
    assert [g.confidences for g in plain] == [g.confidences for g in same] != [g.confidences for g in strong]


def test_tokens_confidences_and_trajectory_belong_together(generator: TextGenerator) -> None:
    """One confidence per token; tokens spell the text; the trajectory leads from masks to no masks in NFE steps."""
    for generation in generator.generate(captions(3), SamplerOptions(num_steps=5), trajectory=True):
        assert len(generation.tokens) == len(generation.confidences)
        assert all(0 <= confidence <= 1 for confidence in (*generation.confidences, generation.score))
        assert set(generation.trajectory[0]) == {MASK}
        assert MASK not in generation.trajectory[-1]
        assert 1 <= generation.nfe <= 5


def test_infill_keeps_the_given_words(generator: TextGenerator) -> None:
    """Words outside of the gaps stand, with confidence 1; each gap's text is given."""
    (generation,) = generator.generate([Request("a", Task.INFILL, text="a small ___ on ___")], SamplerOptions())
    assert isinstance(generation, Generation) and len(generation.filled) == 2
    expected = " ".join(part for part in ("a small", generation.filled[0], "on", generation.filled[1]) if part)
    assert generation.text.split() == expected.split()


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (Request("a", Task.DENOISE), "not trained for 'denoise'"),
        (Request("a", Task.RESTYLE, np.zeros((2, 5)), style="slang"), "unknown style 'slang'; the model knows formal"),
        (Request("a", Task.CAPTION, np.zeros((2, 9))), "width 6, got 9"),
        (Request("a", Task.INFILL, text="no gap"), "at least one gap"),
        (Request("a", Task.INFILL, text="___ " * (40 // GAP_SLOTS + 1)), "has room for 40"),
    ],
)
def test_bad_requests_say_what_is_wrong(generator: TextGenerator, request_: Request, problem: str) -> None:
    """Each with the value and what would do."""
    with pytest.raises(RequestError, match=problem):
        generator.generate([request_], SamplerOptions())


def test_loads_what_a_checkpoint_stores(generator: TextGenerator, tmp_path: Path) -> None:
    """The loaded model writes the same; an incomplete folder says what it lacks."""
    with pytest.raises(CheckpointError, match=r"lacks decoder.safetensors, config.json"):
        TextGenerator.load(tmp_path)
    safetensors.torch.save_file(generator.decoder.state_dict(), tmp_path / "decoder.safetensors")
    config = {"decoder": generator.decoder.config.to_dict(), "canvas": generator.canvas}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer.json").write_text(generator.tokenizer.to_json())
    loaded = TextGenerator.load(tmp_path)
    assert loaded.generate(captions(2), SamplerOptions()) == generator.generate(captions(2), SamplerOptions())
