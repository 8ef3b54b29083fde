"""Guidance by all of the condition, and by each of its types."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from multimodal.decoder import CONDITION_TYPES, ConditionInput, CrossAttentionDecoder, DecoderConfig
from multimodal.generation import Request, TextGenerator
from multimodal.generation.guidance import guide
from multimodal.sample import Task
from multimodal.tokenizer import TextTokenizer
from multimodal.training.options import SamplerOptions

TEXTS = ["a small red circle on grass", "turn on the light"]


@pytest.fixture(scope="module")
def generator() -> TextGenerator:
    """Random weights of a decoder that reads latents, drafts and styles."""
    tokenizer = TextTokenizer.train(TEXTS, 300)
    config = DecoderConfig(
        tokenizer.vocab_size, 24, {"image": 6, "text": 5}, ("caption", "restyle"), ("formal", "plain"),
        hidden_size=32, num_layers=2, num_heads=4, drafts=("restyle",), draft_layers=1,
    )  # fmt: skip
    torch.manual_seed(1)
    decoder = CrossAttentionDecoder(config).eval()
    with torch.no_grad():
        decoder.embedding.weight.mul_(20)
    return TextGenerator(decoder, tokenizer, {"caption": 10, "restyle": 10})


@pytest.fixture(scope="module")
def condition(generator: TextGenerator) -> ConditionInput:
    return generator._condition(Task.RESTYLE, restyles(3))


def restyles(count: int) -> list[Request]:
    rng = np.random.default_rng(0)
    states = [rng.normal(size=(3 + index % 3, 5)).astype(np.float32) for index in range(count)]
    return [Request(f"r{i}", Task.RESTYLE, state, TEXTS[i % 2], "formal") for i, state in enumerate(states)]


def log_probs(generator: TextGenerator, condition: ConditionInput, *names: str) -> torch.Tensor:
    """One plain pass, with the named types dropped."""
    dropped = torch.tensor([[name in names for name in CONDITION_TYPES]] * 3)
    with torch.no_grad():
        rest = generator.decoder.condition(replace(condition, dropped=dropped))
        logits: torch.Tensor = generator.decoder(canvas(), rest)
    return logits.log_softmax(-1)


def canvas() -> torch.Tensor:
    return torch.randint(2, 40, (3, 10), generator=torch.Generator().manual_seed(2))


def guided(
    generator: TextGenerator, condition: ConditionInput, options: SamplerOptions, rows: Sequence[int] = (0, 1, 2)
) -> torch.Tensor:
    with torch.no_grad():
        passes = guide(generator.decoder, condition, options)
        return passes.logits(generator.decoder, canvas()[list(rows)], torch.tensor(rows))


def test_types_compose(generator: TextGenerator, condition: ConditionInput) -> None:
    """Each type adds its own gap between the pass with it and the one without; all passes are one batch."""
    options = SamplerOptions(guidance={"latents": 1.5, "draft": 0.5, "style": 3.0})
    full = log_probs(generator, condition)
    expected = full + sum(
        (scale - 1) * (full - log_probs(generator, condition, name)) for name, scale in options.guidance.items()
    )
    torch.testing.assert_close(guided(generator, condition, options), expected, atol=1e-4, rtol=1e-4)
    assert len(guide(generator.decoder, condition, options).condition.bias) == 4 * 3


def test_the_scale_of_everything_is_classifier_free_guidance(
    generator: TextGenerator, condition: ConditionInput
) -> None:
    """log p_null + w (log p - log p_null)."""
    null, full = log_probs(generator, condition, *CONDITION_TYPES), log_probs(generator, condition)
    got = guided(generator, condition, SamplerOptions(guidance_scale=2.5))
    torch.testing.assert_close(got, null + 2.5 * (full - null), atol=1e-4, rtol=1e-4)


def test_some_rows_are_as_among_all(generator: TextGenerator, condition: ConditionInput) -> None:
    """Rows that are still written are found in every pass."""
    options = SamplerOptions(guidance={"style": 2.0, "latents": 0.0})
    whole = guided(generator, condition, options)
    torch.testing.assert_close(guided(generator, condition, options, [2, 0]), whole[[2, 0]], atol=1e-4, rtol=1e-4)


def test_a_scale_of_one_and_absent_types_cost_no_pass(generator: TextGenerator, condition: ConditionInput) -> None:
    """A caption has no draft and no style: to guide by them is to write as without."""
    caption = generator._condition(Task.CAPTION, [Request("c", Task.CAPTION, np.ones((2, 6), np.float32))])
    assert guide(generator.decoder, caption, SamplerOptions(guidance={"draft": 2.0, "style": 3.0})).weights == (1,)
    assert guide(generator.decoder, condition, SamplerOptions(guidance={"latents": 1.0})).weights == (1,)


def test_a_guided_text_does_not_depend_on_its_batch(generator: TextGenerator) -> None:
    """Drawn or not, alone or beside requests that lack what is guided by."""
    bare = Request("bare", Task.RESTYLE, np.ones((4, 5), np.float32))
    requests = [*restyles(4), replace(bare, style="plain"), bare]
    options = SamplerOptions(num_steps=3, temperature=0.7, seed=3, guidance={"style": 2.0, "draft": 1.5})
    together = [written.text for written in generator.generate(requests, options)]
    assert [generator.generate([request], options)[0].text for request in requests] == together
    plain = generator.generate(requests, options.model_copy(update={"guidance": {}}))
    assert [written.text for written in plain] != together


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"guidance": {"style": 2.0}, "guidance_scale": 1.5}, "set one of them"),
        ({"guidance": {"colour": 2.0}}, "style"),
    ],
)
def test_contradictions_are_refused(values: dict[str, object], problem: str) -> None:
    """Two kinds of guidance at once, and types that there are not."""
    with pytest.raises(ValidationError, match=problem):
        SamplerOptions.model_validate(values)
