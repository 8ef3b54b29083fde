"""Families of transformers speech encoders: Whisper's (log-mel in) and wav2vec 2.0's (samples in); CLAP is in `clap`.

A tower turns a wave into inputs of its family, cuts these into windows, and turns windows into states with a mask.
Everything that a family does differently is here; `AudioEncoder` is the same for all.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from multimodal.encoders.windows import Windows

SAMPLING_RATE = 16_000
"""Hz that speech encoders hear."""
DEFAULT_OVERLAP = 0.1
"""Share of a window that it has in common with the next one of a long clip."""

_WHISPER_STRIDE = 2
_WAV2VEC2_SECONDS = 30
"""These models set no bound; attention over much more than they were trained on is slow and worse."""
_LENGTH_STEP = 32
"""Batches are padded to a multiple of this many frames: CPU kernels are built and kept for every new shape."""
_WHISPER_RANGE = 2.0
"""Whisper's log-mel features are cut this far below their maximum (8 decades, over 4)."""

Wave = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TowerOutput:
    """States of windows.

    Args:
        states: [b, n, d].
        mask: bool [b, n], True where a state is real.
        pooled: [b, pooled_size] where the model has its own vector of a window; None where it has none.
    """

    states: Tensor
    mask: Tensor
    pooled: Tensor | None = None


class SpeechTower(nn.Module, ABC):
    """A speech encoder of transformers with its feature extractor.

    Args:
        model: the encoder.
        extractor: the feature extractor that belongs to it.
        overlap: share of a window that it has in common with the next one of a long clip.

    Attributes:
        sampling_rate: Hz that it hears.
        windows: how long clips are cut and joined; their inputs are samples.
        hidden_size: width of the states.
        pooled_size: width of the pooled vector.
    """

    windows: Windows
    hidden_size: int
    pooled_size: int
    sampling_rate: int = SAMPLING_RATE

    def __init__(self, model: Any, extractor: Any, overlap: float = DEFAULT_OVERLAP) -> None:
        super().__init__()
        self.model, self.extractor = model, extractor
        self.hidden_size = self.pooled_size = int(model.config.hidden_size)

    @property
    def tokens_per_second(self) -> float:
        """States of a second of sound."""
        return self.sampling_rate / self.windows.hop * self.windows.tokens_per_step

    def without_weights(self) -> Self:
        """A copy that makes `inputs` and nothing else, light enough for other processes."""
        light = copy.copy(self)
        light._modules = {}
        return light

    @abstractmethod
    def inputs(self, wave: Wave) -> Tensor:
        """What the model takes of a wave, float32 [length, ...]; of a long one, all of its windows."""

    @abstractmethod
    def cut(self, row: Tensor) -> Sequence[Tensor]:
        """The windows of what `inputs` gave."""

    def encode(self, batch: Sequence[Tensor]) -> TowerOutput:
        """States of windows, with the model's own pooled vector where it has one."""
        return TowerOutput(*self(batch))

    @abstractmethod
    def forward(self, batch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """States [b, n, d] and mask bool [b, n] of inputs that are each at most one window long."""


class WhisperTower(SpeechTower):
    """The encoder half of a Whisper model (Radford et al., 2022, https://arxiv.org/abs/2212.04356).

    Published Whisper models know only windows padded with silence to 30 s, and get them. A model whose config says
    `"pad_to_window": false` (ours) is run on the batch's longest clip with the padding masked: much less work.
    """

    def __init__(self, model: Any, extractor: Any, overlap: float = DEFAULT_OVERLAP) -> None:
        super().__init__(model, extractor, overlap)
        states = int(model.config.max_source_positions)
        self.frames = _WHISPER_STRIDE * states
        self.windows = Windows.sharing(overlap, _WHISPER_STRIDE * int(extractor.hop_length), states)
        self.pad_to_window = bool(getattr(model.config, "pad_to_window", True))

    def inputs(self, wave: Wave) -> Tensor:
        """Log-mel features [frames, mel bins], each window scaled by itself, as Whisper does."""
        return torch.cat([self._log_mel(wave[window]) for window in self.windows.cut(len(wave))])

    def cut(self, row: Tensor) -> Sequence[Tensor]:
        """Features of each window; all but the last fill theirs."""
        return torch.split(row, self.frames)

    def _log_mel(self, wave: Wave) -> Tensor:
        hop, n_fft = self.extractor.hop_length, self.extractor.n_fft
        # In a padded window the first frames behind the clip still see its end; all others are silence.
        heard = len(wave) + (n_fft // 2 if self.pad_to_window else 0)
        frames = min(-(-heard // hop), self.frames)
        # Silence behind the clip, as in a padded window: the last frames must not see a mirrored end.
        padded = np.pad(wave, (0, n_fft + frames * hop - len(wave)))
        features = self.extractor([padded], sampling_rate=SAMPLING_RATE, padding=False, return_tensors="np")
        return torch.from_numpy(np.asarray(features["input_features"][0], dtype=np.float32)).T[:frames]

    def forward(self, batch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """States [b, ceil(frames / 2), d] and mask of log-mel features."""
        lengths = torch.tensor([len(row) for row in batch], device=batch[0].device)
        real = (lengths + _WHISPER_STRIDE - 1) // _WHISPER_STRIDE
        if self.pad_to_window:
            silent = [functional.pad(row.T, (0, self.frames - len(row)), value=_silence(row)) for row in batch]
            states = self.model(torch.stack(silent)).last_hidden_state[:, : int(real.max())]
        else:
            features = pad_sequence(list(batch), batch_first=True)
            longest = min(self.frames, features.shape[1] + -features.shape[1] % _LENGTH_STEP)
            features = functional.pad(features, (0, 0, 0, longest - features.shape[1]))
            states = self._masked_states(features, lengths, real)[:, : int(real.max())]
        return states, _mask(real, states.shape[1])

    def _masked_states(self, features: Tensor, lengths: Tensor, real: Tensor) -> Tensor:
        """What `WhisperEncoder.forward` does, for any length, and so that padding changes nothing."""
        model = self.model
        frames = functional.gelu(model.conv1(features.transpose(1, 2)))
        frames = frames * _mask(lengths, frames.shape[2])[:, None]  # conv2 must see zeros behind the end
        states = functional.gelu(model.conv2(frames)).transpose(1, 2)  # [b, n, d]
        states = states + model.embed_positions.weight[: states.shape[1]]
        states = functional.dropout(states, p=model.dropout, training=self.training)
        mask = _mask(real, states.shape[1])
        attends = None if bool(mask.all()) else mask[:, None, None].expand(-1, 1, states.shape[1], -1)
        for layer in model.layers:
            states = layer(states, attends)
        normed: Tensor = model.layer_norm(states)
        return normed


class Wav2Vec2Tower(SpeechTower):
    """wav2vec 2.0, HuBERT, WavLM and their kin (Baevski et al., 2020, https://arxiv.org/abs/2006.11477)."""

    def __init__(self, model: Any, extractor: Any, overlap: float = DEFAULT_OVERLAP) -> None:
        super().__init__(model, extractor, overlap)
        kernels, strides = model.config.conv_kernel, model.config.conv_stride
        self.shortest = 1
        for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
            self.shortest = (self.shortest - 1) * stride + kernel
        hop = math.prod(strides)
        # The last state of a window would hear this many steps beyond it.
        lost = -(-(self.shortest - hop) // hop)
        self.windows = Windows.sharing(overlap, hop, _WAV2VEC2_SECONDS * SAMPLING_RATE // hop, lost)
        # Models whose first layer normalises over time never saw masked padding: they take one clip at a time.
        self.takes_padding = model.config.feat_extract_norm == "layer"

    def inputs(self, wave: Wave) -> Tensor:
        """Samples, normalised where the model wants it: [samples]; a very short wave is padded to give one state."""
        wave = np.pad(wave, (0, max(0, self.shortest - len(wave))))
        values = self.extractor(wave, sampling_rate=SAMPLING_RATE, return_tensors="np")["input_values"][0]
        return torch.from_numpy(np.asarray(values, dtype=np.float32))

    def cut(self, row: Tensor) -> Sequence[Tensor]:
        """Samples of each window."""
        return [row[window] for window in self.windows.cut(len(row))]

    def forward(self, batch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """States [b, n, d] and mask of samples."""
        batch = [functional.pad(row, (0, max(0, self.shortest - len(row)))) for row in batch]
        lengths = torch.tensor([len(row) for row in batch], device=batch[0].device)
        real = self.model._get_feat_extract_output_lengths(lengths)
        if self.takes_padding:
            samples = pad_sequence(list(batch), batch_first=True)
            states = self.model(samples, attention_mask=_mask(lengths, samples.shape[1]).long()).last_hidden_state
        else:
            rows = [self.model(row[None]).last_hidden_state[0] for row in batch]
            states = pad_sequence(rows, batch_first=True)
        return states, _mask(real, states.shape[1])


def _mask(lengths: Tensor, longest: int) -> Tensor:
    return torch.arange(longest, device=lengths.device)[None] < lengths[:, None]


def _silence(features: Tensor) -> float:
    """The value of a silent frame beside these: features are cut at a fixed distance below their maximum."""
    return float(features.max()) - _WHISPER_RANGE
