"""The audio encoder: a frozen transformers encoder of the Whisper, the wav2vec 2.0 or the CLAP family."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pad_sequence

from multimodal.encoders.audio_models import FRESH_EXTRACTOR, TOWERS, fresh_model, load_head, load_model, load_tokenizer
from multimodal.encoders.base import Encoder, EncoderOutput, Preparation, TokenRate, pick_device
from multimodal.encoders.clap import ClapTower
from multimodal.encoders.ctc import ALPHABET, CTC_HEAD, CTCHead, greedy_texts
from multimodal.encoders.hub import local_copy, no_progress_bars, shipped_instead
from multimodal.encoders.options import EncoderOptions
from multimodal.encoders.silence import trim_silence
from multimodal.encoders.text import average_neighbours
from multimodal.encoders.towers import SAMPLING_RATE, SpeechTower, Wave
from multimodal.encoders.weights import state_digest
from multimodal.errors import EncoderError
from multimodal.fingerprint import digest, new_folder, write_file
from multimodal.ingest.sounds import decode_sound
from multimodal.sample import Modality

_SHIPPED = "data/encoders/audio"


@dataclass(frozen=True, slots=True)
class Hearing:
    """A sound file's bytes as the wave that a tower hears, float32 [samples].

    Args:
        sampling_rate: in Hz.
        trim_silence_db: what is silent before and behind a clip is left out, where silent means this many dB below its
            loudest part; None: nothing is.
    """

    sampling_rate: int
    trim_silence_db: float | None = None

    def __call__(self, data: bytes) -> Wave:
        """The wave; raises MediaError where the bytes are no sound."""
        wave = decode_wave(data, self.sampling_rate)
        return wave if self.trim_silence_db is None else trim_silence(wave, self.sampling_rate, self.trim_silence_db)


class AudioEncoder(Encoder):
    """Hidden states of sound, averaged over `downsample` neighbours; `pooled` is the mean of the real states.

    Clips longer than the model's window are cut into windows that overlap, and their states joined. Where the model
    has its own vector of a window (CLAP), `pooled` is the mean direction of these.

    Args:
        tower: the model and its feature extractor.
        kind: family of the tower: `whisper`, `wav2vec2` or `clap`.
        downsample: this many neighbouring states become their mean.
        device: where the model runs; outputs are on the CPU.
        head: reads characters from states, where the tower was pretrained with one.
        changed: options of cutting and trimming that are not at their defaults; they are part of the fingerprint.
    """

    modality = Modality.AUDIO

    def __init__(
        self,
        tower: SpeechTower,
        kind: str,
        downsample: int = 1,
        device: torch.device | None = None,
        head: CTCHead | None = None,
        changed: dict[str, Any] | None = None,
    ) -> None:
        self.device = device or torch.device("cpu")
        self.tower = tower.to(self.device).float().eval().requires_grad_(False)
        self.head = head.to(self.device).float().eval().requires_grad_(False) if head else None
        self.kind, self.downsample = kind, downsample
        self.hidden_size, self.pooled_size = tower.hidden_size, tower.pooled_size
        self.tokens = TokenRate(tower.tokens_per_second / downsample, "second")
        changed = changed or {}
        self.hearing = Hearing(tower.sampling_rate, changed.get("trim_silence_db"))
        weights = [state_digest(module.state_dict()) for module in (tower, head) if module is not None]
        parts = [kind, downsample, _architecture(tower), *weights]
        self.fingerprint = digest(parts + ([changed] if changed else []))[:16]
        self.weights_sha256 = digest(weights) if head else weights[0]
        heard = [asdict(self.hearing), tower.extractor.to_dict(), asdict(tower.windows)]
        self.preprocessing_hash = digest([kind, *heard])

    def preprocess(self, data: bytes) -> Tensor:
        """Inputs of the tower, float32 [frames, mel bins] or [samples], from a sound file of any rate and channels.

        Raises:
            MediaError: the bytes are no sound, an empty one, or hold NaN.
        """
        return self.tower.inputs(self.hearing(data))

    def preparation(self) -> Preparation:
        """The tower's own inputs of decoded waves."""
        return Preparation(self.hearing, self.tower.without_weights().inputs)

    @torch.no_grad()
    def encode(self, batch: Sequence[Tensor]) -> EncoderOutput:
        """Hidden states [b, ceil(n / downsample), d] of preprocessed clips, and their greedy CTC transcripts."""
        states, mask, pooled = self._states(batch)
        readings = tuple(greedy_texts(self.head(states), mask)) if self.head else ()
        if pooled is None:
            pooled = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        states, mask = average_neighbours(states, mask, self.downsample)
        return EncoderOutput((states * mask[..., None]).cpu(), mask.cpu(), pooled.cpu(), readings)

    def _states(self, batch: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor | None]:
        """States of whole clips [b, n, d], their mask, and the model's own pooled vectors where it has them."""
        windows = [self.tower.cut(row.to(self.device)) for row in batch]
        flat = [window for row in windows for window in row]
        real: list[Tensor] = []
        pooled: list[Tensor] = []
        # As many windows at once as clips: one long clip takes no more memory than as many clips of one window.
        for start in range(0, len(flat), len(batch)):
            output = self.tower.encode(flat[start : start + len(batch)])
            real += [row[kept] for row, kept in zip(output.states.float(), output.mask, strict=True)]
            pooled += [] if output.pooled is None else output.pooled.float().unbind(0)
        counts = [len(row) for row in windows]
        joined = [self.tower.windows.join(group) for group in _groups(real, counts)]
        lengths = torch.tensor([len(row) for row in joined], device=self.device)
        longest = torch.arange(int(lengths.max()), device=self.device)
        means = torch.stack([_mean_direction(group) for group in _groups(pooled, counts)]) if pooled else None
        return pad_sequence(joined, batch_first=True), longest[None] < lengths[:, None], means

    @property
    def has_text_side(self) -> bool:
        """Whether `embed_texts` gives vectors to compare `pooled` ones with: CLAP with both of its towers."""
        return isinstance(self.tower, ClapTower) and self.tower.has_text_side

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Vectors of texts in the space of `pooled`, normalised, float32 [texts, pooled_size] on the CPU.

        Raises:
            EncoderError: the encoder has no text side.
        """
        if not isinstance(self.tower, ClapTower) or not self.tower.has_text_side:
            raise EncoderError("this audio encoder has no text tower with its tokenizer; CLAP models have both")
        return self.tower.embed_texts(texts).float().cpu()

    def save(self, folder: Path) -> None:
        """Write config, feature extractor and weights; float16 where that loses nothing, else float32."""
        model = copy.deepcopy(self.tower.model).cpu()
        floats = [tensor for tensor in model.state_dict().values() if tensor.is_floating_point()]
        if all(torch.equal(tensor.half().float(), tensor) for tensor in floats):
            model = model.half()
        with new_folder(folder) as new, no_progress_bars():
            model.save_pretrained(new)
            self.tower.extractor.save_pretrained(new)
            if isinstance(self.tower, ClapTower) and self.tower.tokenizer is not None:
                self.tower.tokenizer.save_pretrained(new)
            if self.head is not None:
                tensors = {name: tensor.cpu().contiguous() for name, tensor in self.head.state_dict().items()}
                write_file(new / CTC_HEAD, save(tensors, metadata={"alphabet": ALPHABET}))


def decode_wave(data: bytes, sampling_rate: int = SAMPLING_RATE) -> Wave:
    """A sound file's bytes as one channel at a sampling rate in Hz: float32 [samples].

    Raises:
        MediaError: the bytes are no sound, an empty one, or hold NaN.
    """
    sound = decode_sound(data)
    wave: Wave = soxr.resample(sound.wave, sound.sampling_rate, sampling_rate).astype(np.float32)
    return wave if len(wave) else np.zeros(1, dtype=np.float32)


def build_audio_encoder(options: EncoderOptions) -> AudioEncoder:
    """The audio encoder that the options name: `weights` (folder or hub id), else a fresh one of the JSON `model`.

    Raises:
        EncoderError: neither is given, a file is absent or wrong, weights are pickled and this is not allowed, or the
            hub cannot be reached (found out in 2 s).
    """
    head = folder = None
    if options.weights is None:
        torch.manual_seed(options.pretrain.seed)
        model, extractor = fresh_model(options.kind, options.model)
    else:
        folder = local_copy(options.weights, shipped_instead(_SHIPPED), options.allow_pickle)
        with no_progress_bars():
            model, extractor = load_model(options.kind, folder, options.allow_pickle)
        head = load_head(folder / CTC_HEAD, model)
    tower = TOWERS[options.kind](model, extractor, options.overlap)
    if isinstance(tower, ClapTower) and folder is not None:
        tower.tokenizer = load_tokenizer(folder)
    changed = options.changed("overlap", "trim_silence_db")
    return AudioEncoder(tower, options.kind, options.downsample, pick_device(options.device), head, changed)


def _groups(items: Sequence[Tensor], counts: Sequence[int]) -> list[Sequence[Tensor]]:
    """Neighbours by these counts, in order."""
    ends = np.cumsum(counts).tolist()
    return [items[end - count : end] for end, count in zip(ends, counts, strict=True)]


def _mean_direction(vectors: Sequence[Tensor]) -> Tensor:
    """The one vector there is, or the direction of the mean of several."""
    return vectors[0] if len(vectors) == 1 else normalize(torch.stack(list(vectors)).mean(0), dim=-1)


def _architecture(tower: SpeechTower) -> dict[str, Any]:
    """What makes the encoder besides its weights, without the versions and paths that transformers adds."""
    dropped = ("transformers_version", "_name_or_path", "dtype", "torch_dtype", "architectures", "_attn_implementation")
    values = tower.model.config.to_diff_dict() | {FRESH_EXTRACTOR: tower.extractor.to_dict()}
    return {key: value for key, value in values.items() if key not in dropped}
