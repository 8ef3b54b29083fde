"""A decoder on disk and on the Hugging Face hub: three files, none of them a pickle.

    decoder.safetensors    weights
    config.json            `decoder`, its shape; `canvas`, task -> canvas length; and what its writer noted beside them
    tokenizer.json

Checkpoints, model packages and `save_pretrained` all hold these.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import safetensors.torch
import torch
from huggingface_hub import ModelCard, ModelHubMixin, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from torch import Tensor

from multimodal.decoder import CrossAttentionDecoder, DecoderConfig
from multimodal.encoders.hub import is_local, require_answer, require_reachable
from multimodal.errors import CheckpointError, EncoderError
from multimodal.fingerprint import write_json
from multimodal.generation.calibration import Calibration, read_calibrations
from multimodal.tokenizer import TextTokenizer

WEIGHTS, CONFIG, TOKENIZER = FILES = "decoder.safetensors", "config.json", "tokenizer.json"

MODEL_CARD = """---
{{ card_data }}
---

# {{ model_name }}

A cross-attention decoder over text tokens that writes short texts from the latents of pictures, sound and text.

- Tasks: {{ tasks }}
- Target styles: {{ styles }}
- Parameters: {{ num_parameters }}

It takes the hidden states of the encoders that it was trained with, which are no part of these files.

```python
from multimodal.generation import TextGenerator

generator = TextGenerator.from_pretrained("{{ model_name }}")
```
"""


def write_model(
    folder: Path, weights: Mapping[str, Tensor], config: Mapping[str, Any], tokenizer: TextTokenizer
) -> None:
    """Write the three files into a folder that is there.

    Args:
        folder: receives them.
        weights: of a `CrossAttentionDecoder`.
        config: `decoder`, `canvas` and what else shall be noted, JSON-ready.
        tokenizer: that the decoder was trained with.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    safetensors.torch.save_file(tensors, folder / WEIGHTS)
    write_json(folder / CONFIG, config)
    (folder / TOKENIZER).write_text(tokenizer.to_json())


def require_files(folder: Path) -> None:
    """Refuse a folder that lacks one of the three files.

    Raises:
        CheckpointError: it does.
    """
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(f"{folder} lacks {', '.join(missing)}; it is no finished checkpoint: train again")


class SavedModel(ModelHubMixin, library_name="multimodal", model_card_template=MODEL_CARD):
    """Decoder, tokenizer and canvas lengths, to be saved, loaded and shared as one.

    Args:
        decoder: on its device.
        tokenizer: that it was trained with.
        canvas: task -> canvas length of that task.
        calibrations: task -> what its probabilities are worth.
    """

    decoder_class: ClassVar[type[CrossAttentionDecoder]] = CrossAttentionDecoder

    def __init__(
        self,
        decoder: CrossAttentionDecoder,
        tokenizer: TextTokenizer,
        canvas: dict[str, int],
        calibrations: Mapping[str, Calibration] | None = None,
    ) -> None:
        self.decoder = decoder
        self.tokenizer = tokenizer
        self.canvas = canvas
        self.calibrations = dict(calibrations or {})

    @classmethod
    def load(cls, checkpoint: Path, device: str | torch.device = "cpu") -> Self:
        """Read a folder: a checkpoint's, a package's, or one written by `save_pretrained`.

        Raises:
            CheckpointError: it is absent, incomplete, or of a decoder that this version of the library does not build.
        """
        require_files(checkpoint)
        config = json.loads((checkpoint / CONFIG).read_text())
        try:
            decoder = cls.decoder_class(DecoderConfig.from_dict(config["decoder"]))
            decoder.load_state_dict(safetensors.torch.load_file(checkpoint / WEIGHTS))
        except (TypeError, RuntimeError) as error:  # options or weights that are gone, or that are new
            raise CheckpointError(
                f"{checkpoint} is of a decoder that this version of the library does not build ({error!s:.160}); "
                "train again, or load it with the version that made it"
            ) from error
        tokenizer = TextTokenizer.load(checkpoint / TOKENIZER)
        return cls(decoder.to(device).eval(), tokenizer, config["canvas"], read_calibrations(config))

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, name: str | Path, *, device: str | torch.device = "cpu", revision: str | None = None, **options: Any
    ) -> Self:
        """Read a local folder, or a model of the Hugging Face hub.

        Args:
            name: folder or hub id.
            device: for the decoder.
            revision: of the hub's model: branch, tag or commit.
            options: `cache_dir`, `token`, `force_download` as of huggingface_hub.

        Raises:
            CheckpointError: it is incomplete, or neither in the cache nor within reach (found out in 2 s).
        """
        if is_local(str(name)):
            return cls.load(Path(name), device)
        try:
            cached = require_reachable(str(name), "give a local folder", FILES, options.get("cache_dir"))
            folder = snapshot_download(
                str(name), revision=revision, allow_patterns=list(FILES), local_files_only=cached, **options
            )
        except (EncoderError, HfHubHTTPError, HFValidationError, OSError) as error:
            raise CheckpointError(f"the decoder '{name}' cannot be had: {error}") from error
        return cls.load(Path(folder), device)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload what `save_pretrained` writes to the Hugging Face hub; returns the commit's URL.

        Args:
            repo_id: `owner/name`; made where it is not there.
            options: `private`, `token`, `branch`, `commit_message` ... as of huggingface_hub.

        Raises:
            CheckpointError: the hub cannot be reached or refuses.
        """
        try:
            require_answer("save_pretrained(folder) writes the same files to a folder that can be uploaded elsewhere")
            url: str = super().push_to_hub(repo_id, model_card_kwargs=self._card(repo_id), **options)
        except (EncoderError, HfHubHTTPError, HFValidationError, OSError) as error:
            raise CheckpointError(f"'{repo_id}' cannot be uploaded: {error}") from error
        return url

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The README.md beside the files: what the model writes, and how it is loaded."""
        return super().generate_model_card(*args, **{**self._card("path/to/this/folder"), **kwargs})

    def _save_pretrained(self, save_directory: Path) -> None:
        calibration = {task: found.to_json() for task, found in self.calibrations.items()}
        config = {"decoder": self.decoder.config.to_dict(), "canvas": self.canvas, "calibration": calibration}
        write_model(save_directory, self.decoder.state_dict(), config, self.tokenizer)

    def _card(self, model_name: str) -> dict[str, Any]:
        config = self.decoder.config
        return {
            "model_name": model_name,
            "tasks": ", ".join(config.tasks),
            "styles": ", ".join(config.styles) or "none",
            "num_parameters": f"{self.decoder.num_parameters:,}",
        }
