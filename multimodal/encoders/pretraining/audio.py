"""The audio tower, from scratch or from weights, by CTC over characters (Graves et al., 2006)."""

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
from multimodal.encoders.options import EncoderOptions
from multimodal.encoders.pretraining.augmentation import Augmentation
from multimodal.encoders.pretraining.clips import Clip, to_int16
from multimodal.encoders.pretraining.lora import add_adapters, hold_statistics, merged
from multimodal.encoders.pretraining.options import PretrainOptions, TowerLoraOptions
from multimodal.encoders.towers import SpeechTower, WhisperTower
from multimodal.errors import EncoderError
from multimodal.optimizer import warmup_cosine

Progress = Callable[[int, int], None]
Log = Callable[[int, Mapping[str, float]], None]

_SORTED_BATCHES = 16
_LOG_EVERY = 50


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
    """The tower and its head; with adapters only these and the head are trained."""

    def __init__(self, tower: SpeechTower, head: CTCHead | None, lora: TowerLoraOptions | None) -> None:
        super().__init__()
        self.tower, self.head = tower, head or CTCHead(tower.hidden_size)
        self.requires_grad_(True)
        self.adapted = add_adapters(tower.model, lora) if lora else None
        self.train()
        if self.adapted is None:
            freeze_fixed_positions(tower)
        else:
            hold_statistics(tower)

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
    """Train an audio encoder on clips with transcripts until steps or minutes run out, from scratch or from weights.

    Args:
        options: kind, architecture, downsampling and `pretrain`; its `weights` are not read.
        clips: what to learn from; clips without a character of the alphabet are left out.
        progress: called with (steps done, steps).
        log: called every 50 steps with the mean loss.

    Raises:
        EncoderError: the weights to start from, or the architecture, cannot be had; no clip has a transcript; or the
            adapters' targets fit nothing.
    """
    training, started = options.pretrain, time.monotonic()
    labelled = [clip for clip in clips if to_labels(clip.text)]
    if not labelled:
        raise EncoderError(f"none of {len(clips)} clips has a transcript in Latin letters for an audio tower to learn")
    encoder = build_audio_encoder(options.model_copy(update={"weights": training.start}))
    torch.manual_seed(training.seed)
    trainee = _Trainee(encoder.tower, encoder.head, training.lora).to(encoder.device)
    steps = _train(trainee, labelled, training, progress, log)
    if trainee.adapted is not None:
        encoder.tower.model = merged(trainee.adapted)
    if training.start is None:
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
    augment = Augmentation(trainee.tower, options, np.random.default_rng(options.seed))
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
