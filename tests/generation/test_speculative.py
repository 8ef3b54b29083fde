"""Texts that are drafted at once and read left to right: the same as one token a call, in fewer calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from multimodal.decoder import (
    CrossAttentionDecoder,
    DecoderConfig,
    TextCache,
    left_to_right,
    prefix_and_draft,
    text_and_draft,
)
from multimodal.diffusion.samplers.base import gumbel
from multimodal.errors import ConfigError, RequestError
from multimodal.generation import Constraints, Request, TextGenerator
from multimodal.generation.autoregressive import AutoregressiveSampler
from multimodal.generation.guidance import guide
from multimodal.generation.speculative import SpeculativeSampler, shifted, until_end
from multimodal.sample import Task
from multimodal.tokenizer import TextTokenizer
from multimodal.training.options import SamplerOptions
from tests.decoder.test_decoder import CONFIG, condition_input

MASK, PAD = 1, 0
LENGTH = 10
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def decoder() -> CrossAttentionDecoder:
    torch.manual_seed(0)
    return CrossAttentionDecoder(replace(CONFIG, process="speculative")).eval()


def test_the_start_and_what_has_ended() -> None:
    """Every token moves one place to the right; a text ends with its first end."""
    assert shifted(torch.tensor([[5, 6]]), MASK).tolist() == [[MASK, 5, 6]]
    ended = until_end(torch.tensor([[5, PAD, 6, PAD], [PAD, 5, 6, 7], [5, 6, 7, 8]]), PAD)
    assert ended.tolist() == [[True, True, False, False], [True, False, False, False], [True] * 4]


@torch.no_grad()
def test_both_roles_in_one_pass_are_what_each_is_alone(decoder: CrossAttentionDecoder) -> None:
    """A text says the same with the slots of its draft behind it; the slots see their prefix and nothing after it."""
    text = torch.randint(2, 40, (3, LENGTH), generator=torch.Generator().manual_seed(1))
    condition = decoder.condition(condition_input())
    before, masks, prefix = shifted(text[:, :-1], MASK), torch.full((3, LENGTH), MASK), torch.tensor([0, 4, LENGTH - 2])
    both = decoder(torch.cat([before, masks[:, 1:]], 1), condition, layout=text_and_draft(LENGTH, prefix))
    read = decoder(before, condition, layout=left_to_right(LENGTH, CPU))
    torch.testing.assert_close(both[:, :LENGTH], read)
    seen = torch.where(torch.arange(LENGTH) > prefix[:, None], MASK, before)
    draft = decoder(seen, condition, layout=prefix_and_draft(LENGTH, prefix))
    for row, settled in enumerate(prefix.tolist()):
        torch.testing.assert_close(both[row, LENGTH + settled :], draft[row, settled + 1 :])
        torch.testing.assert_close(read[row, : settled + 1], draft[row, : settled + 1])  # these tokens are settled


@torch.no_grad()
def test_reading_to_the_right_of_a_place_changes_nothing_there(decoder: CrossAttentionDecoder) -> None:
    """Read left to right, a prefix says what it says in the whole text; read both ways it does not."""
    text = torch.randint(2, 40, (3, LENGTH), generator=torch.Generator().manual_seed(1))
    condition = decoder.condition(condition_input())
    whole = decoder(text, condition, layout=left_to_right(LENGTH, CPU))
    torch.testing.assert_close(whole[:, :6], decoder(text[:, :6], condition, layout=left_to_right(6, CPU)))
    assert (decoder(text, condition)[:, :6] - whole[:, :6]).abs().max() > 1e-3


def tokenwise(
    decoder: CrossAttentionDecoder, batch: int, temperature: float = 0.0
) -> tuple[list[list[int]], list[list[float]]]:
    """Texts and confidences of the decoder read left to right with a cache, one token a call, each padded."""
    condition = decoder.condition(condition_input(batch))
    noise = gumbel((LENGTH, 40), [torch.Generator().manual_seed(row) for row in range(batch)])

    def next_token(tokens: Tensor, rows: Tensor, past: TextCache) -> Tensor:
        place = past.length
        logits: Tensor = decoder(tokens, condition.rows(rows), past=past)[:, -1].float()
        return logits.double() / temperature + noise[rows, place] if temperature else logits

    cache = TextCache.empty(decoder.config, batch, LENGTH, condition.keys[0])
    sampler = AutoregressiveSampler(MASK, PAD, LENGTH)
    written = sampler.sample(next_token, torch.full((batch, 1), MASK), [1] * batch, cache)
    rest = [LENGTH - len(text.tokens) for text in written]
    return (
        [text.tokens + [PAD] * more for text, more in zip(written, rest, strict=True)],
        [text.confidence + [1.0] * more for text, more in zip(written, rest, strict=True)],
    )


@pytest.mark.parametrize("batch", [1, 2, 7, 16])
@torch.no_grad()
def test_the_text_is_the_greedy_one(decoder: CrossAttentionDecoder, batch: int) -> None:
    """At strict acceptance: the tokens and probabilities of one token a call, in at most as many calls and one."""
    output = sample(decoder, SpeculativeSampler(MASK, PAD, LENGTH + 1), batch)
    tokens, confidence = tokenwise(decoder, batch)
    assert output.tokens.tolist() == tokens
    torch.testing.assert_close(output.confidence, torch.tensor(confidence))
    assert bool((output.nfe <= LENGTH + 1).all()) and len(set(map(tuple, tokens))) > batch / 2


@torch.no_grad()
def test_what_is_drawn_is_what_one_token_a_call_would_draw(decoder: CrossAttentionDecoder) -> None:
    """The noise of a place is the same in every call, so that drawing is exact too."""
    output = sample(decoder, SpeculativeSampler(MASK, PAD, LENGTH + 1, temperature=0.8), 8)
    assert output.tokens.tolist() == tokenwise(decoder, 8, temperature=0.8)[0]


def sample(decoder: CrossAttentionDecoder, sampler: SpeculativeSampler, batch: int):  # type: ignore[no-untyped-def]
    condition = decoder.condition(condition_input(batch))
    masks = torch.full((batch, LENGTH), MASK)
    return sampler.sample(
        lambda rows: decoder(masks, condition, layout=prefix_and_draft(LENGTH, torch.zeros_like(rows))),
        lambda tokens, rows: decoder(tokens, condition.rows(rows), layout=left_to_right(tokens.shape[1], CPU)),
        masks,
        [torch.Generator().manual_seed(row) for row in range(batch)],
    )


def said(tokens: list[int], sureness: float = 0.9) -> Tensor:
    """Logits [1, length, 12] of a text, each token of a probability, the others alike."""
    probs = torch.full((1, len(tokens), 12), (1 - sureness) / 10)
    probs[0, torch.arange(len(tokens)), torch.tensor(tokens)] = sureness
    probs[..., MASK] = 0
    return probs.log()


def after(following: dict[int, int], default: list[int]) -> Callable[[Tensor, Tensor], Tensor]:
    """Reads one token back: what follows it, else what stands at that place."""

    def read(tokens: Tensor, rows: Tensor) -> Tensor:
        pairs = zip(tokens[0].tolist(), default, strict=False)
        return said([following.get(token, place) for token, place in pairs])

    return read


TEXT = [5, 6, 7, 8, 9, PAD, PAD, PAD]
EMPTY = torch.full((1, 8), MASK)


@pytest.mark.parametrize(
    ("draft", "following", "calls"),
    [
        (TEXT, {}, 2),  # the draft, and a look that agrees
        ([5, 6, 3, 8, 9, PAD, PAD, PAD], {}, 3),  # one wrong token: put right, the rest looked at again
        ([5, 2, 3, 2, 9, PAD, PAD, PAD], {}, 5),  # three of them
        ([5, 2, 7, 8, 9, PAD, PAD, PAD], {2: 3, 3: 4, 4: 2}, 3),  # what a wrong token is followed by is not believed
        ([PAD, 6, 7, 8, 9, PAD, PAD, PAD], {MASK: PAD}, 1),  # the first place is settled by the draft
        ([5, 6, 7, PAD, PAD, PAD, PAD, PAD], {}, 3),  # an end that comes too early
    ],
)
def test_calls_are_counted(draft: list[int], following: dict[int, int], calls: int) -> None:
    """Each call settles what the draft and the call agree on, and one token more."""
    output = SpeculativeSampler(MASK, PAD, 20).sample(lambda rows: said(draft), after(following, TEXT), EMPTY)
    assert output.nfe.tolist() == [calls]
    assert output.tokens.tolist() == [TEXT if calls > 1 else [PAD] * 8]


def test_a_draft_that_is_given_costs_no_call() -> None:
    """One look is enough where it is right; rows without one are drafted, and only they."""
    given = torch.tensor([TEXT, [MASK] * 8, [5, 6, 3, *TEXT[3:]]])
    asked: list[list[int]] = []

    def draft(rows: Tensor) -> Tensor:
        asked.append(rows.tolist())
        return said(TEXT)

    def read(tokens: Tensor, rows: Tensor) -> Tensor:
        return said(TEXT)[:, : tokens.shape[1]].expand(len(rows), -1, -1)

    output = SpeculativeSampler(MASK, PAD, 9).sample(draft, read, given)
    assert asked == [[1]] and output.tokens.tolist() == [TEXT] * 3 and output.nfe.tolist() == [1, 2, 2]


def test_the_last_call_stands() -> None:
    """With no call left, what the last one says is written, settled or not."""
    draft = [5, 2, 7, 8, 9, PAD, PAD, PAD]
    output = SpeculativeSampler(MASK, PAD, 2).sample(
        lambda rows: said(draft), after({2: 3}, TEXT), EMPTY, keep_trajectory=True
    )
    assert output.nfe.tolist() == [2] and output.tokens.tolist() == [[5, 6, 3, 8, 9, PAD, PAD, PAD]]
    assert [step.tolist() for step in output.trajectory] == [[[MASK] * 8], [draft], output.tokens.tolist()]
    one = SpeculativeSampler(MASK, PAD, 1).sample(lambda rows: said(draft), after({2: 3}, TEXT), EMPTY)
    assert one.nfe.tolist() == [1] and one.tokens.tolist() == [draft]


@pytest.mark.parametrize(("acceptance", "kept"), [(0.4, True), (0.6, False)])
def test_a_draft_stands_where_it_is_nearly_as_likely(acceptance: float, kept: bool) -> None:
    """Half as likely as the likeliest: enough at 0.4 of it, too little at 0.6."""
    probs = torch.full((1, 3, 12), 1e-6)
    probs[0, torch.arange(3), torch.tensor([5, 6, PAD])] = 0.6
    probs[0, 1, 7] = 0.3
    sampler = SpeculativeSampler(MASK, PAD, 9, acceptance=acceptance)
    output = sampler.sample(
        lambda rows: said([5, 7, PAD]), lambda tokens, rows: probs[:, : tokens.shape[1]].log(), EMPTY[:, :3]
    )
    assert output.tokens.tolist() == [[5, 7 if kept else 6, PAD]] and output.nfe.tolist() == [2 if kept else 3]
    assert output.confidence[0, 1].item() == pytest.approx(0.3 / 0.9 if kept else 0.6 / 0.9, abs=0.01) or not kept


@pytest.fixture(scope="module")
def generator() -> TextGenerator:
    tokenizer = TextTokenizer.train(["a small red circle on grass", "turn on the light"], 320)
    torch.manual_seed(0)
    config = DecoderConfig(
        tokenizer.vocab_size, 41, {"image": 6}, ("caption", "infill"), hidden_size=32, num_layers=2, num_heads=4,
        process="speculative",
    )  # fmt: skip
    decoder = CrossAttentionDecoder(config).eval()
    with torch.no_grad():
        for name, weight in decoder.named_parameters():
            if "embedding.weight" not in name:
                weight.mul_(3)
    return TextGenerator(decoder, tokenizer, {"caption": 12, "infill": 12})


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0}, {"acceptance": 0.3}, {"num_steps": 20}])
def test_a_text_does_not_depend_on_its_batch(generator: TextGenerator, options: dict[str, float]) -> None:
    """Alone, together and in another order, its calls too; texts with gaps as well."""
    rng = np.random.default_rng(0)
    requests = [Request(f"r{i}", Task.CAPTION, rng.normal(size=(3 + i, 6)).astype(np.float32)) for i in range(6)]
    requests += [Request(f"t{i}", Task.INFILL, text=f"a small {'red ' * i}___ on ___") for i in range(4)]
    sampler = SamplerOptions.model_validate(options)
    together = generator.generate(requests, sampler)
    alone = [generator.generate([request], sampler)[0] for request in requests]
    assert [(one.tokens, one.nfe) for one in alone] == [(one.tokens, one.nfe) for one in together]
    assert [one.text for one in generator.generate(requests[::-1], sampler)][::-1] == [one.text for one in together]
    assert len({one.tokens for one in together[:6]}) > 3 and all(one.text.startswith("a small") for one in together[6:])


@torch.no_grad()
def test_a_gap_sees_both_sides(generator: TextGenerator) -> None:
    """What stands at a masked place is said one position before it, and depends on what comes after the gap."""
    writer, mask = generator.writer, generator.tokenizer.mask_token_id
    request = Request("t", Task.INFILL, text="a small ___ on grass")
    canvas = generator._start(request)
    guided = guide(generator.decoder, generator._condition(Task.INFILL, [request]), SamplerOptions())
    tokens = torch.tensor([canvas.tokens])
    masked = tokens == mask
    logits = writer._logits(guided, tokens, torch.arange(1), masked)  # type: ignore[attr-defined]
    plain = generator.decoder(shifted(tokens, mask), guided.condition)[:, :-1]
    torch.testing.assert_close(logits[masked], plain[masked])
    start = canvas.gaps[0][0]
    other = tokens.clone()
    other[0, canvas.gaps[0][1]] += 1
    changed = writer._logits(guided, other, torch.arange(1), masked)  # type: ignore[attr-defined]
    assert (changed[0, start] - logits[0, start]).abs().max() > 1e-3


def test_what_it_cannot_do_is_refused(generator: TextGenerator) -> None:
    """Guidance, constraints, drawing with a loose acceptance, and samplers that masks do not have."""
    request = Request("r", Task.CAPTION, np.zeros((2, 6), np.float32))
    with pytest.raises(RequestError, match=r"guidance is for diffusion, got 2\.0"):
        generator.generate([request], SamplerOptions(guidance_scale=2.0))
    with pytest.raises(RequestError, match=r"acceptance 0\.5 is for temperature 0"):
        generator.generate([request], SamplerOptions(acceptance=0.5, temperature=1.0))
    with pytest.raises(RequestError, match="constraints are for"):
        generator.generate([replace(request, constraints=Constraints(max_words=3))], SamplerOptions())
    with pytest.raises(ConfigError, match="'revision' does not go with the process 'speculative'"):
        generator.generate([request], SamplerOptions(kind="revision"))
