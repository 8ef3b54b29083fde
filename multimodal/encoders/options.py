"""What can be said about encoders and their pretraining."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from multimodal.encoders.pretraining.options import PretrainOptions
from multimodal.options import Options
from multimodal.pairs.options import PairOptions
from multimodal.sample import Modality
from multimodal.storage import Storage


class EncoderOptions(Options):
    """One frozen encoder.

    Args:
        kind: `open_clip` (image), `whisper` or `wav2vec2` (audio), `bytes` (text: a T5 encoder over bytes, ByT5).
        model: architecture: an open_clip model name, or a JSON file of a small one. None: the weights' folder says.
        weights: an open_clip pretrained tag, a hub id, a local file or folder (safetensors), or a registered encoder
            (`models:/name/3`, `models:/name@champion`), which the flows fetch.
            None: the tower is trained on the train split of the run's own dataset, as `pretrain` says.
        pretrain: how, where `weights` is None.
        batch_size: contents encoded at once.
        downsample: average this many neighbouring states into one; for pictures, squares of this many a side.
        storage: how hidden states are stored: `float16`, `bfloat16`, or `int8` with one scale per token. Part of the
            encoder's fingerprint, so that latents of two storages never share a store.
        device: "cpu", "cuda", or "auto" for the GPU where there is one.
        origin: the registered version that `weights` was fetched from; the flows fill it in.
    """

    kind: Literal["open_clip", "whisper", "wav2vec2", "bytes"]
    model: str | None = None
    weights: str | None = None
    pretrain: PretrainOptions = PretrainOptions()
    batch_size: int = Field(default=64, ge=1)
    downsample: int = Field(default=1, ge=1, le=8)
    storage: Storage = Storage.FLOAT16
    device: Literal["auto", "cpu", "cuda"] = "auto"
    origin: str = ""


class EncodeOptions(Options):
    """The encoders of the run, one per modality that its tasks need.

    Args:
        image, audio, text: the encoders.
        pairs: score how well pictures and sounds go with their texts, and leave out those that do not; None: neither.
    """

    image: EncoderOptions | None = None
    audio: EncoderOptions | None = None
    text: EncoderOptions | None = None
    pairs: PairOptions | None = None

    def of(self, modality: Modality) -> EncoderOptions | None:
        """The encoder of one modality, None where the configuration names none."""
        encoder: EncoderOptions | None = getattr(self, modality.value)
        return encoder


class SampleEncodersOptions(Options):
    """`multimodal pretrain CONF`: which towers to make from freshly generated scenes, utterances and sentences.

    Args:
        output: folder that receives `image/`, `audio/` and `text/`.
        image, audio, text: the towers to make; None leaves a tower as it is.
        espeak_clips: how many utterances are spoken (once, cached) for the audio tower to draw from.
    """

    output: Path = Path("data/encoders")
    workspace: Path = Path("workspace")
    image: EncoderOptions | None = None
    audio: EncoderOptions | None = None
    text: EncoderOptions | None = None
    espeak_clips: int = Field(default=12_000, ge=16)
