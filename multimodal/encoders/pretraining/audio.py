"""The audio tower from scratch, by CTC over characters (Graves et al., 2006) with SpecAugment (Park et al., 2019)."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jiwer import wer
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from multimodal.encoders.audio import AudioEncoder, build_audio_encoder, decode_wave
from multimodal.encoders.ctc import CTCHead, ctc_loss, to_labels
from multimodal.encoders.options import EncoderOptions, PretrainOptions
from multimodal.encoders.pretraining.clips import Clip, Wave, to_int16
from multimodal.encoders.towers import SpeechTower, WhisperTower
from multimodal.optimizer import warmup_cosine

Progress = Callable[[int, int], None]
Log = Callable[[int, Mapping[str, float]], None]

_SORTED_BATCHES = 16
_LOG_EVERY = 50
_GAIN_DB = (-12.0, 3.0)
_NOISE_SHARE = 0.5
_NOISE_SNR_DB = (10.0, 40.0)
_MASKED_BINS = 12
_MASKED_SHARE_OF_TIME = 0.06


@dataclass(frozen=True, slots=True)
class AudioPretraining:
    """What came out of pretraining: an encoder that has a CTC head."""

    encoder: AudioEncoder
    steps: int
    minutes: float


@dataclass(frozen=True, slots=True)
class TranscriptScore:
    """Word error rate of greedy CTC transcripts, all errors over all words, and the share of exact transcripts."""

    wer: float
    exact: float
    count: int


class _Trainee(nn.Module):
    """The tower and its head."""

    def __init__(self, tower: SpeechTower) -> None:
        super().__init__()
        self.tower, self.head = tower, CTCHead(tower.hidden_size)

    def forward(self, batch: Sequence[Tensor], labels: Sequence[Sequence[int]]) -> Tensor:
        """CTC loss of preprocessed clips."""
        states, mask = self.tower(batch)
        return ctc_loss(self.head(states), mask, labels)


def clips_of(contents: Iterable[tuple[bytes, str]]) -> list[Clip]:
    """Clips of a dataset's (sound bytes, transcript) pairs, for `pretrain_audio`.

    Raises:
        MediaError: bytes that cannot be decoded (ingest lets none through).
    """
    return [Clip(to_int16(decode_wave(data)), text, "") for data, text in contents]


def pretrain_audio(
    options: EncoderOptions, clips: Sequence[Clip], progress: Progress | None = None, log: Log | None = None
) -> AudioPretraining:
    """Train an audio encoder from scratch on clips with transcripts until steps or minutes run out.

    Args:
        options: kind, architecture, downsampling and `pretrain`; its `weights` are not read.
        clips: what to learn from; clips without a character of the alphabet are left out.
        progress: called with (steps done, steps).
        log: called every 50 steps with the mean loss.

    Raises:
        EncoderError: the architecture file is absent or wrong.
    """
    training, started = options.pretrain, time.monotonic()
    encoder = build_audio_encoder(options.model_copy(update={"weights": None}))
    trainee = _Trainee(encoder.tower.requires_grad_(True)).to(encoder.device).train()
    freeze_fixed_positions(encoder.tower)
    labelled = [clip for clip in clips if to_labels(clip.text)]
    steps = _train(trainee, labelled, training, progress, log)
    for parameter in trainee.parameters():
        parameter.data = parameter.data.half().float()  # so that saving in float16 loses nothing
    minutes = (time.monotonic() - started) / 60
    trained = AudioEncoder(encoder.tower, options.kind, options.downsample, encoder.device, trainee.head)
    return AudioPretraining(trained, steps, minutes)


def freeze_fixed_positions(tower: SpeechTower) -> None:
    """Whisper's encoder positions are sinusoids, not weights."""
    if isinstance(tower, WhisperTower):
        tower.model.embed_positions.requires_grad_(False)


def _train(
    trainee: _Trainee, clips: Sequence[Clip], options: PretrainOptions, progress: Progress | None, log: Log | None
) -> int:
    device = next(trainee.parameters()).device
    weights = [parameter for parameter in trainee.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(weights, options.learning_rate, betas=(0.9, 0.98), weight_decay=options.weight_decay)
    batches = _batches(clips, options.batch_size, random.Random(options.seed))
    augment = Augmentation(trainee.tower, np.random.default_rng(options.seed))
    started, done, total = time.monotonic(), 0.0, 0.0
    for step in range(1, options.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * warmup_cosine(step - 1, options.warmup_steps, done, floor=0)
        batch = next(batches)
        inputs = [augment(clip.wave).to(device) for clip in batch]
        # The flash kernel's backward is the slower one on CPUs at these lengths.
        with torch.autocast(device.type, torch.bfloat16), sdpa_kernel([SDPBackend.MATH]):
            loss = trainee(inputs, [to_labels(clip.text) for clip in batch])
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        total += float(loss.detach())
        elapsed = (time.monotonic() - started) / 60
        done = max(step / options.steps, elapsed / (options.max_minutes or math.inf))
        if log and (step % _LOG_EVERY == 0 or done >= 1):
            since = step % _LOG_EVERY or _LOG_EVERY  # steps since the last log
            log(step, {"ctc_loss": total / since, "minutes": elapsed})
            total = 0.0
        if progress:
            progress(step, options.steps)
        if done >= 1:
            return step
    return options.steps


def _batches(clips: Sequence[Clip], batch_size: int, rng: random.Random) -> Iterator[list[Clip]]:
    """Endless batches of clips of like length, so that little is padding."""
    while True:
        order = rng.sample(range(len(clips)), len(clips))
        for start in range(0, len(order), batch_size * _SORTED_BATCHES):
            pool = sorted(order[start : start + batch_size * _SORTED_BATCHES], key=lambda i: len(clips[i].samples))
            batches = [pool[first : first + batch_size] for first in range(0, len(pool), batch_size)]
            rng.shuffle(batches)
            yield from ([clips[number] for number in batch] for batch in batches)


class Augmentation:
    """Gain, noise and SpecAugment: no two visits of a clip are the same.

    Args:
        tower: turns waves into inputs; the spectrum is masked where inputs are spectra.
        rng: draws everything.
    """

    def __init__(self, tower: SpeechTower, rng: np.random.Generator) -> None:
        from torchaudio.transforms import FrequencyMasking, TimeMasking

        self._tower, self._rng = tower, rng
        self._bins, self._time = FrequencyMasking(_MASKED_BINS), TimeMasking(1)
        self._time_masking = TimeMasking

    def __call__(self, wave: Wave) -> Tensor:
        """Inputs of the tower, of a changed wave."""
        rng = self._rng
        gain = 10 ** (rng.uniform(*_GAIN_DB) / 20)
        wave = wave * np.float32(gain)
        if rng.random() < _NOISE_SHARE:
            wave = wave + self._noise(wave)
        inputs = self._tower.inputs(wave)
        return self._masked(inputs) if inputs.dim() == 2 else inputs

    def _noise(self, wave: Wave) -> Wave:
        level = np.sqrt(np.mean(wave**2)) / 10 ** (self._rng.uniform(*_NOISE_SNR_DB) / 20)
        return self._rng.standard_normal(len(wave), dtype=np.float32) * np.float32(level)

    def _masked(self, features: Tensor) -> Tensor:
        """Two bands and two stretches of a spectrum [frames, bins] set to its mean."""
        spectrum, mean = features.T[None], float(features.mean())
        in_time = self._time_masking(max(1, int(_MASKED_SHARE_OF_TIME * len(features))))
        for masking in (self._bins, in_time, self._bins, in_time):
            spectrum = masking(spectrum, mean)
        return spectrum[0].T


@torch.no_grad()
def score_transcripts(encoder: AudioEncoder, clips: Sequence[Clip], batch_size: int = 50) -> TranscriptScore:
    """Greedy CTC transcripts of clips against what was said."""
    hypotheses: list[str] = []
    for start in range(0, len(clips), batch_size):
        batch = clips[start : start + batch_size]
        hypotheses += encoder.encode([encoder.tower.inputs(clip.wave) for clip in batch]).readings
    references = [clip.text for clip in clips]
    exact = sum(a == b for a, b in zip(references, hypotheses, strict=True)) / len(clips)
    return TranscriptScore(float(wer(references, hypotheses)), exact, len(clips))
