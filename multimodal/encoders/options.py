"""What can be said about encoders and their pretraining."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from multimodal.encoders.pretraining.options import PretrainOptions
from multimodal.options import Options
from multimodal.pairs.options import PairOptions
from multimodal.runners.options import Runner, RunnerOptions
from multimodal.sample import Modality
from multimodal.storage import Storage

SOUND_KINDS = ("whisper", "wav2vec2", "clap")
PRETRAINED_KINDS = ("transformers", "clap")
"""Kinds of towers that are not trained from scratch here."""


class EncoderOptions(Options):
    """One frozen encoder.

    Args:
        kind: `open_clip` (image, or text: its text tower), `transformers` (image: SigLIP and SigLIP 2, DINOv2, DINOv3),
            `whisper`, `wav2vec2` (wav2vec 2.0, HuBERT and WavLM) or `clap` (audio), `bytes` (text: a T5 encoder over
            bytes, ByT5).
        model: architecture: an open_clip model name, or a JSON file of a small one. None: the weights' folder says.
        weights: an open_clip pretrained tag, a hub id, a local file or folder (safetensors), or a registered encoder
            (`models:/name/3`, `models:/name@champion`), which the flows fetch.
            None: the tower is trained on the train split of the run's own dataset, as `pretrain` says.
        allow_pickle: also load pickled checkpoints, with torch's `weights_only`; otherwise they are refused.
        pretrain: how, where `weights` is None.
        batch_size: contents encoded at once; `auto` measures. Halved whenever memory runs out.
        overlap: share of a window that two windows of a clip have in common, where it is longer than what the encoder
            hears at once; each state comes from the window that hears more of what is around it.
        trim_silence_db: audio only: leave out what is silent before and behind a clip, where silent means this many dB
            below its loudest 25 ms. None, the default: clips are heard whole.
        downsample: average this many neighbouring states into one; for pictures, squares of this many a side.
        storage: how hidden states are stored: `float16`, `bfloat16`, or `int8` with one scale per token. Part of the
            encoder's fingerprint, so that latents of two storages never share a store.
        precision: what the model computes in, `float32`, `bfloat16`, or `auto`: bfloat16 where it is measured to be
            faster and its states are near those of float32. Part of the encoder's fingerprint.
        decode_workers: threads or processes that decode; 0: one per core, at most four threads or eight processes.
        decode_in: `threads`, or `processes`, which take seconds to start, and keep a decoder that dies from ending
            the run.
        device: "cpu", "cuda", or "auto" for the GPU where there is one.
        origin: the registered version that `weights` was fetched from; the flows fill it in.
    """

    kind: Literal["open_clip", "transformers", "whisper", "wav2vec2", "clap", "bytes"]
    model: str | None = None
    weights: str | None = None
    allow_pickle: bool = False
    pretrain: PretrainOptions = PretrainOptions()
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = 64
    downsample: int = Field(default=1, ge=1, le=8)
    storage: Storage = Storage.FLOAT16
    overlap: float = Field(default=0.1, ge=0, le=0.5)
    trim_silence_db: float | None = Field(default=None, gt=0)
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    decode_workers: int = Field(default=0, ge=0, le=256)
    decode_in: Literal["threads", "processes"] = "threads"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    origin: str = ""

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> EncoderOptions:
        if self.kind in PRETRAINED_KINDS and self.weights is None:
            raise ValueError(
                f"an encoder of kind {self.kind} is not pretrained here; set `weights` to a folder or hub id"
            )
        if self.trim_silence_db is not None and self.kind not in SOUND_KINDS:
            raise ValueError(f"trim_silence_db is about sound; an encoder of kind {self.kind} hears none")
        return self

    def changed(self, *names: str) -> dict[str, Any]:
        """Those of the named options that differ from their defaults: what a fingerprint names, so that a new option
        leaves the fingerprints of before as they were."""
        return {
            name: getattr(self, name) for name in names if getattr(self, name) != type(self).model_fields[name].default
        }


class EncodeOptions(Options):
    """The encoders of the run, one per modality that its tasks need.

    Args:
        image, audio, text: the encoders.
        pairs: score how well pictures and sounds go with their texts, and leave out those that do not; None: neither.
        probe: how many stored contents of each modality are encoded again and compared, whenever the stage has
            something to do; 0: none.
        runner: who encodes: threads of this process, `processes`, or `ray`.
    """

    image: EncoderOptions | None = None
    audio: EncoderOptions | None = None
    text: EncoderOptions | None = None
    pairs: PairOptions | None = None
    probe: int = Field(default=4, ge=0)
    runner: Runner = RunnerOptions()

    @model_validator(mode="after")
    def _refuse_fresh_text_towers(self) -> EncodeOptions:
        if self.text is not None and self.text.kind == "open_clip" and self.text.weights is None:
            raise ValueError("text: an open_clip text tower is not pretrained here; set `weights`")
        return self

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
