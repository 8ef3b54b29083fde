"""CLAP: the reference's features, states and vectors, and none of its chance."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, ClapAudioConfig, ClapAudioModel, ClapConfig, ClapFeatureExtractor, ClapModel

from multimodal.encoders import build_encoder
from multimodal.encoders.audio import AudioEncoder, decode_wave
from multimodal.encoders.options import EncoderOptions
from multimodal.errors import EncoderError
from multimodal.sample import Modality
from tests.encoders.test_audio import sound
from tests.encoders.test_open_clip import word_tokenizer

RATE = 8_000
EXTRACTOR = {
    "feature_size": 16, "sampling_rate": RATE, "hop_length": 80, "max_length_s": 2, "fft_window_size": 256,
    "frequency_max": 4000,
}  # fmt: skip
AUDIO = {
    "spec_size": 64, "num_mel_bins": 16, "window_size": 4, "patch_size": 4, "patch_stride": [4, 4],
    "patch_embeds_hidden_size": 8, "depths": [1, 1], "num_attention_heads": [1, 2], "num_hidden_layers": 2,
    "hidden_size": 16, "projection_dim": 12, "projection_hidden_size": 12, "patch_embed_input_channels": 1,
}  # fmt: skip
TEXT = {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "projection_dim": 12, "max_position_embeddings": 20, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
STEPS, BANDS = 32, 2
"""Of a window of 2 s."""


def folder_of(path: Path, fused: bool, whole: bool = True) -> Path:
    """A folder as the hub has it, with lively normalisation statistics."""
    torch.manual_seed(1)
    audio = {**AUDIO, "enable_fusion": fused}
    if whole:
        config = ClapConfig(audio_config=audio, text_config=TEXT, projection_dim=12)
        model = ClapModel(config)
    else:
        model = ClapAudioModel(ClapAudioConfig(**audio))
    encoder = getattr(model, "audio_model", model).audio_encoder
    encoder.batch_norm.running_mean.normal_()
    encoder.batch_norm.running_var.uniform_(0.5, 2.0)
    model.save_pretrained(path)
    ClapFeatureExtractor(**EXTRACTOR, truncation="fusion" if fused else "rand_trunc").save_pretrained(path)
    return path


def build(path: Path, fused: bool = False, whole: bool = True, **values) -> AudioEncoder:
    folder = folder_of(path / "clap", fused, whole)
    options = EncoderOptions(kind="clap", weights=str(folder), device="cpu", **values)
    encoder = build_encoder(options, Modality.AUDIO)
    assert isinstance(encoder, AudioEncoder)
    return encoder


def reference(path: Path, wave: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """States [steps * bands, d] and embedding by transformers alone, for a clip of at most one window."""
    extractor = ClapFeatureExtractor.from_pretrained(path / "clap")
    model = ClapModel.from_pretrained(path / "clap").eval()
    features = extractor(wave, sampling_rate=RATE, return_tensors="pt")["input_features"]
    not_long = torch.zeros(1, 1, dtype=torch.bool)
    with torch.no_grad():
        states = model.audio_model(input_features=features, is_longer=not_long).last_hidden_state
        pooled = model.get_audio_features(input_features=features, is_longer=not_long).pooler_output
    assert states.shape == (1, 16, BANDS, STEPS)
    return states[0].permute(2, 1, 0).reshape(-1, 16), pooled[0]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("seconds", [0.4, 1.3, 2.0])
def test_states_and_vectors_are_those_of_transformers(tmp_path: Path, fused: bool, seconds: float) -> None:
    """The clip's own time steps, both bands of each; the embedding is the one that texts are compared with."""
    encoder = build(tmp_path, fused)
    states, pooled = reference(tmp_path, decode_wave(sound(seconds), RATE))
    output = encoder.encode([encoder.preprocess(sound(seconds))])
    count = int(np.ceil(seconds * STEPS / 2)) * BANDS
    assert output.hidden_states.shape == (1, count, 16) and encoder.hidden_size == 16
    torch.testing.assert_close(output.hidden_states[0], states[:count], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(output.pooled[0], pooled, atol=1e-5, rtol=1e-4)
    assert encoder.pooled_size == 12


@pytest.mark.parametrize("fused", [False, True])
def test_long_clips_are_windows_and_nothing_is_random(tmp_path: Path, fused: bool) -> None:
    """5 s twice give the same latents, whatever numpy's generator says; the reference draws pieces of such a clip."""
    encoder = build(tmp_path, fused, overlap=0.25)
    np.random.seed(0)
    row = encoder.preprocess(sound(5.0))
    np.random.seed(1)
    again = encoder.preprocess(sound(5.0))
    assert torch.equal(row, again)
    output = encoder.encode([row, encoder.preprocess(sound(0.7))])
    assert output.attention_mask.sum(1).tolist() == [5 * STEPS // 2 * BANDS, 12 * BANDS]
    vectors = []
    wave = decode_wave(sound(5.0), RATE)
    windows = encoder.tower.windows
    for number, window in enumerate(windows.cut(len(wave))):
        states, pooled = reference(tmp_path, wave[window])
        vectors.append(pooled)
        first = (windows.overlap // 2 if number else 0) * BANDS
        last = (windows.stride + windows.overlap // 2) * BANDS if window.stop < len(wave) else None
        begin = number * windows.stride * BANDS + first
        kept = states[first : last or (-(-(window.stop - window.start) // windows.hop) * BANDS)]
        torch.testing.assert_close(output.hidden_states[0, begin : begin + len(kept)], kept, atol=1e-5, rtol=1e-4)
    mean = torch.nn.functional.normalize(torch.stack(vectors).mean(0), dim=-1)
    assert len(vectors) == 3
    torch.testing.assert_close(output.pooled[0], mean, atol=1e-5, rtol=1e-4)


def test_the_audio_tower_alone_will_do(tmp_path: Path) -> None:
    """A folder of `ClapAudioModel` has no projection: the pooled vector is the model's mean state."""
    encoder = build(tmp_path, whole=False)
    assert encoder.pooled_size == encoder.hidden_size == 16
    row = encoder.preprocess(sound(2.0))
    output = encoder.encode([row])
    torch.testing.assert_close(output.pooled[0], output.hidden_states[0].mean(0), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("fused", [False, True])
def test_saved_it_comes_back_the_same(tmp_path: Path, fused: bool) -> None:
    """With both towers, as safetensors and JSON, and a batch of one equals a row of a batch."""
    encoder = build(tmp_path, fused, downsample=2)
    encoder.save(tmp_path / "saved")
    assert {path.suffix for path in (tmp_path / "saved").iterdir()} == {".json", ".safetensors"}
    options = EncoderOptions(kind="clap", weights=str(tmp_path / "saved"), downsample=2, device="cpu")
    loaded = build_encoder(options, Modality.AUDIO)
    assert loaded.fingerprint == encoder.fingerprint and loaded.card == encoder.card
    rows = [encoder.preprocess(sound(seconds)) for seconds in (1.0, 0.3)]
    together = encoder.encode(rows)
    for number, row in enumerate(rows):
        alone = loaded.encode([row])
        real = together.attention_mask[number]
        torch.testing.assert_close(together.hidden_states[number][real], alone.hidden_states[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(together.pooled[number], alone.pooled[0], atol=1e-5, rtol=1e-4)


def test_texts_lie_where_sounds_lie(tmp_path: Path) -> None:
    """With its tokenizer a CLAP folder compares texts with sounds, as transformers does; saved, it still does."""
    folder = word_tokenizer(folder_of(tmp_path / "clap", fused=False))
    encoder = build_encoder(EncoderOptions(kind="clap", weights=str(folder), device="cpu"), Modality.AUDIO)
    assert isinstance(encoder, AudioEncoder) and encoder.has_text_side
    model = ClapModel.from_pretrained(folder).eval()
    texts = ["a red star", "a cat sits on the mat", "star " * 50]
    found = encoder.embed_texts(texts)
    assert found.shape == (3, encoder.pooled_size)
    for text, vector in zip(texts, found, strict=True):
        ids = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt", truncation=True, max_length=18)
        with torch.no_grad():
            reference = model.get_text_features(ids["input_ids"]).pooler_output[0]
        torch.testing.assert_close(vector, reference, atol=1e-5, rtol=1e-4)
    encoder.save(tmp_path / "saved")
    again = build_encoder(EncoderOptions(kind="clap", weights=str(tmp_path / "saved"), device="cpu"), Modality.AUDIO)
    assert isinstance(again, AudioEncoder)
    torch.testing.assert_close(again.embed_texts(texts), found)


def test_without_a_tokenizer_there_is_no_text_side(tmp_path: Path) -> None:
    """Said before anything is compared."""
    encoder = build(tmp_path)
    assert not encoder.has_text_side
    with pytest.raises(EncoderError, match="no text tower with its tokenizer"):
        encoder.embed_texts(["a red star"])


def test_other_kinds_and_missing_weights_are_refused(tmp_path: Path) -> None:
    """CLAP is not trained here, and its folder is no wav2vec 2.0."""
    with pytest.raises(ValueError, match="kind clap is not pretrained here"):
        EncoderOptions(kind="clap")
    folder = folder_of(tmp_path / "clap", fused=False)
    with pytest.raises(EncoderError, match="clap model, but `kind` is wav2vec2"):
        build_encoder(EncoderOptions(kind="wav2vec2", weights=str(folder)), Modality.AUDIO)
