"""The text tower of an open_clip model: as an encoder of texts, and to compare texts with pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multimodal.encoders.base import Encoder, EncoderOutput, Preparation, TokenRate, pick_device
from multimodal.encoders.hub import require_reachable, shipped_instead
from multimodal.encoders.image import ImageEncoder
from multimodal.encoders.open_clip_models import OpenClipModel, open_clip_model, save_open_clip
from multimodal.encoders.options import EncoderOptions
from multimodal.encoders.text import average_neighbours, decode_text
from multimodal.encoders.weights import LOAD_ERRORS, state_digest
from multimodal.errors import EncoderError
from multimodal.fingerprint import digest, new_folder
from multimodal.sample import Modality


@dataclass(frozen=True, slots=True)
class TokenIds:
    """Ids of a text, padded or cut to a context length, int64 [context].

    Args:
        tokenizer: open_clip's.
        context: number of ids.
    """

    tokenizer: Any
    context: int

    def __call__(self, text: str) -> Tensor:
        """The ids of one text."""
        ids: Tensor = self.tokenizer([text], context_length=self.context)[0]
        return ids


class ClipTextEncoder(Encoder):
    """A frozen open_clip text tower; one state per token of its own vocabulary, averaged by `downsample`.

    Texts are cut off at the tower's context length, as in open_clip. `pooled` is the normalised embedding, comparable
    with those of the same model's pictures.

    Args:
        loaded: the whole model: pictures need its other tower.
        tokenizer: open_clip's, of texts to ids int64 [texts, context length].
        downsample: this many neighbouring states become their mean.
        device: where the model runs; outputs are on the CPU.

    Raises:
        EncoderError: the model gives no states of single tokens.
    """

    modality = Modality.TEXT

    def __init__(
        self, loaded: OpenClipModel, tokenizer: Any, downsample: int = 1, device: torch.device | None = None
    ) -> None:
        self.device = device or torch.device("cpu")
        self.model = loaded.model.to(self.device).float().eval().requires_grad_(False)
        self.config, self.downsample = loaded.config, downsample
        self._tokenizer = tokenizer
        self.ids = TokenIds(tokenizer, int(self.model.context_length))
        states, _, pooled = self._states(self.ids("a")[None].to(self.device))
        self.hidden_size, self.pooled_size = states.shape[-1], pooled.shape[-1]
        self.tokens = TokenRate(1 / downsample, "token")
        text = self.config["model_cfg"]["text_cfg"]
        vocabulary = getattr(tokenizer, "encoder", None) or tokenizer.tokenizer.get_vocab()
        cut = [type(tokenizer).__name__, self.ids.context, text, vocabulary]
        self.preprocessing_hash = digest(["open_clip text", *cut])
        self.weights_sha256 = state_digest(self.model.state_dict())
        parts = ["open_clip text", downsample, self.config["model_cfg"], self.preprocessing_hash, self.weights_sha256]
        self.fingerprint = digest(parts)[:16]

    def preprocess(self, data: bytes) -> Tensor:
        """Ids of the text, padded or cut to the context length, int64 [context].

        Raises:
            MediaError: the bytes are not UTF-8, or hold nothing but white space.
        """
        return self.ids(decode_text(data))

    def preparation(self) -> Preparation:
        """The tokenizer, which needs no weights."""
        return Preparation(decode_text, self.ids)

    @torch.no_grad()
    def encode(self, batch: Sequence[Tensor]) -> EncoderOutput:
        """States [b, ceil(n / downsample), d] of texts of n tokens, and the normalised embedding."""
        states, mask, pooled = self._states(torch.stack(list(batch)).to(self.device))
        longest = int(mask.sum(1).max())
        states, mask = average_neighbours(states[:, :longest], mask[:, :longest], self.downsample)
        return EncoderOutput((states * mask[..., None]).float().cpu(), mask.cpu(), pooled.float().cpu())

    @torch.no_grad()
    def _states(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """States [b, n, d] behind the last norm, mask of the real tokens, embeddings [b, e]."""
        output = self.model.forward_intermediates(text=ids, text_indices=1, normalize_intermediates=True)
        return output["text_intermediates"][-1], self._real(ids), output["text_features"]

    def _real(self, ids: Tensor) -> Tensor:
        """What lies behind the end of a text is padding, whose id may be a word's too: bool [b, n]."""
        end = getattr(self._tokenizer, "eot_token_id", None)
        if end is None:
            words = self._tokenizer.tokenizer
            is_word = ids != words.pad_token_id
            last = (is_word * torch.arange(ids.shape[1], device=ids.device)).amax(1)
        else:
            last = (ids == end).int().argmax(1)
        real: Tensor = torch.arange(ids.shape[1], device=ids.device)[None] <= last[:, None]
        return real

    def save(self, folder: Path) -> None:
        """Write the folder that open_clip reads as `local-dir:`, tokenizer included where it is not open_clip's own."""
        with new_folder(folder) as new:
            save_open_clip(self.model, self.config, new)
            if hasattr(self._tokenizer, "save_pretrained"):
                self._tokenizer.save_pretrained(new)


def build_clip_text_encoder(options: EncoderOptions) -> ClipTextEncoder:
    """The text encoder of the open_clip model that the options name, as for pictures.

    Raises:
        EncoderError: architecture or weights are unknown, pickled where this is not allowed, or cannot be reached;
            so with the tokenizer; or the text tower is one of transformers, which gives no states here.
    """
    loaded = open_clip_model(options)
    if not hasattr(getattr(loaded.model, "text", loaded.model), "positional_embedding"):
        raise EncoderError(
            "this open_clip model has a text tower of transformers, which gives no states of tokens here"
        )
    return ClipTextEncoder(loaded, _tokenizer_of(loaded), options.downsample, pick_device(options.device))


@torch.no_grad()
def embed_texts(encoder: Encoder, texts: Sequence[str]) -> Tensor:
    """CLIP embeddings of texts, normalised, float32 [texts, pooled_size] on the CPU.

    Args:
        encoder: of pictures, an open_clip model with both towers and open_clip's own byte-pair vocabulary.
        texts: at least one; what does not fit into the tower's context is cut off.

    Raises:
        EncoderError: the encoder has no text tower that these texts can be given to.
    """
    ids, encoder = text_ids(encoder, texts)
    embeddings: Tensor = encoder.model.encode_text(ids.to(encoder.device), normalize=True)
    return embeddings.float().cpu()


def text_ids(encoder: Encoder, texts: Sequence[str]) -> tuple[Tensor, ImageEncoder]:
    """Ids of texts for an encoder's text tower, int64 [texts, context], and that encoder.

    Raises:
        EncoderError: as of `embed_texts`.
    """
    if not isinstance(encoder, ImageEncoder):
        raise EncoderError(f"an encoder of {encoder.modality} has no text tower; CLIP models of pictures have one")
    tokenizer, model = _own_tokenizer(), encoder.model
    if not has_text_tower(encoder):
        raise EncoderError(
            f"the image encoder has no text tower of open_clip's own vocabulary of {tokenizer.vocab_size} tokens; "
            "use a CLIP model that has one"
        )
    return tokenizer(list(texts), context_length=model.context_length), encoder


def has_text_tower(encoder: Encoder) -> bool:
    """Whether the encoder is of pictures and has a text tower of open_clip's own byte-pair vocabulary."""
    if not isinstance(encoder, ImageEncoder):
        return False
    text_config = encoder.config["model_cfg"].get("text_cfg") or {}
    size = text_config.get("vocab_size", _own_tokenizer().vocab_size)
    return (
        hasattr(encoder.model, "encode_text")
        and "hf_tokenizer_name" not in text_config
        and size >= (_own_tokenizer().vocab_size)
    )


def _tokenizer_of(loaded: OpenClipModel) -> Any:
    """open_clip's own tokenizer, or the one that the configuration names: beside the weights, else of the hub."""
    from open_clip.tokenizer import HFTokenizer

    text = loaded.config["model_cfg"]["text_cfg"]
    name, settings = text.get("hf_tokenizer_name"), text.get("tokenizer_kwargs") or {}
    if not name:
        own = _own_tokenizer()
        if text.get("vocab_size", own.vocab_size) < own.vocab_size or settings:
            raise EncoderError(f"the text tower is not one of open_clip's own vocabulary of {own.vocab_size} tokens")
        return own
    beside = loaded.folder is not None and any(loaded.folder.glob("tokenizer*"))
    source = str(loaded.folder) if beside else str(name)
    if not beside and not Path(source).is_dir():
        require_reachable(source, shipped_instead("data/encoders/text"), ("tokenizer.json", "tokenizer_config.json"))
    try:
        return HFTokenizer(source, text.get("context_length"), tokenizer_mode=text.get("tokenizer_mode"), **settings)
    except LOAD_ERRORS as error:
        raise EncoderError(f"the tokenizer of {source} does not load: {str(error)[:300]}") from error


@lru_cache(maxsize=1)
def _own_tokenizer() -> Any:
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()
