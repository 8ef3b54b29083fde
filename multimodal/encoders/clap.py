"""CLAP's audio tower (Wu et al., 2023, https://arxiv.org/abs/2211.06687): a Swin transformer over a log-mel picture.

Its own extractor cuts a random piece out of a clip beyond 10 s, or fuses three random ones, and marks a random clip of
a batch as long: the same sound would get other latents each time. Here long clips are cut into windows like those of
every other encoder, so that none is long and nothing is random. A shorter clip is repeated to fill its window, as CLAP
was trained; only the states of its first playing are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from multimodal.encoders.towers import DEFAULT_OVERLAP, SpeechTower, TowerOutput, Wave
from multimodal.encoders.windows import Windows

_FUSED_CHANNELS = 4
"""A fusion model takes the whole clip and three pieces of it; of a clip of one window all four are the same."""


class ClapTower(SpeechTower):
    """`ClapModel` (its pooled vectors are comparable with those of texts) or `ClapAudioModel`.

    States lie on a grid of time steps and frequency bands: those of one step follow each other, low band first.

    Attributes:
        tokenizer: of the text tower; None where the folder has none.
    """

    tokenizer: Any = None

    def __init__(self, model: Any, extractor: Any, overlap: float = DEFAULT_OVERLAP) -> None:
        super(SpeechTower, self).__init__()
        self.model, self.extractor = model, extractor
        config = self.audio.config
        merges = 2 ** (len(config.depths) - 1)
        self.hidden_size = int(config.patch_embeds_hidden_size * merges)
        self.pooled_size = self.hidden_size if self.projection is None else int(config.projection_dim)
        self.sampling_rate = int(extractor.sampling_rate)
        folds = config.spec_size // config.num_mel_bins  # the spectrogram is folded to a square
        strides = self.audio.audio_encoder.patch_embed.patch_stride
        bands = config.spec_size // strides[0] // merges // folds
        steps = config.spec_size // strides[1] // merges * folds
        self.windows = Windows.sharing(overlap, extractor.nb_max_samples // steps, steps, tokens_per_step=bands)

    @property
    def audio(self) -> Any:
        """The audio tower."""
        return getattr(self.model, "audio_model", self.model)

    @property
    def projection(self) -> Any:
        """To the space of texts; None where the model is the audio tower alone."""
        return getattr(self.model, "audio_projection", None)

    def inputs(self, wave: Wave) -> Tensor:
        """Log-mel features of each window, and behind them how many steps are real: [windows, frames * bins + 1]."""
        return torch.stack([self._features(wave[window]) for window in self.windows.cut(len(wave))])

    def _features(self, wave: Wave) -> Tensor:
        found = self.extractor(wave, sampling_rate=self.sampling_rate, return_tensors="np")["input_features"]
        steps = -(-len(wave) // self.windows.hop)
        return torch.from_numpy(np.append(np.asarray(found[0][0], dtype=np.float32).ravel(), np.float32(steps)))

    def cut(self, row: Tensor) -> Sequence[Tensor]:
        """Each window with its number of real steps."""
        return row.unbind(0)

    def encode(self, batch: Sequence[Tensor]) -> TowerOutput:
        """States [b, steps * bands, d]; pooled is the normalised projection, or the mean state of `ClapAudioModel`."""
        rows = torch.stack(list(batch))
        features = rows[:, :-1].view(len(batch), 1, -1, self.extractor.feature_size)
        is_longer = None
        if self.audio.config.enable_fusion:
            features = features.expand(-1, _FUSED_CHANNELS, -1, -1)
            is_longer = torch.zeros(len(batch), 1, dtype=torch.bool, device=rows.device)
        output = self.audio(input_features=features, is_longer=is_longer)
        states = output.last_hidden_state.permute(0, 3, 2, 1).flatten(1, 2)  # [b, d, bands, steps] -> [b, n, d]
        real = rows[:, -1:] * self.windows.tokens_per_step
        mask = torch.arange(states.shape[1], device=rows.device)[None] < real
        pooled = output.pooler_output
        return TowerOutput(
            states, mask, pooled if self.projection is None else normalize(self.projection(pooled), dim=-1)
        )

    @property
    def has_text_side(self) -> bool:
        """Whether there are a text tower and its tokenizer."""
        return self.projection is not None and self.tokenizer is not None

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Vectors of texts beside those of sounds, normalised [texts, pooled_size]; texts are cut at the context."""
        text = self.model.config.text_config
        # RoBERTa numbers positions from behind the padding's id.
        longest = min(self.tokenizer.model_max_length, text.max_position_embeddings - text.pad_token_id - 1)
        ids = self.tokenizer(list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt")
        device = self.model.logit_scale_a.device
        output = self.model.get_text_features(ids["input_ids"].to(device), ids["attention_mask"].to(device))
        vectors: Tensor = output.pooler_output
        return vectors

    def forward(self, batch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """States and mask of windows."""
        output = self.encode(batch)
        return output.states, output.mask
