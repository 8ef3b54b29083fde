"""The audio encoder: a frozen transformers speech encoder of the Whisper or the wav2vec 2.0 family."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from multimodal.encoders.base import Encoder, EncoderOutput, Preparation, pick_device
from multimodal.encoders.ctc import ALPHABET, CTCHead, greedy_texts
from multimodal.encoders.hub import is_local, no_progress_bars, require_reachable, shipped_instead
from multimodal.encoders.options import EncoderOptions
from multimodal.encoders.text import average_neighbours
from multimodal.encoders.towers import SAMPLING_RATE, TOWERS, SpeechTower, Wave
from multimodal.errors import EncoderError
from multimodal.fingerprint import digest, new_folder, write_file
from multimodal.ingest.sounds import decode_sound
from multimodal.sample import Modality

CTC_HEAD = "ctc_head.safetensors"
_SHIPPED = "data/encoders/audio"
_FRESH_EXTRACTOR = "extractor"


class AudioEncoder(Encoder):
    """Hidden states of sound, averaged over `downsample` neighbours; `pooled` is the mean of the real states.

    Clips longer than the model's window are cut into windows and their states joined.

    Args:
        tower: the model and its feature extractor.
        kind: family of the tower, `whisper` or `wav2vec2`.
        downsample: this many neighbouring states become their mean.
        device: where the model runs; outputs are on the CPU.
        head: reads characters from states, where the tower was pretrained with one.
    """

    modality = Modality.AUDIO

    def __init__(
        self,
        tower: SpeechTower,
        kind: str,
        downsample: int = 1,
        device: torch.device | None = None,
        head: CTCHead | None = None,
    ) -> None:
        self.device = device or torch.device("cpu")
        self.tower = tower.to(self.device).float().eval().requires_grad_(False)
        self.head = head.to(self.device).float().eval().requires_grad_(False) if head else None
        self.kind, self.downsample = kind, downsample
        self.hidden_size = self.pooled_size = tower.hidden_size
        parts = [kind, downsample, _architecture(tower), _weights_digest(tower)]
        parts += [_weights_digest(head)] if head else []
        self.fingerprint = digest(parts)[:16]

    def preprocess(self, data: bytes) -> Tensor:
        """Inputs of the tower, float32 [frames, mel bins] or [samples], from a sound file of any rate and channels.

        Raises:
            MediaError: the bytes are no sound, an empty one, or hold NaN.
        """
        return self.tower.inputs(decode_wave(data))

    def preparation(self) -> Preparation:
        """The tower's own inputs of decoded waves."""
        return Preparation(decode_wave, self.tower.without_weights().inputs)

    @torch.no_grad()
    def encode(self, batch: Sequence[Tensor]) -> EncoderOutput:
        """Hidden states [b, ceil(n / downsample), d] of preprocessed clips, and their greedy CTC transcripts."""
        states, mask = self._states(batch)
        readings = tuple(greedy_texts(self.head(states), mask)) if self.head else ()
        pooled = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        states, mask = average_neighbours(states, mask, self.downsample)
        return EncoderOutput((states * mask[..., None]).cpu(), mask.cpu(), pooled.cpu(), readings)

    def _states(self, batch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """States of whole clips [b, n, d] and their mask."""
        windows = [torch.split(row.to(self.device), self.tower.window) for row in batch]
        states, mask = self.tower([window for row in windows for window in row])
        real = iter([row[kept] for row, kept in zip(states.float(), mask, strict=True)])
        joined = [torch.cat([next(real) for _ in row]) for row in windows]
        lengths = torch.tensor([len(row) for row in joined], device=self.device)
        longest = torch.arange(int(lengths.max()), device=self.device)
        return pad_sequence(joined, batch_first=True), longest[None] < lengths[:, None]

    def save(self, folder: Path) -> None:
        """Write config, feature extractor and weights; float16 where that loses nothing, else float32."""
        model = copy.deepcopy(self.tower.model).cpu()
        if all(torch.equal(tensor.half().float(), tensor) for tensor in model.state_dict().values()):
            model = model.half()
        with new_folder(folder) as new, no_progress_bars():
            model.save_pretrained(new)
            self.tower.extractor.save_pretrained(new)
            if self.head is not None:
                tensors = {name: tensor.cpu().contiguous() for name, tensor in self.head.state_dict().items()}
                write_file(new / CTC_HEAD, save(tensors, metadata={"alphabet": ALPHABET}))


def decode_wave(data: bytes) -> Wave:
    """A sound file's bytes as one channel at 16 kHz: float32 [samples].

    Raises:
        MediaError: the bytes are no sound, an empty one, or hold NaN.
    """
    sound = decode_sound(data)
    wave: Wave = soxr.resample(sound.wave, sound.sampling_rate, SAMPLING_RATE).astype(np.float32)
    return wave if len(wave) else np.zeros(1, dtype=np.float32)


def build_audio_encoder(options: EncoderOptions) -> AudioEncoder:
    """The audio encoder that the options name: `weights` (folder or hub id), else a fresh one of the JSON `model`.

    Raises:
        EncoderError: neither is given, a file is absent or wrong, or the hub cannot be reached (found out in 2 s).
    """
    head = None
    if options.weights is None:
        torch.manual_seed(options.pretrain.seed)
        model, extractor = _fresh(options.kind, options.model)
    elif is_local(options.weights):
        folder = Path(options.weights)
        with no_progress_bars():
            model, extractor = _load_folder(options.kind, folder)
        head = _load_head(folder / CTC_HEAD, model.config.hidden_size)
    else:
        from_cache = require_reachable(options.weights, shipped_instead(_SHIPPED))
        model, extractor = _load(options.kind, options.weights, local_files_only=from_cache)
    tower = TOWERS[options.kind](model, extractor)
    return AudioEncoder(tower, options.kind, options.downsample, pick_device(options.device), head)


def _fresh(kind: str, path: str | None) -> tuple[Any, Any]:
    """A model with random weights: the JSON holds config values, and the extractor's under `extractor`."""
    import transformers

    if path is None or not Path(path).is_file():
        raise EncoderError(
            f"audio encoder: no weights and no architecture file at {path!r}; set `model` to a JSON file such as "
            "conf/models/sample-audio.json, or `weights` to a folder or hub id"
        )
    try:
        values = json.loads(Path(path).read_text())
        settings = values.pop(_FRESH_EXTRACTOR, {})
        if kind == "whisper":
            config = transformers.WhisperConfig(**values)
            return _whisper_encoder_class()(config), transformers.WhisperFeatureExtractor(**settings)
        config = transformers.AutoConfig.for_model(values.pop("model_type", "wav2vec2"), **values)
        return transformers.AutoModel.from_config(config), transformers.Wav2Vec2FeatureExtractor(**settings)
    except (ValueError, TypeError, AttributeError) as error:
        raise EncoderError(f"audio encoder: {path} does not describe a {kind} model: {error}") from error


def _whisper_encoder_class() -> Any:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    return WhisperEncoder


def _load_folder(kind: str, folder: Path) -> tuple[Any, Any]:
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise EncoderError(
            f"audio encoder: {folder} has no config.json with model.safetensors; it must be a folder written by "
            "`multimodal pretrain` or by save_pretrained (pickled weights are not loaded)"
        )
    return _load(kind, str(folder), local_files_only=True)


def _load(kind: str, name: str, local_files_only: bool) -> tuple[Any, Any]:
    import transformers

    settings: dict[str, Any] = {"local_files_only": local_files_only}
    try:
        config = transformers.AutoConfig.from_pretrained(name, **settings)
        if (config.model_type == "whisper") != (kind == "whisper"):
            raise EncoderError(f"audio encoder: '{name}' is a {config.model_type} model, but `kind` is {kind}")
        extractor = transformers.AutoFeatureExtractor.from_pretrained(name, **settings)
        settings |= {"use_safetensors": True, "dtype": torch.float32}
        if config.architectures == ["WhisperEncoder"]:
            return _whisper_encoder_class().from_pretrained(name, **settings), extractor
        model = transformers.AutoModel.from_pretrained(name, **settings)
        return (model.get_encoder() if kind == "whisper" else model), extractor
    except (OSError, ValueError, RuntimeError) as error:
        raise EncoderError(
            f"audio encoder: '{name}' does not load as a {kind} model in safetensors: {error}"
        ) from error


def _load_head(path: Path, hidden_size: int) -> CTCHead | None:
    if not path.is_file():
        return None
    head = CTCHead(hidden_size)
    head.load_state_dict(load_file(path))
    return head


def _architecture(tower: SpeechTower) -> dict[str, Any]:
    """What makes the encoder besides its weights, without the versions and paths that transformers adds."""
    dropped = ("transformers_version", "_name_or_path", "dtype", "torch_dtype", "architectures", "_attn_implementation")
    values = tower.model.config.to_diff_dict() | {_FRESH_EXTRACTOR: tower.extractor.to_dict()}
    return {key: value for key, value in values.items() if key not in dropped}


def _weights_digest(module: nn.Module) -> str:
    sha = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        sha.update(name.encode())
        sha.update(tensor.float().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()
