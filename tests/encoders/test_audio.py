"""Audio encoders of both families: real frames only, one clip like many, and clear words where something is wrong."""

import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from multimodal.encoders.audio import AudioEncoder, build_audio_encoder, decode_wave
from multimodal.encoders.ctc import CTCHead
from multimodal.encoders.options import EncoderOptions
from multimodal.errors import EncoderError, MediaError

EXTRACTOR = {"feature_size": 16, "hop_length": 200, "n_fft": 400, "chunk_length": 2}
WHISPER = {
    "num_mel_bins": 16, "d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64,
    "decoder_layers": 1, "decoder_ffn_dim": 32, "decoder_attention_heads": 2, "vocab_size": 64, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1, "max_source_positions": 80,
}  # fmt: skip
WAVE_MODEL = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "conv_dim": [16, 16, 16], "conv_stride": [5, 4, 4], "conv_kernel": [10, 8, 4], "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "vocab_size": 32,
}  # fmt: skip
MODELS = {
    "masked whisper": ("whisper", {**WHISPER, "pad_to_window": False, "extractor": EXTRACTOR}),
    "whisper": ("whisper", {**WHISPER, "extractor": EXTRACTOR}),
    "wav2vec2 group": ("wav2vec2", {**WAVE_MODEL, "model_type": "wav2vec2"}),
    "wav2vec2 layer": ("wav2vec2", {**WAVE_MODEL, "model_type": "wav2vec2", "feat_extract_norm": "layer"}),
    "hubert": ("wav2vec2", {**WAVE_MODEL, "model_type": "hubert", "feat_extract_norm": "layer"}),
    "wavlm": ("wav2vec2", {**WAVE_MODEL, "model_type": "wavlm", "feat_extract_norm": "layer"}),
}


def build(folder: Path, name: str, **values) -> AudioEncoder:
    kind, config = MODELS[name]
    path = folder / f"{name}.json".replace(" ", "-")
    path.write_text(json.dumps(config))
    return build_audio_encoder(EncoderOptions(kind=kind, model=str(path), device="cpu", **values))


def sound(seconds: float, sampling_rate: int = 16_000, channels: int = 1, file_format: str = "WAV") -> bytes:
    """A chirp with a little noise, another one for each length."""
    times = np.arange(int(seconds * sampling_rate)) / sampling_rate
    wave = 0.3 * np.sin(2 * np.pi * (200 + 300 * times) * times)
    wave = wave + 0.01 * np.random.default_rng(len(times)).standard_normal(len(times))
    file = io.BytesIO()
    soundfile.write(file, np.stack([wave] * channels, axis=1), sampling_rate, format=file_format)
    return file.getvalue()


@pytest.mark.parametrize("name", MODELS)
def test_a_batch_of_one_equals_a_row_of_a_batch(tmp_path: Path, name: str) -> None:
    """Padding changes nothing: not the states, not the pooled vector, and padded states are zero."""
    encoder = build(tmp_path, name)
    batch = [encoder.preprocess(sound(seconds)) for seconds in (1.0, 0.37, 1.6)]
    together = encoder.encode(batch)
    assert together.hidden_states.shape[2] == encoder.hidden_size == 32
    for number, row in enumerate(batch):
        alone = encoder.encode([row])
        real = together.attention_mask[number]
        assert int(real.sum()) == alone.hidden_states.shape[1]
        assert torch.allclose(together.hidden_states[number][real], alone.hidden_states[0], atol=2e-5)
        assert torch.allclose(together.pooled[number], alone.pooled[0], atol=2e-5)
        assert not together.hidden_states[number][~real].any()


def test_whisper_states_are_those_of_transformers(tmp_path: Path) -> None:
    """With padding to the window, the states are the ones that the reference extractor and encoder give."""
    encoder = build(tmp_path, "whisper")
    wave = decode_wave(sound(1.0))
    features = encoder.tower.extractor(wave, sampling_rate=16_000, return_tensors="pt")["input_features"]
    reference = encoder.tower.model(features).last_hidden_state[0, :41]
    states = encoder.encode([encoder.preprocess(sound(1.0))]).hidden_states[0]
    assert states.shape == (41, 32)  # the analysis window of the 41st still touches the clip
    assert torch.allclose(states, reference, atol=1e-4)


def test_masked_whisper_on_a_full_window_is_the_reference_encoder(tmp_path: Path) -> None:
    """The variant for any length computes what `WhisperEncoder.forward` computes where nothing is padded."""
    encoder = build(tmp_path, "masked whisper")
    features = encoder.preprocess(sound(2.0))
    reference = encoder.tower.model(features.T[None]).last_hidden_state[0]
    assert torch.allclose(encoder.encode([features]).hidden_states[0], reference, atol=1e-5)


def test_frames_count_as_long_as_the_clip_lasts(tmp_path: Path) -> None:
    """0.37 s at 12.5 ms a frame and two frames a state are 15 states, in whatever company."""
    encoder = build(tmp_path, "masked whisper")
    output = encoder.encode([encoder.preprocess(sound(seconds)) for seconds in (1.5, 0.37)])
    assert output.attention_mask.sum(1).tolist() == [60, 15]


def test_downsampling_averages_real_neighbours(tmp_path: Path) -> None:
    """Three states become their mean, the rest at the end its own; the fingerprint tells the two encoders apart."""
    fine, coarse = build(tmp_path, "masked whisper"), build(tmp_path, "masked whisper", downsample=3)
    batch = [fine.preprocess(sound(seconds)) for seconds in (0.4, 1.0)]
    states, averaged = fine.encode(batch), coarse.encode(batch)
    assert averaged.attention_mask.sum(1).tolist() == [6, 14]
    assert torch.allclose(averaged.hidden_states[0, 0], states.hidden_states[0, :3].mean(0), atol=1e-5)
    assert torch.allclose(averaged.hidden_states[0, 5], states.hidden_states[0, 15], atol=1e-5)
    assert torch.allclose(averaged.pooled, states.pooled, atol=1e-5)
    assert fine.fingerprint != coarse.fingerprint


@pytest.mark.parametrize("file_format", ["WAV", "FLAC", "OGG", "MP3"])
def test_any_rate_and_channels_become_one_channel_at_16_khz(file_format: str) -> None:
    """A stereo 8 kHz file lasts as long as before and sounds like the mono 16 kHz one."""
    wave = decode_wave(sound(1.0, 8000, 2, file_format))
    assert wave.dtype == np.float32
    assert abs(len(wave) - 16_000) < 1_300  # MP3 pads its ends
    if file_format in ("WAV", "FLAC"):
        spectrum = np.abs(np.fft.rfft(wave))
        assert np.argmax(spectrum) < 1000  # bin = Hz: the chirp runs from 200 to 800 Hz


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"no sound at all", "wrong_format"),
        (b"", "wrong_format"),
        (sound(0.0), "too_short"),
    ],
)
def test_bad_sound_has_a_typed_reason(tmp_path: Path, data: bytes, reason: str) -> None:
    """What cannot be used raises MediaError with the ledger's reason."""
    encoder = build(tmp_path, "masked whisper")
    with pytest.raises(MediaError) as caught:
        encoder.preprocess(data)
    assert caught.value.reason == reason


@pytest.mark.parametrize("name", MODELS)
def test_saved_encoders_come_back_the_same(tmp_path: Path, name: str) -> None:
    """A saved folder holds safetensors only and gives the same fingerprint and states."""
    encoder = build(tmp_path, name, downsample=2)
    encoder.save(tmp_path / "saved")
    kind = MODELS[name][0]
    loaded = build_audio_encoder(EncoderOptions(kind=kind, weights=str(tmp_path / "saved"), downsample=2, device="cpu"))
    assert loaded.fingerprint == encoder.fingerprint
    assert {path.suffix for path in (tmp_path / "saved").iterdir()} == {".json", ".safetensors"}
    clip = encoder.preprocess(sound(0.8))
    assert torch.equal(loaded.encode([clip]).hidden_states, encoder.encode([clip]).hidden_states)


def test_a_whole_whisper_model_lends_its_encoder(tmp_path: Path) -> None:
    """A folder written by transformers with encoder and decoder, as the hub has them, gives the encoder's states."""
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    model = WhisperForConditionalGeneration(WhisperConfig(**WHISPER)).eval()
    model.save_pretrained(tmp_path / "hub")
    extractor = WhisperFeatureExtractor(**EXTRACTOR)
    extractor.save_pretrained(tmp_path / "hub")
    encoder = build_audio_encoder(EncoderOptions(kind="whisper", weights=str(tmp_path / "hub"), device="cpu"))
    features = extractor(decode_wave(sound(2.0)), sampling_rate=16_000, return_tensors="pt")["input_features"]
    reference = model.get_encoder()(features).last_hidden_state
    states = encoder.encode([encoder.preprocess(sound(2.0))]).hidden_states
    assert torch.allclose(states, reference, atol=1e-4)


@pytest.mark.parametrize("endpoint", ["https://127.0.0.1:9", "https://192.0.2.1"])
def test_an_unreachable_hub_fails_within_5_seconds(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Refused or silent, the hub is given up on quickly, and the message says what to do."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    started = time.monotonic()
    with pytest.raises(EncoderError, match=r"no-such-org/no-such-whisper.*cannot be reached.*data/encoders/audio"):
        build_audio_encoder(EncoderOptions(kind="whisper", weights="no-such-org/no-such-whisper"))
    assert time.monotonic() - started < 5


def test_wrong_folders_and_files_are_refused_with_a_cure(tmp_path: Path) -> None:
    """An absent folder, an absent architecture, no JSON and another family each name what is wrong."""
    with pytest.raises(EncoderError, match=r"has no config\.json"):
        build_audio_encoder(EncoderOptions(kind="whisper", weights=str(tmp_path / "absent")))
    with pytest.raises(EncoderError, match=r"conf/models/sample-audio\.json"):
        build_audio_encoder(EncoderOptions(kind="whisper"))
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(EncoderError, match="does not describe"):
        build_audio_encoder(EncoderOptions(kind="whisper", model=str(tmp_path / "bad.json")))
    build(tmp_path, "hubert").save(tmp_path / "hubert")
    with pytest.raises(EncoderError, match="hubert model, but `kind` is whisper"):
        build_audio_encoder(EncoderOptions(kind="whisper", weights=str(tmp_path / "hubert")))


def test_an_encoder_without_a_head_reads_nothing(tmp_path: Path) -> None:
    """One with a head reads each clip, alone as in a batch, and is another encoder by its fingerprint."""
    encoder = build(tmp_path, "masked whisper")
    clips = [encoder.preprocess(sound(seconds)) for seconds in (0.5, 1.0)]
    assert encoder.encode(clips).readings == ()
    torch.manual_seed(0)
    reader = AudioEncoder(encoder.tower, "whisper", head=CTCHead(encoder.hidden_size))
    assert reader.fingerprint != encoder.fingerprint
    assert reader.encode(clips).readings == tuple(reader.encode([clip]).readings[0] for clip in clips)
