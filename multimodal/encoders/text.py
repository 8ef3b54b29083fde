"""The text encoder: a T5 encoder over bytes, so that a typo changes a few states and no word is unknown.

Bytes are numbered as in ByT5 (Xue et al., 2022, https://arxiv.org/abs/2105.13626): byte + 3, after <pad>, </s> and
<unk>; `google/byt5-small` loads as it is published, and no tokenizer file is needed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from multimodal.encoders.base import Encoder, EncoderOutput, Preparation, TokenRate, pick_device
from multimodal.encoders.hub import local_copy, no_progress_bars, shipped_instead
from multimodal.encoders.options import EncoderOptions
from multimodal.encoders.weights import LOAD_ERRORS, load_transformers, state_digest
from multimodal.errors import EncoderError, MediaError
from multimodal.fingerprint import digest, new_folder, write_file, write_json
from multimodal.sample import Modality

BYTE_OFFSET = 3
"""Ids below are <pad> 0, </s> 1 and <unk> 2."""
END_ID = 1


class TextEncoder(Encoder):
    """A frozen T5 encoder over bytes; one state per byte and one for the end, averaged by `downsample`.

    Args:
        model: a transformers `T5EncoderModel` with at least 259 ids.
        downsample: this many neighbouring states become their mean.
        device: where the model runs; outputs are on the CPU.

    Raises:
        EncoderError: the model's vocabulary cannot hold the bytes.
    """

    modality = Modality.TEXT

    def __init__(self, model: Any, downsample: int = 1, device: torch.device | None = None) -> None:
        if model.config.vocab_size < 256 + BYTE_OFFSET:
            raise EncoderError(
                f"a text encoder of kind 'bytes' needs at least {256 + BYTE_OFFSET} ids, this model has "
                f"{model.config.vocab_size}; take a ByT5 model such as google/byt5-small"
            )
        self.device = device or torch.device("cpu")
        self.model = model.to(self.device).float().eval().requires_grad_(False)
        self.downsample = downsample
        self.hidden_size = self.pooled_size = int(model.config.d_model)
        self.tokens = TokenRate(1 / downsample, "byte")
        self.preprocessing_hash = digest(["bytes", BYTE_OFFSET, END_ID])
        self.weights_sha256 = state_digest(_unique_tensors(model))
        self.fingerprint = digest(["bytes", downsample, _architecture(model), self.weights_sha256])[:16]

    def preprocess(self, data: bytes) -> Tensor:
        """Ids of the bytes and the end, int64 [bytes + 1].

        Raises:
            MediaError: the bytes are not UTF-8, or hold nothing but white space.
        """
        return byte_ids(_checked(data))

    def preparation(self) -> Preparation:
        """The check and the numbering, which need no weights."""
        return Preparation(_checked, byte_ids)

    @torch.inference_mode()
    def encode(self, batch: Sequence[Tensor]) -> EncoderOutput:
        """States [b, ceil(n / downsample), d] of texts of n ids; pooled is the mean of the real states."""
        ids, mask = pad_ids(batch, self.device)
        states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        pooled = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        states, mask = average_neighbours(states, mask, self.downsample)
        return EncoderOutput(states.cpu(), mask.cpu(), pooled.cpu())

    def save(self, folder: Path) -> None:
        """Write `config.json` and `model.safetensors`, in float16 where that loses nothing, else in float32."""
        tensors = {name: tensor.cpu().contiguous() for name, tensor in _unique_tensors(self.model).items()}
        if all(torch.equal(tensor.half().float(), tensor) for tensor in tensors.values()):
            tensors = {name: tensor.half() for name, tensor in tensors.items()}
        with new_folder(folder) as new:
            write_json(new / "config.json", _architecture(self.model))
            write_file(new / "model.safetensors", save(tensors, metadata={"format": "pt"}))


def build_text_encoder(options: EncoderOptions) -> TextEncoder:
    """The text encoder that the options name: `weights` (folder or hub id), else a fresh one of the JSON file `model`.

    Raises:
        EncoderError: neither is given, the file or folder is wrong, weights are pickled and this is not allowed, or
            the hub cannot be reached.
    """
    if options.weights is None:
        torch.manual_seed(options.pretrain.seed)
        model = _fresh_model(options.model)
    else:
        model = _load_model(
            local_copy(options.weights, shipped_instead("data/encoders/text"), options.allow_pickle), options
        )
    return TextEncoder(model, options.downsample, pick_device(options.device))


def decode_text(data: bytes) -> str:
    """The text of a content's bytes.

    Raises:
        MediaError: the bytes are not UTF-8, or hold nothing but white space.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise MediaError("invalid_utf8", f"text is not UTF-8: {error}") from error
    if not text.strip():
        raise MediaError("empty_text", "the text holds nothing but white space")
    return text


def _checked(data: bytes) -> bytes:
    decode_text(data)
    return data


def byte_ids(data: bytes) -> Tensor:
    """Ids of bytes as ByT5 numbers them, with the end: int64 [bytes + 1]."""
    ids = np.full(len(data) + 1, END_ID, dtype=np.int64)
    ids[:-1] = np.frombuffer(data, dtype=np.uint8)
    ids[:-1] += BYTE_OFFSET
    return torch.from_numpy(ids)


def pad_ids(batch: Sequence[Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids padded to one length with 0, and the mask of the real ones: int64 [b, n], bool [b, n]."""
    ids = pad_sequence(list(batch), batch_first=True).to(device)
    return ids, ids != 0


def average_neighbours(states: Tensor, mask: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Means over groups of `factor` real states: [b, n, d], [b, n] -> [b, ceil(n / factor), d] and its mask."""
    if factor == 1:
        return states, mask
    missing = -states.shape[1] % factor
    states = functional.pad(states * mask[..., None], (0, 0, 0, missing))
    batch, length, size = states.shape
    counts = functional.pad(mask, (0, missing)).view(batch, -1, factor).sum(2)
    sums = states.view(batch, length // factor, factor, size).sum(2)
    return sums / counts.clamp(min=1)[..., None], counts > 0


def _fresh_model(path: str | None) -> Any:
    from transformers import T5Config, T5EncoderModel

    if path is None or not Path(path).is_file():
        raise EncoderError(
            f"text encoder: no weights and no architecture file at {path!r}; set `model` to a JSON file of T5Config "
            "values such as conf/models/sample-text.json, or `weights` to a folder or hub id"
        )
    try:
        config = T5Config(**json.loads(Path(path).read_text()))
        return T5EncoderModel._from_config(config, attn_implementation="eager")
    except LOAD_ERRORS as error:
        raise EncoderError(f"text encoder: {path} does not describe a T5 encoder: {error}") from error


def _load_model(folder: Path, options: EncoderOptions) -> Any:
    from transformers import T5EncoderModel

    with no_progress_bars():
        return load_transformers(
            T5EncoderModel, folder, options.allow_pickle, "text encoder", attn_implementation="eager"
        )


def _architecture(model: Any) -> dict[str, Any]:
    """What makes the model besides its weights, without the versions and paths that transformers adds."""
    values: dict[str, Any] = model.config.to_diff_dict()
    dropped = ("transformers_version", "_name_or_path", "dtype", "torch_dtype", "architectures")
    return {key: value for key, value in values.items() if key not in dropped}


def _unique_tensors(model: Any) -> dict[str, Tensor]:
    """The state dict without the second name of tied tensors, which safetensors refuses."""
    unique: dict[int, str] = {}
    state: dict[str, Tensor] = model.state_dict()
    for name, tensor in state.items():
        unique.setdefault(tensor.data_ptr(), name)
    return {name: state[name] for name in unique.values()}
