"""The two families of transformers speech encoders: Whisper's (log-mel in) and wav2vec 2.0's (samples in).

A tower turns a wave into inputs of its family and a batch of inputs into states with a mask. Everything that a
family does differently is here; `AudioEncoder` is the same for both.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

SAMPLING_RATE = 16_000
"""Hz that both families hear."""

_WHISPER_STRIDE = 2
_LENGTH_STEP = 32
"""Batches are padded to a multiple of this many frames: CPU kernels are built and kept for every new shape."""
_WHISPER_RANGE = 2.0
"""Whisper's log-mel features are cut this far below their maximum (8 decades, over 4)."""

Wave = npt.NDArray[np.float32]


class SpeechTower(nn.Module, ABC):
    """A speech encoder of transformers with its feature extractor.

    Args:
        model: the encoder.
        extractor: the feature extractor that belongs to it.

    Attributes:
        window: longest input that the model takes at once, in the units of `inputs`.
        hidden_size: width of the states.
    """

    window: int
    hidden_size: int

    def __init__(self, model: Any, extractor: Any) -> None:
        super().__init__()
        self.model, self.extractor = model, extractor
        self.hidden_size = int(model.config.hidden_size)

    def without_weights(self) -> Self:
        """A copy that makes `inputs` and nothing else, light enough for other processes."""
        light = copy.copy(self)
        light._modules = {}
        return light

    @abstractmethod
    def inputs(self, wave: Wave) -> Tensor:
        """What the model takes of a wave, float32 [length, ...]; not limited to the window."""

    @abstractmethod
    def forward(self, batch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """States [b, n, d] and mask bool [b, n] of inputs that are each at most one window long."""


class WhisperTower(SpeechTower):
    """The encoder half of a Whisper model (Radford et al., 2022, https://arxiv.org/abs/2212.04356).

    Published Whisper models know only windows padded with silence to 30 s, and get them. A model whose config says
    `"pad_to_window": false` (ours) is run on the batch's longest clip with the padding masked: much less work.
    """

    def __init__(self, model: Any, extractor: Any) -> None:
        super().__init__(model, extractor)
        self.window = _WHISPER_STRIDE * int(model.config.max_source_positions)
        self.pad_to_window = bool(getattr(model.config, "pad_to_window", True))

    def inputs(self, wave: Wave) -> Tensor:
        """Log-mel features [frames, mel bins], each window scaled by itself, as Whisper does."""
        size = self.window * self.extractor.hop_length
        return torch.cat([self._log_mel(wave[start : start + size]) for start in range(0, len(wave), size)])

    def _log_mel(self, wave: Wave) -> Tensor:
        hop, n_fft = self.extractor.hop_length, self.extractor.n_fft
        # In a padded window the first frames behind the clip still see its end; all others are silence.
        heard = len(wave) + (n_fft // 2 if self.pad_to_window else 0)
        frames = min(-(-heard // hop), self.window)
        # Silence behind the clip, as in a padded window: the last frames must not see a mirrored end.
        padded = np.pad(wave, (0, n_fft + frames * hop - len(wave)))
        features = self.extractor([padded], sampling_rate=SAMPLING_RATE, padding=False, return_tensors="np")
        return torch.from_numpy(np.asarray(features["input_features"][0], dtype=np.float32)).T[:frames]

    def forward(self, batch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """States [b, ceil(frames / 2), d] and mask of log-mel features."""
        lengths = torch.tensor([len(row) for row in batch], device=batch[0].device)
        real = (lengths + _WHISPER_STRIDE - 1) // _WHISPER_STRIDE
        if self.pad_to_window:
            silent = [functional.pad(row.T, (0, self.window - len(row)), value=_silence(row)) for row in batch]
            states = self.model(torch.stack(silent)).last_hidden_state[:, : int(real.max())]
        else:
            features = pad_sequence(list(batch), batch_first=True)
            longest = min(self.window, features.shape[1] + -features.shape[1] % _LENGTH_STEP)
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

    window = 30 * SAMPLING_RATE

    def __init__(self, model: Any, extractor: Any) -> None:
        super().__init__(model, extractor)
        kernels, strides = model.config.conv_kernel, model.config.conv_stride
        self.shortest = 1
        for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
            self.shortest = (self.shortest - 1) * stride + kernel
        # Models whose first layer normalises over time never saw masked padding: they take one clip at a time.
        self.takes_padding = model.config.feat_extract_norm == "layer"

    def inputs(self, wave: Wave) -> Tensor:
        """Samples, normalised where the model wants it: [samples]; a very short wave is padded to give one state."""
        wave = np.pad(wave, (0, max(0, self.shortest - len(wave))))
        values = self.extractor(wave, sampling_rate=SAMPLING_RATE, return_tensors="np")["input_values"][0]
        return torch.from_numpy(np.asarray(values, dtype=np.float32))

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


TOWERS: dict[str, type[SpeechTower]] = {"whisper": WhisperTower, "wav2vec2": Wav2Vec2Tower}
"""Family by the `kind` of the encoder's options."""
