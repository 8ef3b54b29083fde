"""The tokenizer."""

from pathlib import Path

import pytest

from multimodal.errors import CheckpointError
from multimodal.tokenizer import TextTokenizer

TEXTS = ["a small red circle on grass", "turn on the kitchen light at seven", "don't stop, please"]


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return TextTokenizer.train(TEXTS * 4, 320)


@pytest.mark.parametrize("text", [*TEXTS, "Zürich 42 — naïve 写真 🙂", "x", "two  spaces"])
def test_every_text_comes_back(tokenizer: TextTokenizer, text: str) -> None:
    """Any text, seen or not, survives encoding and decoding."""
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_words_share_no_token(tokenizer: TextTokenizer) -> None:
    """A text's tokens are its words' tokens one after another: what infilling cuts at."""
    text = "a small red circle on grass, please"
    assert tokenizer.encode(text) == [token for word in text.split() for token in tokenizer.encode(word)]


def test_special_tokens_are_not_text(tokenizer: TextTokenizer) -> None:
    """Padding and masks vanish from decoded text but show in pieces."""
    ids = [*tokenizer.encode("a red"), tokenizer.mask_token_id, tokenizer.pad_token_id]
    assert tokenizer.decode(ids) == "a red"
    assert tokenizer.pieces(ids)[-2:] == ("<mask>", "<pad>")
    assert "".join(tokenizer.pieces(ids)[:-2]) == " a red"


def test_saved_and_loaded(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    """A loaded tokenizer gives the same ids; an absent one says what is wrong."""
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_json())
    loaded = TextTokenizer.load(tmp_path / "tokenizer.json")
    assert loaded.encode_batch(TEXTS) == tokenizer.encode_batch(TEXTS)
    with pytest.raises(CheckpointError, match="no tokenizer"):
        TextTokenizer.load(tmp_path / "absent.json")
