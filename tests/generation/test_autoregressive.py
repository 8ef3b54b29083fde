"""The autoregressive twin: its layout, its cache and its ways of writing."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from multimodal.decoder import CrossAttentionDecoder, DecoderConfig, TextCache
from multimodal.errors import RequestError
from multimodal.generation import Request, TextGenerator
from multimodal.generation.autoregressive import AutoregressiveSampler, Written, answer, filled, prompt, room, sequences
from multimodal.sample import Task
from multimodal.tasks import LENGTH_BUCKET, Canvas
from multimodal.tokenizer import TextTokenizer
from multimodal.training.options import SamplerOptions
from tests.decoder.test_decoder import CONFIG, condition_input

MASK, PAD = 1, 0
CAUSAL = replace(CONFIG, causal=True)


@pytest.fixture(scope="module")
def decoder() -> CrossAttentionDecoder:
    torch.manual_seed(0)
    return CrossAttentionDecoder(CAUSAL).eval()


def test_layout_of_a_text() -> None:
    """Start, text, one end; later padding is not learnt."""
    canvas = Canvas((5, 6, 7, PAD, PAD))
    assert prompt(canvas, MASK, PAD) == [MASK] and answer(canvas, PAD) == [5, 6, 7, PAD]
    texts = sequences([canvas, Canvas((8, PAD, PAD))], MASK, PAD)
    assert texts.inputs.tolist() == [[MASK, 5, 6, 7], [MASK, 8, PAD, PAD]]
    assert texts.targets.tolist() == [[5, 6, 7, PAD], [8, PAD, PAD, PAD]]
    assert texts.scored.tolist() == [[True] * 4, [True, True, False, False]]


def test_layout_of_a_text_with_gaps() -> None:
    """Each gap is one mark; fillings follow the padded prompt, each with its end, and fit into the canvas again."""
    clean = Canvas((5, 6, PAD, 7, 8, 9, 10, PAD, PAD), gaps=((1, 3), (5, 7)))
    start = prompt(clean, MASK, PAD)
    assert start == [5, MASK, 7, 8, MASK, *[PAD] * (LENGTH_BUCKET - 6), MASK] and len(start) == LENGTH_BUCKET
    assert answer(clean, PAD) == [6, PAD, 9, 10, PAD]
    texts = sequences([clean], MASK, PAD)
    assert texts.targets[texts.scored].tolist() == [6, PAD, 9, 10, PAD]
    open_canvas = Canvas((5, MASK, MASK, 7, 8, MASK, MASK, PAD, PAD), clean.gaps)
    tokens, confidence = filled(open_canvas, Written([6, PAD, 9, 10, PAD], [0.5, 0.6, 0.7, 0.8, 0.9], 5), PAD)
    assert tokens == list(clean.tokens)
    assert confidence == [1, 0.5, 0.6, 1, 1, 0.7, 0.8, 1, 1]


def test_what_does_not_fit_is_cut_off() -> None:
    """A filling longer than its gap neither moves the given tokens nor spills into the next gap."""
    canvas = Canvas((5, MASK, 7, MASK), gaps=((1, 2), (3, 4)))
    assert filled(canvas, Written([2, 3, 4, PAD, 9, PAD], [0.5] * 6, 6), PAD)[0] == [5, 2, 7, 9]
    assert filled(canvas, Written([2, 3], [0.5] * 2, 2), PAD)[0] == [5, 2, 7, PAD]
    assert filled(Canvas((MASK, MASK)), Written([2, 3, 4], [0.5] * 3, 3), PAD)[0] == [2, 3]


def test_room_is_enough_for_every_canvas() -> None:
    """Prompt and answer of the longest canvas with two gaps fit."""
    tokens = tuple(range(2, 42))
    canvas = Canvas((*tokens[:10], *[3] * 10, *tokens[10:20], *[4] * 10, *tokens[20:40]), ((10, 20), (30, 40)))
    assert len(prompt(canvas, MASK, PAD)) + len(answer(canvas, PAD)) <= room(len(canvas.tokens))


def test_what_comes_later_changes_nothing(decoder: CrossAttentionDecoder) -> None:
    """Logits of a prefix are those of the whole text; in the bidirectional decoder they are not."""
    text = torch.randint(2, 40, (3, 10), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        condition = decoder.condition(condition_input())
        torch.testing.assert_close(decoder(text, condition)[:, :6], decoder(text[:, :6], condition))
        torch.manual_seed(0)
        both_ways = CrossAttentionDecoder(CONFIG).eval()
        looks_ahead = (both_ways(text, condition)[:, :6] - both_ways(text[:, :6], condition)).abs().max()
    assert looks_ahead > 1e-3


def test_the_cache_is_exact(decoder: CrossAttentionDecoder) -> None:
    """Reading a prompt at once and then token by token gives the logits of reading all, also after rows have left."""
    text = torch.randint(2, 40, (3, 10), generator=torch.Generator().manual_seed(1))
    some = torch.tensor([2, 0])
    with torch.no_grad():
        condition = decoder.condition(condition_input())
        whole = decoder(text, condition)
        past = TextCache.empty(CAUSAL, 3, 12, whole)
        pieces = [decoder(text[:, :4], condition, past=past), decoder(text[:, 4:5], condition, past=past)]
        torch.testing.assert_close(torch.cat(pieces, 1), whole[:, :5])
        past = past.rows(some)
        rest = [decoder(text[some, i : i + 1], condition.rows(some), past=past) for i in range(5, 10)]
    torch.testing.assert_close(torch.cat(rest, 1), whole[some, 5:])
    assert past.length == 10


def table(transitions: Tensor) -> Callable[[Tensor, Tensor, TextCache], Tensor]:
    """A language model that looks at the last token only: probabilities [token, next token]."""
    return lambda tokens, rows, past: transitions.log()[tokens[:, -1]]


def likeliest(transitions: Tensor, longest: int) -> list[int]:
    """The text with the likeliest mean token, by trying all."""
    vocab = range(len(transitions))
    best: tuple[float, list[int]] = (-float("inf"), [])
    for length in range(1, longest + 1):
        for text in itertools.product([token for token in vocab if token not in (PAD, MASK)], repeat=length - 1):
            whole = [MASK, *text, PAD]
            logs = [transitions[a, b].log().item() for a, b in itertools.pairwise(whole)]
            best = max(best, (sum(logs) / length, whole[1:]))
    return best[1]


TRANSITIONS = torch.tensor(
    [
        [1.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.6, 0.4],
        [0.34, 0.0, 0.33, 0.33],
        [0.95, 0.0, 0.03, 0.02],
    ]
)


def write(sampler: AutoregressiveSampler, ends: int = 1, rows: int = 1) -> list[Written]:
    generators = [torch.Generator().manual_seed(row) for row in range(rows)]
    cache = TextCache([], [])
    return sampler.sample(table(TRANSITIONS), torch.full((rows, 1), MASK), [ends] * rows, cache, generators)


def test_greedy_takes_the_likeliest_next_token() -> None:
    """And ends at the first end; each token has its probability."""
    (text,) = write(AutoregressiveSampler(MASK, PAD, 5))
    assert text.tokens == [2, PAD] and text.nfe == 2
    assert text.confidence == pytest.approx([0.6, 0.34])


def test_beam_search_finds_the_likeliest_text() -> None:
    """Where greedy goes wrong; equal to trying all texts."""
    (text,) = write(AutoregressiveSampler(MASK, PAD, 3, beams=3))
    assert text.tokens == likeliest(TRANSITIONS, 3) == [3, PAD]
    assert text.confidence == pytest.approx([0.4, 0.95])


def test_drawing_follows_the_distribution() -> None:
    """At temperature 1 the first token is drawn from the model's probabilities."""
    texts = write(AutoregressiveSampler(MASK, PAD, 3, temperature=1.0), rows=2000)
    assert abs(sum(text.tokens[0] == 2 for text in texts) / 2000 - 0.6) < 0.03


def test_each_gap_has_an_end() -> None:
    """Writing goes on until every gap has its end, or room runs out."""
    assert write(AutoregressiveSampler(MASK, PAD, 9), ends=2)[0].tokens == [2, PAD, PAD]
    assert write(AutoregressiveSampler(MASK, PAD, 2), ends=3)[0].tokens == [2, PAD]


@pytest.fixture(scope="module")
def generator() -> TextGenerator:
    tokenizer = TextTokenizer.train(["a small red circle on grass", "turn on the light"], 320)
    torch.manual_seed(0)
    config = DecoderConfig(
        tokenizer.vocab_size, room(40), {"image": 6}, ("caption", "infill"), hidden_size=32, num_layers=2, num_heads=4,
        causal=True,
    )  # fmt: skip
    twin = CrossAttentionDecoder(config).eval()
    with torch.no_grad():
        twin.embedding.weight.mul_(20)
    return TextGenerator(twin, tokenizer, {"caption": 12, "infill": 12})


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0}, {"beams": 3}])
def test_a_text_does_not_depend_on_its_batch(generator: TextGenerator, options: dict[str, float]) -> None:
    """Alone, together and in another order; texts with gaps too."""
    rng = np.random.default_rng(0)
    requests = [Request(f"r{i}", Task.CAPTION, rng.normal(size=(3 + i, 6)).astype(np.float32)) for i in range(4)]
    requests += [Request(f"t{i}", Task.INFILL, text=f"a small {'red ' * i}___ on ___") for i in range(4)]
    sampler = SamplerOptions.model_validate(options)
    together = [generation.text for generation in generator.generate(requests, sampler)]
    assert [generator.generate([request], sampler)[0].text for request in requests] == together
    assert [generation.text for generation in generator.generate(requests[::-1], sampler)][::-1] == together
    assert all(text.startswith("a small") for text in together[4:])


def test_canvases_of_two_lengths_are_written_together(generator: TextGenerator) -> None:
    """Prompts of one length may come from canvases of different length: the same texts as alone."""
    requests = [Request(f"t{i}", Task.INFILL, text=f"{'a small ' * i}___ on") for i in range(1, 6)]
    starts = [generator._start(request) for request in requests]
    assert len({len(start.tokens) for start in starts}) == 2
    assert len({generator.writer.length(start) for start in starts}) == 1
    together = [generation.tokens for generation in generator.generate(requests, SamplerOptions())]
    assert [generator.generate([request], SamplerOptions())[0].tokens for request in requests] == together


def test_guidance_is_refused(generator: TextGenerator) -> None:
    """It is not built, and not silently ignored."""
    request = Request("r", Task.CAPTION, np.zeros((2, 6), np.float32))
    with pytest.raises(RequestError, match=r"guidance is for diffusion, got 2\.0"):
        generator.generate([request], SamplerOptions(guidance_scale=2.0))
