"""Every family of encoders through the shard function: the same latents whatever the batches, in every precision."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from multimodal.encoders import build_encoder
from multimodal.encoders.base import Encoder
from multimodal.encoders.options import EncoderOptions
from multimodal.encoders.shard import TOLERANCE, ShardEncoder, ShardOptions
from multimodal.sample import Modality
from multimodal.storage import Precision
from tests.encoders.test_audio import build as build_audio
from tests.encoders.test_clap import folder_of as clap_folder
from tests.encoders.test_image import build as build_image
from tests.encoders.test_open_clip import TEXT_MODELS
from tests.encoders.test_shard import as_tensors, contents_of
from tests.encoders.test_vision import saved as saved_vision


def _vision(name: str) -> Callable[[Path], Path]:
    return lambda folder: saved_vision(name, folder)


def _speech(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        build_audio(folder.parent, name).save(folder)
        return folder

    return make


def _clap(folder: Path) -> Path:
    return clap_folder(folder, fused=True)


def _clip(folder: Path) -> Path:
    build_image(TEXT_MODELS["clip"], folder.parent).save(folder)
    return folder


FAMILIES: dict[str, tuple[Modality, str, Callable[[Path], Path]]] = {
    "siglip": (Modality.IMAGE, "transformers", _vision("siglip")),
    "siglip2": (Modality.IMAGE, "transformers", _vision("siglip2")),
    "dinov3": (Modality.IMAGE, "transformers", _vision("dinov3")),
    "hubert": (Modality.AUDIO, "wav2vec2", _speech("hubert")),
    "clap": (Modality.AUDIO, "clap", _clap),
    "clip text": (Modality.TEXT, "open_clip", _clip),
}


def built(name: str, folder: Path, **values) -> Encoder:
    modality, kind, make = FAMILIES[name]
    options = EncoderOptions(kind=kind, weights=str(make(folder / "model")), device="cpu", **values)
    return build_encoder(options, modality)


@pytest.mark.parametrize("name", FAMILIES)
def test_preparation_is_preprocessing_and_travels_without_weights(tmp_path: Path, name: str) -> None:
    """What another process would prepare has the states of `preprocess`, to the bit."""
    encoder = built(name, tmp_path)
    sent = pickle.dumps(encoder.preparation())
    weight = next(iter(encoder.__dict__["tower" if encoder.modality == Modality.AUDIO else "model"].parameters()))
    assert weight.detach().numpy().tobytes()[:64] not in sent
    preparation = pickle.loads(sent)
    contents = contents_of(encoder.modality, 3)
    prepared = [preparation.transform(preparation.decode(content.data)) for content in contents]
    direct = encoder.encode([encoder.preprocess(content.data) for content in contents])
    assert torch.equal(encoder.encode(prepared).hidden_states, direct.hidden_states)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("precision", Precision)
def test_latents_are_those_of_any_batch_size(tmp_path: Path, name: str, precision: Precision) -> None:
    """Within the tolerance that the shard function states, pictures of any shape and clips of any length together."""
    encoder, contents = built(name, tmp_path, precision=str(precision)), contents_of(FAMILIES[name][0], 8)
    found = []
    for size in (1, 3, 64):
        with ShardEncoder(encoder, ShardOptions(size, 1)) as shard_encoder:
            shard = shard_encoder(contents)
        assert shard.count == len(contents) and not shard.failed
        found.append(as_tensors(shard, encoder, tmp_path / str(size)))
    for content_id, states in found[0].items():
        for others in found[1:]:
            assert (others[content_id] - states).norm() / states.norm() <= TOLERANCE[precision] + 2**-10
