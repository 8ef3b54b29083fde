"""The audio tower learns what sounds say, keeps what it learnt, and the shipped one knows the sample's speech."""

import io
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from multimodal.encoders.audio import build_audio_encoder
from multimodal.encoders.options import EncoderOptions
from multimodal.encoders.pretraining.audio import clips_of, pretrain_audio, score_transcripts
from multimodal.encoders.pretraining.augmentation import Augmentation
from multimodal.encoders.pretraining.clips import Clip, spoken_clips, to_int16
from multimodal.encoders.pretraining.options import PretrainOptions
from multimodal.encoders.towers import SAMPLING_RATE
from multimodal.synthetic.ogg import encode_ogg
from multimodal.synthetic.speech import VOICES, speak
from multimodal.synthetic.utterances import corpus_utterance, is_for_corpus

SHIPPED = Path(__file__).parents[3] / "data" / "encoders" / "audio"
TINY = {
    "num_mel_bins": 20, "d_model": 64, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 128,
    "dropout": 0.0, "max_source_positions": 60, "pad_to_window": False,
    "extractor": {"feature_size": 20, "hop_length": 320, "n_fft": 400, "chunk_length": 3},
}  # fmt: skip
NOTES = {"la": 300, "do": 900, "mi": 2700}
needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")


def melody(rng: random.Random) -> Clip:
    """Two sung words: a note of 0.3 s each, with a pause before each."""
    words = [rng.choice(sorted(NOTES)) for _ in range(2)]
    times = np.arange(int(0.3 * SAMPLING_RATE)) / SAMPLING_RATE
    notes = [part for word in words for part in (0 * times[:1600], 0.3 * np.sin(2 * np.pi * NOTES[word] * times))]
    return Clip(to_int16(np.concatenate(notes).astype(np.float32)), " ".join(words), "")


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> EncoderOptions:
    path = tmp_path_factory.mktemp("model") / "tiny.json"
    path.write_text(json.dumps(TINY))
    training = PretrainOptions(steps=200, batch_size=16, learning_rate=2e-3, warmup_steps=20, weight_decay=0.01)
    return EncoderOptions(kind="whisper", model=str(path), pretrain=training, device="cpu")


def test_a_tower_learns_to_read_and_is_kept_with_its_head(options: EncoderOptions, tmp_path: Path) -> None:
    """After some seconds of training on melodies new ones are transcribed, by the saved encoder as well."""
    rng = random.Random(0)
    losses: list[float] = []
    trained = pretrain_audio(options, [melody(rng) for _ in range(200)], log=lambda _, m: losses.append(m["ctc_loss"]))
    assert losses[-1] < losses[0] / 2
    score = score_transcripts(trained.encoder, held_out := [melody(rng) for _ in range(30)])
    assert score.wer < 0.2
    trained.encoder.save(tmp_path / "audio")
    loaded = build_audio_encoder(EncoderOptions(kind="whisper", weights=str(tmp_path / "audio"), device="cpu"))
    assert loaded.fingerprint == trained.encoder.fingerprint
    assert score_transcripts(loaded, held_out) == score


def test_pretraining_stops_when_its_minutes_are_over(options: EncoderOptions) -> None:
    """A limit of no time at all ends after the first step."""
    limited = options.pretrain.model_copy(update={"max_minutes": 1e-6})
    clips = [melody(random.Random(1)) for _ in range(16)]
    assert pretrain_audio(options.model_copy(update={"pretrain": limited}), clips).steps == 1


def test_augmentation_changes_values_but_never_length(options: EncoderOptions) -> None:
    """No two visits of a clip are the same, and each has all its frames."""
    tower = build_audio_encoder(options).tower
    augment, clip = Augmentation(tower, PretrainOptions(), np.random.default_rng(0)), melody(random.Random(2))
    plain, first, second = tower.inputs(clip.wave), augment(clip.wave), augment(clip.wave)
    assert plain.shape == first.shape == second.shape
    assert not torch.equal(first, second)


def test_clips_of_a_dataset_are_decoded_and_resampled() -> None:
    """A sound file of 8 kHz becomes a clip of 16 kHz with its transcript."""
    file = io.BytesIO()
    soundfile.write(file, np.sin(np.arange(4000) / 4) / 2, 8000, format="WAV")
    (clip,) = clips_of([(file.getvalue(), "two")])
    assert abs(len(clip.samples) - 8000) <= 1
    assert clip.text == "two"
    assert 0.4 < np.abs(clip.wave).max() < 0.6


@needs_espeak
def test_spoken_clips_are_made_once_and_keep_the_corpus_apart(tmp_path: Path) -> None:
    """The second call reads the cache; training never speaks a sentence of the corpus, held-out clips only those."""
    made = spoken_clips(tmp_path, 16, seed=1, held_out=4)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = spoken_clips(tmp_path, 16, seed=1, held_out=4)
    assert stamps == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert [len(made.train), len(made.seen_voices), len(made.unseen_voice)] == [16, 4, 4]
    assert not any(is_for_corpus(clip.text) for clip in made.train)
    assert all(is_for_corpus(clip.text) for clip in (*made.seen_voices, *made.unseen_voice))
    for ours, theirs in zip(made.train, again.train, strict=True):
        assert np.array_equal(ours.samples, theirs.samples)


@needs_espeak
def test_the_shipped_tower_transcribes_new_sentences_of_the_sample_voices() -> None:
    """Greedy CTC transcripts of sentences that pretraining never spoke, coded as the corpus is: WER at most 10 %."""
    encoder = build_audio_encoder(EncoderOptions(kind="whisper", weights=str(SHIPPED), device="cpu"))
    rng = random.Random(99)
    pairs = []
    for number in range(20):
        sentence = corpus_utterance(rng, for_corpus=True)
        pairs.append((encode_ogg(speak(sentence, VOICES[number % 3]), SAMPLING_RATE, serial=0), sentence))
    assert score_transcripts(encoder, clips_of(pairs)).wer <= 0.1


def test_the_shipped_tower_is_small() -> None:
    """The folder holds safetensors and JSON only, at most 6 MB."""
    files = list(SHIPPED.iterdir())
    assert {file.suffix for file in files} == {".json", ".safetensors"}
    assert sum(file.stat().st_size for file in files) <= 6_000_000
