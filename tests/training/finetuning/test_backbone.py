"""A masked language model as the decoder's blocks."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from transformers import BertConfig, BertModel, ModernBertConfig, ModernBertModel

from multimodal.decoder import ConditionInput, CrossAttentionDecoder, DecoderConfig
from multimodal.encoders.masked_lm import load_masked_language_model
from multimodal.errors import EncoderError
from multimodal.tokenizer import TextTokenizer
from multimodal.training.finetuning.backbone import backbone_config, load_backbone, spelled_alike

TEXTS = ["a small red circle on grass", "turn on the light", "please do not stop here"]
SHAPE = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 2, "pad_token_id": 0,
    "bos_token_id": None, "eos_token_id": None, "cls_token_id": None, "sep_token_id": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return TextTokenizer.train(TEXTS, 300)


@pytest.fixture(scope="module")
def folder(tokenizer: TextTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random ModernBERT whose norms are no longer 1, with the tokenizer of the decoder."""
    path = tmp_path_factory.mktemp("modernbert")
    torch.manual_seed(0)
    model = ModernBertModel(ModernBertConfig(vocab_size=tokenizer.vocab_size, **SHAPE))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.normal_(1.0, 0.2) if "norm" in name else weight.normal_(0.0, 0.3)
    model.save_pretrained(path)
    (path / "tokenizer.json").write_text(tokenizer.to_json())
    return path


def test_hidden_states_are_those_of_modernbert(folder: Path, tokenizer: TextTokenizer) -> None:
    """Global and local layers, gates, norms and positions: before any training the decoder computes what it does."""
    theirs = load_masked_language_model(str(folder))
    config = backbone_config(DecoderConfig(tokenizer.vocab_size, 40, {"image": 6}, ("caption",)), theirs)
    assert (config.num_layers, config.rotary_bases) == (4, (160_000.0, 10_000.0, 10_000.0, 160_000.0))
    decoder = CrossAttentionDecoder(config).eval()
    load_backbone(decoder, theirs, tokenizer)
    seen: list[torch.Tensor] = []
    decoder.norm.register_forward_hook(lambda module, inputs, output: seen.append(output))
    tokens = torch.randint(2, tokenizer.vocab_size, (3, 30), generator=torch.Generator().manual_seed(1))
    condition = ConditionInput(
        torch.zeros(3, dtype=torch.long), torch.full((3,), -1), "image", torch.randn(3, 5, 6), torch.ones(3, 5) > 0
    )
    with torch.no_grad():
        decoder(tokens, decoder.condition(condition))
        expected = ModernBertModel.from_pretrained(folder).eval()(tokens).last_hidden_state
    assert expected.std() > 0.5
    torch.testing.assert_close(seen[0], expected, atol=1e-4, rtol=1e-4)


def test_tokens_are_known_by_what_they_spell(tokenizer: TextTokenizer) -> None:
    """A token that both have keeps its row; one that they lack is the mean of the fewest that spell it."""
    theirs = TextTokenizer.train(["red re d"] * 3, 262)
    embeddings = torch.randn(theirs.vocab_size, 8)
    rows = spelled_alike(tokenizer, theirs._tokenizer, embeddings)
    assert rows.shape == (tokenizer.vocab_size, 8)
    known = theirs.vocabulary.index("Ġred")
    assert torch.equal(rows[tokenizer.vocabulary.index("Ġred")], embeddings[known])
    spelled = [theirs.vocabulary.index(piece) for piece in ("Ġ", "o", "n")]
    torch.testing.assert_close(rows[tokenizer.vocabulary.index("Ġon")], embeddings[spelled].mean(0))


def bert(folder: Path) -> None:
    config = BertConfig(vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    BertModel(config).save_pretrained(folder)


def biased(folder: Path) -> None:
    ModernBertModel(ModernBertConfig(vocab_size=30, **{**SHAPE, "mlp_bias": True})).save_pretrained(folder)


@pytest.mark.parametrize(
    ("make", "problem"), [(bert, "is a bert, whose blocks"), (biased, "has mlp_bias"), (Path.mkdir, "cannot be read")]
)
def test_what_does_not_fit_is_refused(make: Callable[[Path], None], problem: str, tmp_path: Path) -> None:
    """Another architecture, biases, or no model at all: said before anything is trained."""
    make(tmp_path / "model")
    with pytest.raises(EncoderError, match=problem):
        load_masked_language_model(str(tmp_path / "model"))


def test_a_name_out_of_reach_fails_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(EncoderError, match=r"cannot be reached; set train\.init_backbone to a local folder"):
        load_masked_language_model("somebody/modernbert")
    assert time.monotonic() - started < 5
