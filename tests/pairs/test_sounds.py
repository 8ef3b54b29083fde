"""Sounds with their captions, by a CLAP model that has both towers."""

from dataclasses import replace

import pytest
import torch

from multimodal.encoders import build_encoder
from multimodal.encoders.options import EncoderOptions
from multimodal.latents import LatentStore, LatentWriter
from multimodal.pairs.known import KnownScores
from multimodal.pairs.scoring import score_samples
from multimodal.sample import Modality, Sample, Split, Task, content_digest
from tests.encoders.test_audio import sound
from tests.encoders.test_clap import folder_of
from tests.encoders.test_open_clip import word_tokenizer


def test_sounds_are_scored_by_clap(tmp_path):
    """Through the same interface as pictures: each cosine is that of transformers' own two vectors."""
    from transformers import AutoTokenizer, ClapModel

    folder = word_tokenizer(folder_of(tmp_path / "clap", fused=False))
    encoder = build_encoder(EncoderOptions(kind="clap", weights=str(folder), device="cpu"), Modality.AUDIO)
    assert encoder.has_text_side
    clips, texts = [sound(seconds=0.5 + number / 4) for number in range(3)], ["a red star", "a cat", "the mat"]
    blank = Sample("", "", Modality.AUDIO, Task.AUDIO_CAPTION, Split.TRAIN, "", "s", "s#0", "")
    samples = []
    with LatentWriter(tmp_path / "latents", encoder.fingerprint, encoder.hidden_size) as writer:
        for clip, text in zip(clips, texts, strict=True):
            output = encoder.encode([encoder.preprocess(clip)])
            content = content_digest(clip)
            writer.add(content, output.hidden_states[0].numpy(), output.pooled[0].numpy())
            samples.append(replace(blank, sample_id=content, content_id=content, group=content, text=text))
    found = score_samples(samples, LatentStore(tmp_path / "latents"), lambda: encoder, KnownScores(tmp_path / "known"))
    model, words = ClapModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    for clip, text, score in zip(clips, texts, found.scores, strict=True):
        with torch.no_grad():
            vector = model.get_text_features(**words(text, return_tensors="pt")).pooler_output[0]
        expected = torch.nn.functional.cosine_similarity(
            vector, encoder.encode([encoder.preprocess(clip)]).pooled[0], 0
        )
        assert score == pytest.approx(float(expected), abs=1e-5)
    assert len(set(found.scores.tolist())) == 3
