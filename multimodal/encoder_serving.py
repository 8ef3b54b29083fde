"""A registered encoder as MLflow sees it: contents in, pooled vectors out.

One input row is one content: `path`, `bytes`, `base64` or `text`. One output row, in the same order, is

    pooled     its vector, a JSON list
    tokens     how many hidden states the encoder gives of it
    reading    the text that the encoder itself reads off it, "" if none
    error      what is wrong with the row, "" otherwise: a bad row never fails the others

The logged model is the encoder's folder (JSON and safetensors), its options, and the source of this library; nothing
in it is a pickle. A pipeline names the same folder by `weights: models:/NAME/VERSION`.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow.pyfunc
import pandas as pd
from mlflow import MlflowClient
from mlflow.models import Model, ModelSignature
from mlflow.pyfunc.model import PythonModel
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType

from multimodal.encoders import build_encoder
from multimodal.encoders.base import Encoder
from multimodal.encoders.options import EncoderOptions
from multimodal.errors import MediaError, RequestError
from multimodal.predictor import decode_base64
from multimodal.sample import Modality
from multimodal.serving import paths_allowed, requirements

ENCODER, OPTIONS = "encoder", "encoder.json"
"""Key of the folder among the logged model's artifacts, and the file of options beside it."""

_INPUTS = ("path", "bytes", "base64", "text")
_OUTPUTS = {"pooled": DataType.string, "tokens": DataType.long, "reading": DataType.string, "error": DataType.string}
_EXAMPLES = {
    Modality.IMAGE: {"path": "a/picture.jpg"},
    Modality.AUDIO: {"path": "a/sound.flac"},
    Modality.TEXT: {"text": "an example"},
}


class EncoderModel(PythonModel):
    """The pyfunc model: a table of contents in, a table of vectors out."""

    def __init__(self) -> None:
        self._encoder: Encoder | None = None

    def load_context(self, context: Any) -> None:
        """Load the encoder that travels with the model."""
        values = json.loads(Path(context.artifacts["options"]).read_text())
        options = EncoderOptions.model_validate(values["options"] | {"weights": str(context.artifacts[ENCODER])})
        self._encoder = build_encoder(options, Modality(values["modality"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Encode every row."""
        if self._encoder is None:
            self.load_context(context)
        assert self._encoder is not None
        return encode_table(self._encoder, model_input)


def encode_table(encoder: Encoder, table: pd.DataFrame) -> pd.DataFrame:
    """Pooled vectors of a table's contents, one row each, in the same order and under the same index; see the module.

    Raises:
        RequestError: the table has none of the columns that name a content.
    """
    names = [name for name in _INPUTS if name in table.columns]
    if not names:
        raise RequestError(f"the table needs a column of {', '.join(_INPUTS)}; it has {', '.join(map(str, table))}")
    rows = [_encoded(encoder, dict(zip(names, cells, strict=True))) for cells in table[names].itertuples(index=False)]
    return pd.DataFrame(rows, index=table.index, columns=list(_OUTPUTS))


def log_encoder(client: MlflowClient, folder: Path, options: EncoderOptions, modality: Modality, run_id: str) -> str:
    """Log an encoder's folder as a model of an MLflow run, in the run's experiment, and return the model's URI.

    MLflow's global tracking URI must be the client's; `multimodal.registry` sees to it.
    """
    source = Path(__file__).parent
    experiment_id = client.get_run(run_id).info.experiment_id
    model = client.create_logged_model(experiment_id, f"{modality}-encoder", source_run_id=run_id)
    any_type: Any = AnyType
    signature = ModelSignature(
        Schema([ColSpec(any_type(), name, required=False) for name in _INPUTS]),
        Schema([ColSpec(kind, name) for name, kind in _OUTPUTS.items()]),
    )
    chosen = options.model_dump(mode="json", exclude={"model", "weights", "pretrain", "device", "origin"})
    with TemporaryDirectory() as scratch:
        described = Path(scratch) / OPTIONS
        described.write_text(json.dumps({"modality": str(modality), "options": chosen}))
        info = Model.log(
            artifact_path=None,
            name=f"{modality}-encoder",
            model_id=model.model_id,
            flavor=mlflow.pyfunc,
            run_id=run_id,
            python_model=str(source / "pyfunc_encoder.py"),
            artifacts={ENCODER: str(folder), "options": str(described)},
            code_paths=[str(source)],
            signature=signature,
            input_example=pd.DataFrame([_EXAMPLES[modality]]),
            pip_requirements=requirements(),
        )
    return str(info.model_uri)


def _encoded(encoder: Encoder, row: dict[str, Any]) -> tuple[str, int, str, str]:
    try:
        output = encoder.encode([encoder.preprocess(_content(row))])
    except (MediaError, RequestError) as error:
        return "", 0, "", str(error)
    reading = output.readings[0] if output.readings else ""
    return json.dumps(output.pooled[0].tolist()), int(output.attention_mask[0].sum()), reading, ""


def _content(row: dict[str, Any]) -> bytes:
    given = {name: value for name, value in row.items() if isinstance(value, str | bytes) and value}
    if len(given) != 1:
        raise RequestError(f"a row names one content, by path, bytes, base64 or text; this one has {len(given)}")
    ((name, value),) = given.items()
    if name == "path":
        return _file(str(value))
    if name == "text":
        return str(value).encode()
    return value if isinstance(value, bytes) else decode_base64(value)


def _file(path: str) -> bytes:
    if not paths_allowed():
        raise RequestError("this server reads no files of its machine; send `base64`")
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}") from error
