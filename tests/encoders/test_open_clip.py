"""open_clip's architectures of all kinds, for pictures and for texts, beside open_clip itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.nn.functional import normalize

from multimodal.encoders import build_encoder
from multimodal.encoders.clip_text import ClipTextEncoder, embed_texts
from multimodal.encoders.image import ImageEncoder
from multimodal.encoders.options import EncoderOptions
from multimodal.errors import EncoderError, MediaError
from multimodal.sample import Modality
from tests.encoders.test_image import TIMM, TINY, VIT, picture
from tests.encoders.test_image import build as build_image

TEXTS = ("a red star", "a blue square on grass", "a cat sits on the mat")
TEXT = {"context_length": 12, "width": 32, "heads": 2, "layers": 2}
SIGLIP = {
    "embed_dim": 64, "init_logit_bias": -10, "custom_text": True,
    "vision_cfg": {"image_size": 64, "timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none"},
    "text_cfg": {**TEXT, "vocab_size": 40, "width": 64, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
}  # fmt: skip
COCA = {
    **VIT, "custom_text": True,
    "vision_cfg": {**VIT["vision_cfg"], "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},  # type: ignore[dict-item]
    "text_cfg": {**TEXT, "vocab_size": 49408, "embed_cls": True, "output_tokens": True},
    "multimodal_cfg": {**TEXT, "vocab_size": 49408, "attn_pooler_heads": 2},
}  # fmt: skip
IMAGE_MODELS = {
    "resnet": TINY,
    "vit": VIT,
    "quickgelu": {**VIT, "quick_gelu": True},
    "patch tokens pooled": {
        **VIT,
        "vision_cfg": {**VIT["vision_cfg"], "pool_type": "avg", "final_ln_after_pool": True},
    },  # type: ignore[dict-item]
    "timm convnext": TIMM,
    "timm vit": {**TIMM, "vision_cfg": {"image_size": 64, "timm_model_name": "test_vit", "timm_pool": "token"}},
    "timm byobnet": {**TIMM, "vision_cfg": {"image_size": 64, "timm_model_name": "test_byobnet", "timm_pool": "avg"}},
    "custom text": {**VIT, "custom_text": True},
    "siglip": SIGLIP,
    "coca": COCA,
}
TEXT_MODELS = {"clip": {**VIT, "text_cfg": {**TEXT, "vocab_size": 49408}}, "siglip": SIGLIP, "coca": COCA}


def word_tokenizer(folder: Path) -> Path:
    """A tokenizer of some words that pads with its end of text, as SigLIP's does."""
    words = ["<unk>", "</s>", *dict.fromkeys(" ".join(TEXTS).split())]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="</s>", eos_token="</s>", unk_token="<unk>"
    )
    fast.save_pretrained(folder)
    return folder


def build_text(name: str, folder: Path, **values: Any) -> ClipTextEncoder:
    """The text encoder of a saved model, with the tokenizer that its configuration names."""
    config: dict[str, Any] = TEXT_MODELS[name]
    if name == "siglip":
        named = str(word_tokenizer(folder / "words"))
        config = {**config, "text_cfg": {**config["text_cfg"], "hf_tokenizer_name": named}}
    build_image(config, folder).save(folder / "model")
    options = EncoderOptions(kind="open_clip", weights=str(folder / "model"), device="cpu", **values)
    encoder = build_encoder(options, Modality.TEXT)
    assert isinstance(encoder, ClipTextEncoder)
    return encoder


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_vectors_are_those_of_open_clip_and_tokens_lie_on_a_grid(tmp_path: Path, name: str) -> None:
    """Any architecture gives states of a square of places and the embedding of `encode_image`, and comes back saved."""
    encoder = build_image(IMAGE_MODELS[name], tmp_path)
    rows = [encoder.preprocess(picture(seed)) for seed in range(2)]
    output = encoder.encode(rows)
    with torch.no_grad():
        reference = encoder.model.encode_image(torch.stack(rows), normalize=True)
    torch.testing.assert_close(output.pooled, reference, atol=1e-5, rtol=1e-4)
    count = output.hidden_states.shape[1]
    assert count == encoder.tokens.count == round(count**0.5) ** 2 >= 4
    assert output.hidden_states.shape[2] == encoder.hidden_size
    encoder.save(tmp_path / "saved")
    saved = EncoderOptions(kind="open_clip", weights=str(tmp_path / "saved"))
    again = build_encoder(saved, Modality.IMAGE)
    assert again.fingerprint == encoder.fingerprint and again.card == encoder.card


def test_the_tokens_of_a_vision_transformer_are_its_patches(tmp_path: Path) -> None:
    """Behind the last block, without the class token."""
    encoder = build_image(VIT, tmp_path)
    seen: list[torch.Tensor] = []
    blocks = encoder.model.visual.transformer.resblocks
    hook = blocks[-1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    row = encoder.preprocess(picture())
    encoder.model.encode_image(row[None])
    hook.remove()
    assert seen[0].shape == (1, 65, 32)
    torch.testing.assert_close(encoder.encode([row]).hidden_states, seen[0][:, 1:])


@pytest.mark.parametrize("name", TEXT_MODELS)
def test_texts_have_the_vectors_of_open_clip(tmp_path: Path, name: str) -> None:
    """And the states behind the last norm: what the embedding is projected from lies at the end of the text."""
    encoder = build_text(name, tmp_path)
    ids = [encoder.preprocess(text.encode()) for text in TEXTS]
    output = encoder.encode(ids)
    with torch.no_grad():
        reference = encoder.model.encode_text(torch.stack(ids), normalize=True)
    torch.testing.assert_close(output.pooled, reference, atol=1e-5, rtol=1e-4)
    assert output.hidden_states.shape[2] == encoder.hidden_size
    assert encoder.pooled_size == reference.shape[1] and str(encoder.tokens) == "1 per token"
    if name == "clip":
        ends = [int(real.sum()) - 1 for real in output.attention_mask]
        last = torch.stack([states[end] for states, end in zip(output.hidden_states, ends, strict=True)])
        projected = normalize(last @ encoder.model.text_projection, dim=-1)
        torch.testing.assert_close(projected, reference, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", TEXT_MODELS)
@pytest.mark.parametrize("downsample", [1, 2])
def test_only_real_tokens_count(tmp_path: Path, name: str, downsample: int) -> None:
    """A text has as many states as tokens, whatever stands beside it, and comes back from a saved folder."""
    encoder = build_text(name, tmp_path, downsample=downsample)
    ids = [encoder.preprocess(text.encode()) for text in TEXTS]
    together = encoder.encode(ids)
    # open_clip's own tokenizer adds a start and an end; of SigLIP's the end is padding too.
    counts = [len(text.split()) + (0 if name == "siglip" else 2) for text in TEXTS]
    assert together.attention_mask.sum(1).tolist() == [-(-count // downsample) for count in counts]
    encoder.save(tmp_path / "saved")
    options = EncoderOptions(kind="open_clip", weights=str(tmp_path / "saved"), downsample=downsample, device="cpu")
    again = build_encoder(options, Modality.TEXT)
    assert again.fingerprint == encoder.fingerprint and again.card == encoder.card
    for number, row in enumerate(ids):
        alone = again.encode([row])
        real = together.attention_mask[number]
        torch.testing.assert_close(together.hidden_states[number][real], alone.hidden_states[0], atol=1e-5, rtol=1e-4)
        assert not together.hidden_states[number][~real].any()


def test_the_tokenizer_that_was_saved_beside_the_weights_is_taken(tmp_path: Path) -> None:
    """A folder carries all that it needs: the name in its configuration need not be reachable."""
    encoder = build_text("siglip", tmp_path)
    encoder.save(tmp_path / "saved")
    path = tmp_path / "saved" / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "no-such-org/no-such-tokenizer"
    path.write_text(json.dumps(config))
    again = build_encoder(EncoderOptions(kind="open_clip", weights=str(tmp_path / "saved")), Modality.TEXT)
    assert torch.equal(again.preprocess(b"a red star"), encoder.preprocess(b"a red star"))


def test_one_folder_serves_pictures_and_texts_in_one_space(tmp_path: Path) -> None:
    """The text encoder's vectors are those by which pictures are compared with texts."""
    texts = build_text("clip", tmp_path)
    pictures = build_encoder(EncoderOptions(kind="open_clip", weights=str(tmp_path / "model")), Modality.IMAGE)
    assert isinstance(pictures, ImageEncoder)
    pooled = texts.encode([texts.preprocess(text.encode()) for text in TEXTS]).pooled
    torch.testing.assert_close(pooled, embed_texts(pictures, TEXTS), atol=1e-6, rtol=1e-5)
    assert texts.fingerprint != pictures.fingerprint


def test_long_texts_are_cut_off_and_bad_ones_have_a_reason(tmp_path: Path) -> None:
    """At the context length, with the end of the text kept; no UTF-8 and nothing but space are refused."""
    encoder = build_text("clip", tmp_path)
    output = encoder.encode([encoder.preprocess(b"star " * 50)])
    assert output.attention_mask.sum() == 12
    for data, reason in ((b"\xff\xfe", "invalid_utf8"), (b" \n", "empty_text")):
        with pytest.raises(MediaError) as refused:
            encoder.preprocess(data)
        assert refused.value.reason == reason


def test_text_towers_that_cannot_be_used_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another vocabulary without its tokenizer, a tokenizer that cannot be reached, an architecture that is none."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://127.0.0.1:9")
    small = {**VIT, "text_cfg": {**TEXT, "vocab_size": 64}}
    away = {**SIGLIP, "text_cfg": {**SIGLIP["text_cfg"], "hf_tokenizer_name": "no-such-org/words"}}  # type: ignore[dict-item]
    for number, (config, problem) in enumerate([(small, "not one of open_clip's own"), (away, "no-such-org/words")]):
        build_image(config, tmp_path).save(tmp_path / str(number))
        with pytest.raises(EncoderError, match=problem):
            build_encoder(EncoderOptions(kind="open_clip", weights=str(tmp_path / str(number))), Modality.TEXT)
    (tmp_path / "odd.json").write_text('{"embed_dim": 16, "vision_cfg": {"patches": 3}, "text_cfg": {}}')
    with pytest.raises(EncoderError, match="cannot build this architecture: TypeError"):
        build_encoder(EncoderOptions(kind="open_clip", model=str(tmp_path / "odd.json")), Modality.IMAGE)


def test_a_text_tower_of_transformers_is_built_without_its_base_weights(tmp_path: Path) -> None:
    """Its pictures can be encoded, without a download; its texts are refused, since they have no states here."""
    words = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    transformers.BertConfig(**words, intermediate_size=16, max_position_embeddings=16).save_pretrained(
        tmp_path / "bert"
    )
    text = {"hf_model_name": str(tmp_path / "bert"), "hf_proj_type": "mlp", "hf_pooler_type": "mean_pooler"}
    encoder = build_image({**VIT, "text_cfg": text}, tmp_path)
    assert encoder.encode([encoder.preprocess(picture())]).hidden_states.shape == (1, 64, 32)
    encoder.save(tmp_path / "model")
    with pytest.raises(EncoderError, match="text tower of transformers"):
        build_encoder(EncoderOptions(kind="open_clip", weights=str(tmp_path / "model")), Modality.TEXT)
