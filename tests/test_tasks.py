"""Canvases and gaps."""

import random

import pytest

from multimodal.errors import RequestError
from multimodal.tasks import GAP, GAP_SLOTS, MAX_GAP_WORDS, draw_span, infill_canvas, make_gap
from multimodal.tokenizer import TextTokenizer

TEXT = "a small red circle is to the left of a large blue square"


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return TextTokenizer.train([TEXT] * 3, 320)


def test_gap_is_cut_by_sample_id_alone() -> None:
    """The same sample always loses the same words, and text and span together are the sample's text."""
    gapped = make_gap(TEXT, "id-1")
    assert gapped == make_gap(TEXT, "id-1")
    assert gapped.text_with_gap.replace(GAP, gapped.span) == TEXT
    assert len({make_gap(TEXT, f"id-{i}").span for i in range(20)}) > 5


@pytest.mark.parametrize("num_words", [1, 2, 3, 9, 40])
def test_spans_stay_inside(num_words: int) -> None:
    """A span has at least a word, at most four and at most half of the text."""
    rng = random.Random(0)
    for _ in range(200):
        start, end = draw_span(num_words, rng)
        assert 0 <= start < end <= num_words
        assert end - start <= max(1, min(MAX_GAP_WORDS, num_words // 2))


def test_canvas_keeps_the_words_around_a_gap(tokenizer: TextTokenizer) -> None:
    """Words stand, the gap is masks; given fillings are padded to the same length."""
    canvas = infill_canvas(tokenizer, "a small ___ circle ___")
    (start, end), (last, _) = canvas.gaps
    assert list(canvas.tokens[:start]) == tokenizer.encode("a small")
    assert list(canvas.tokens[end:last]) == tokenizer.encode("circle")
    assert canvas.tokens[start:end] == (tokenizer.mask_token_id,) * GAP_SLOTS
    filled = infill_canvas(tokenizer, "a small ___ circle ___", ["red", "is to the left"])
    assert filled.gaps == canvas.gaps
    assert tokenizer.decode(filled.tokens) == "a small red circle is to the left"


def test_a_text_without_gap_is_refused(tokenizer: TextTokenizer) -> None:
    """The message shows the mark that is missing."""
    with pytest.raises(RequestError, match="___"):
        infill_canvas(tokenizer, "nothing to fill")
