"""Speech models of transformers and their feature extractors: fresh ones, and those of a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from multimodal.encoders.clap import ClapTower
from multimodal.encoders.ctc import CTCHead
from multimodal.encoders.towers import SpeechTower, Wav2Vec2Tower, WhisperTower
from multimodal.encoders.weights import LOAD_ERRORS, load_transformers, read_tensors, require_weights
from multimodal.errors import EncoderError

TOWERS: dict[str, type[SpeechTower]] = {"whisper": WhisperTower, "wav2vec2": Wav2Vec2Tower, "clap": ClapTower}
"""Family by the `kind` of the encoder's options."""

MODEL_TYPES = {
    "whisper": ("whisper",),
    "wav2vec2": ("wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat", "data2vec-audio"),
    "clap": ("clap", "clap_audio_model"),
}
"""What transformers calls the models of each kind."""

FRESH_EXTRACTOR = "extractor"
"""Key of an architecture file that holds the extractor's settings."""

_WHAT = "audio encoder"


def fresh_model(kind: str, path: str | None) -> tuple[Any, Any]:
    """A model with random weights: the JSON holds config values, and the extractor's under `extractor`.

    Raises:
        EncoderError: there is no such file, or it does not describe a model of this kind.
    """
    import transformers

    if path is None or not Path(path).is_file():
        raise EncoderError(
            f"{_WHAT}: no weights and no architecture file at {path!r}; set `model` to a JSON file such as "
            "conf/models/sample-audio.json, or `weights` to a folder or hub id"
        )
    try:
        values = json.loads(Path(path).read_text())
        settings = values.pop(FRESH_EXTRACTOR, {})
        if kind == "whisper":
            config = transformers.WhisperConfig(**values)
            return _whisper_encoder_class()(config), transformers.WhisperFeatureExtractor(**settings)
        config = transformers.AutoConfig.for_model(values.pop("model_type", "wav2vec2"), **values)
        _require_kind(kind, config, str(path))
        return transformers.AutoModel.from_config(config), transformers.Wav2Vec2FeatureExtractor(**settings)
    except LOAD_ERRORS as error:
        raise EncoderError(f"{_WHAT}: {path} does not describe a {kind} model: {error}") from error


def load_model(kind: str, folder: Path, allow_pickle: bool) -> tuple[Any, Any]:
    """The model of a folder in the layout of transformers, in float32, and its feature extractor.

    Raises:
        EncoderError: something is absent, damaged, of another kind, or pickled and this is not allowed.
    """
    import transformers

    require_weights(folder, allow_pickle, _WHAT)
    try:
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
        extractor = transformers.AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False)
    except LOAD_ERRORS as error:
        raise EncoderError(f"{_WHAT}: {folder} does not load as a {kind} model: {error}") from error
    _require_kind(kind, config, str(folder))
    model = load_transformers(_class_of(config), folder, allow_pickle, _WHAT)
    whole_whisper = kind == "whisper" and config.architectures != ["WhisperEncoder"]
    return (model.get_encoder() if whole_whisper else model), extractor


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder, None where it has none.

    Raises:
        EncoderError: it is damaged.
    """
    import transformers

    if not any(folder.glob("tokenizer*")):
        return None
    try:
        return transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except LOAD_ERRORS as error:
        raise EncoderError(f"{_WHAT}: the tokenizer of {folder} does not load: {error}") from error


def load_head(path: Path, model: Any) -> CTCHead | None:
    """The CTC head beside a tower's weights, None where there is none.

    Raises:
        EncoderError: it is damaged, or of another width.
    """
    if not path.is_file():
        return None
    head = CTCHead(model.config.hidden_size)
    try:
        head.load_state_dict(read_tensors(path, allow_pickle=False))
    except RuntimeError as error:
        raise EncoderError(f"{_WHAT}: {path} does not fit the model beside it: {error}") from error
    return head


def _require_kind(kind: str, config: Any, name: str) -> None:
    if config.model_type not in MODEL_TYPES[kind]:
        raise EncoderError(f"{_WHAT}: '{name}' is a {config.model_type} model, but `kind` is {kind}")
    if getattr(config, "add_adapter", False):
        raise EncoderError(f"{_WHAT}: '{name}' has an adapter behind its states; take the model without one")


def _class_of(config: Any) -> Any:
    """The class whose weights a folder holds: for CLAP the whole model, since scores need its text tower."""
    import transformers

    if config.architectures == ["WhisperEncoder"]:
        return _whisper_encoder_class()
    if config.model_type.startswith("clap"):
        return transformers.ClapModel if config.model_type == "clap" else transformers.ClapAudioModel
    return transformers.AutoModel


def _whisper_encoder_class() -> Any:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    return WhisperEncoder
