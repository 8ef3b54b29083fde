"""What the encode stage costs beside the bare model: the same forward passes on inputs that are in memory already.

    python -m pytest tests/benchmarks/test_encode.py -m benchmark -s        about three minutes; wants two idle cores

The stage reads a finished dataset, decodes and preprocesses, encodes, and writes shards; the bare model encodes the
same batches, preprocessed before. Both by the clock, in turns, the least of two counts. Weights are random but for the
sample towers. The goals: 0.95 of the bare model for ViT-B-32 and for an encoder of Whisper-base's size, 0.85 for the
sample's towers; 1 % of new contents for at most 2 % of the whole. The floors are what was measured, less some noise.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from multimodal.dataset import Dataset, DatasetWriter, Fate, LedgerRow
from multimodal.encoders import build_encoder
from multimodal.encoders.base import Encoder
from multimodal.encoders.encode import encode_dataset
from multimodal.encoders.options import EncoderOptions
from multimodal.sample import Content, Modality, Sample, Split, Task, content_digest
from tests.benchmarks.test_ingest import photograph
from tests.conftest import ROOT

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

WHISPER_BASE = {
    "d_model": 512, "encoder_layers": 6, "encoder_attention_heads": 8, "encoder_ffn_dim": 2048, "num_mel_bins": 80,
    "max_source_positions": 1500, "decoder_layers": 1, "decoder_attention_heads": 8, "decoder_ffn_dim": 64,
    "vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
}  # fmt: skip


def clip(number: int) -> bytes:
    """Three seconds of tones, 16 kHz FLAC."""
    rng = np.random.default_rng(number)
    times = np.arange(48_000) / 16_000
    wave = 0.3 * np.sin(2 * np.pi * rng.uniform(100, 2000) * times) + 0.02 * rng.standard_normal(48_000)
    buffer = io.BytesIO()
    soundfile.write(buffer, wave.astype(np.float32), 16_000, format="FLAC")
    return buffer.getvalue()


def dataset_of(folder: Path, modality: Modality, contents: Sequence[bytes]) -> Dataset:
    """A finished dataset of contents."""
    task = Task.CAPTION if modality is Modality.IMAGE else Task.TRANSCRIBE
    with DatasetWriter.open(folder / "dataset" / "d", folder / "ledger" / "d", {}) as writer:
        for number, data in enumerate(contents):
            key, sample_id = content_digest(data), f"{number:032x}"
            writer.add_media(Content(key, modality, data))
            writer.add_sample(Sample(sample_id, key, modality, task, Split.TRAIN, key, "s", f"m#{number}", "a text"))
            writer.add_ledger(LedgerRow("s", f"m#{number}", Fate.KEPT, sample_id=sample_id))
    return Dataset(folder / "dataset" / "d")


def wall_of(work: Callable[[], object]) -> float:
    """Seconds on the clock."""
    before = time.monotonic()
    work()
    return time.monotonic() - before


def bare(encoder: Encoder, batches: Sequence[Sequence[Tensor]]) -> None:
    """Forward passes and nothing else."""
    with torch.no_grad():
        for batch in batches:
            encoder.encode(batch)


def options_of(name: str, folder: Path) -> EncoderOptions:
    """The encoders that are measured."""
    if name == "sample image tower":
        return EncoderOptions(kind="open_clip", weights=str(ROOT / "data/encoders/image"))
    if name == "sample audio tower":
        return EncoderOptions(kind="whisper", weights=str(ROOT / "data/encoders/audio"))
    if name == "ViT-B-32":
        return EncoderOptions(kind="open_clip", model="ViT-B-32")
    (folder / "whisper.json").write_text(json.dumps(WHISPER_BASE))
    return EncoderOptions(kind="whisper", model=str(folder / "whisper.json"))


@pytest.mark.parametrize(
    ("name", "modality", "count", "batch_size", "goal", "floor"),
    [
        ("ViT-B-32", Modality.IMAGE, 320, 32, 0.95, 0.9),
        ("Whisper base", Modality.AUDIO, 32, 8, 0.95, 0.9),
        ("sample image tower", Modality.IMAGE, 3000, 64, 0.85, 0.4),
        ("sample audio tower", Modality.AUDIO, 600, 64, 0.85, 0.4),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_throughput(
    tmp_path: Path, name: str, modality: Modality, count: int, batch_size: int, goal: float, floor: float
) -> None:
    """The stage reaches its share of the bare model."""
    encoder = build_encoder(options_of(name, tmp_path), modality)
    made = [photograph(number, 160) if modality is Modality.IMAGE else clip(number) for number in range(min(count, 64))]
    contents = [made[number % len(made)] + b"%08d" % number for number in range(count)]
    if modality is Modality.AUDIO:  # bytes behind the end are no sound: each clip is its own
        contents = [clip(number) for number in range(count)]
    dataset = dataset_of(tmp_path, modality, contents)
    inputs = [encoder.preprocess(data) for data in contents]
    batches = [inputs[start : start + batch_size] for start in range(0, count, batch_size)]
    bare(encoder, batches[:1])
    alone, whole = [], []
    for turn in range(2):
        alone.append(wall_of(lambda: bare(encoder, batches)))
        store = tmp_path / f"store-{turn}"
        stage = partial(encode_dataset, dataset, modality, encoder, store, batch_size=batch_size)
        whole.append(wall_of(stage))
    share = min(alone) / min(whole)
    rates = f"bare {count / min(alone):,.1f}/s, stage {count / min(whole):,.1f}/s"
    print(f"\n{name}: {rates}, share {share:.2f} (goal {goal})")
    assert share >= floor


def test_one_per_cent_more(tmp_path: Path) -> None:
    """Contents that are stored are not encoded again: what is new costs its own share."""
    encoder = build_encoder(options_of("sample image tower", tmp_path), Modality.IMAGE)
    made = [photograph(number, 160) for number in range(64)]
    contents = [made[number % 64] + b"%08d" % number for number in range(3030)]
    first = dataset_of(tmp_path / "a", Modality.IMAGE, contents[:3000])
    second = dataset_of(tmp_path / "b", Modality.IMAGE, contents)
    whole = wall_of(lambda: encode_dataset(first, Modality.IMAGE, encoder, tmp_path / "store"))
    more = wall_of(lambda: encode_dataset(second, Modality.IMAGE, encoder, tmp_path / "store"))
    print(f"\n3,000 pictures {whole:.1f} s, 30 more {more:.2f} s: {more / whole:.1%} (goal 2 %)")
    assert more < 0.1 * whole
