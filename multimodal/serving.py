"""The registered model as MLflow sees it: a pyfunc model from code around a model package, with a typed signature.

One input row is one text to be written:

    task     caption, transcribe, denoise, infill, restyle or audio_caption
    path     a media or text file of the machine that predicts, or
    bytes    the file's bytes, or
    base64   the same as base64 (for REST), or
    text     the text (denoise, infill with gaps `___`, restyle)
    style    restyle: the target style; other tasks: one of the styles that they were trained in, if any
    hint     a text beside the content that says what to expect, for models that were trained with hints
    picture, picture_base64  a picture beside the content: its path, or its bytes, for models trained with those
    constraints  a JSON object: must_contain, must_not_contain (lists of words), prefix, suffix, min_words, max_words

and one output row, in the same order, is

    text, confidence (0 to 1), abstain (true: below the model's threshold of trust), tokens and token_confidences
    (JSON lists), filled (infill: JSON list), nfe, error

where `error` says what is wrong with that row and is "" otherwise: a bad row never fails the others. The parameters
preset, num_steps, temperature, guidance_scale, threshold and seed overrule the model's own sampler; `guidance` by types
is what the model was registered with.

The logged model carries its package (safetensors and JSON) and the source of this library as `code/`, so that a
version goes on loading with the code that it was made with, whether or not this library is installed (where it is
imported already, the installed code is used). Nothing in it is a pickle. To serve a champion over REST (MLflow asks
nobody for a password: keep it on loopback, or put a proxy before it):

    MLFLOW_TRACKING_URI=sqlite:///workspace/mlflow.db mlflow models serve --env-manager local --port 5001 \\
        --model-uri models:/sample@champion
    curl 127.0.0.1:5001/invocations -H 'Content-Type: application/json' -d '{"dataframe_records":
        [{"task": "denoise", "text": "a smal red circle"}], "params": {"num_steps": 4}}'

Such a server reads no files of its machine for clients unless it is started with `MULTIMODAL_SERVE_PATHS=true`.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd
from mlflow import MlflowClient
from mlflow.models import Model, ModelSignature
from mlflow.pyfunc.model import PythonModel
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import AnyType
from pydantic import ValidationError

from multimodal.errors import RequestError
from multimodal.generation import Constraints
from multimodal.package import ModelPackage, load_predictor
from multimodal.predictor import Prediction, Predictor, Row, decode_base64
from multimodal.training.options import SamplerOptions

PACKAGE = "package"
"""Key of the model package among the logged model's artifacts."""

REQUIREMENTS = (
    "huggingface_hub", "mlflow", "numpy", "open_clip_torch", "pandas", "pillow", "pydantic", "pyyaml", "safetensors",
    "soundfile", "soxr", "tokenizers", "torch", "torchaudio", "torchvision", "transformers",
)  # fmt: skip
"""What prediction imports; the model names the versions installed when it was registered."""

INPUT_COLUMNS = ("path", "bytes", "base64", "text", "style", "constraints", "hint", "picture", "picture_base64")
IN_SERVER = "_MLFLOW_IS_IN_SERVING_ENVIRONMENT"
"""Set to true by MLflow in the processes of `mlflow models serve`."""


class TextModel(PythonModel):
    """The pyfunc model: a table in, a table out."""

    def __init__(self) -> None:
        self._predictor: Predictor | None = None

    def load_context(self, context: Any) -> None:
        """Load the package that travels with the model."""
        self._predictor = load_predictor(Path(context.artifacts[PACKAGE]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Write a text for every row.

        Raises:
            RequestError: a parameter is out of range, or the input is no table with a column `task`.
        """
        if self._predictor is None:
            self.load_context(context)
        assert self._predictor is not None
        return predict_table(self._predictor, model_input, params)


def predict_table(predictor: Predictor, table: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Predictions for a table, one row each, in the same order and under the same index; see the module.

    Raises:
        RequestError: a parameter is out of range, or the table has no column `task`.
    """
    if "task" not in table.columns:
        raise RequestError(f"the table needs a column 'task', it has {', '.join(map(str, table.columns)) or 'none'}")
    options = _sampler(predictor.sampler, params or {})
    rows, errors = _read_rows(table)
    written = iter(predictor.predict(rows, options, allow_paths=paths_allowed()))
    predictions = [next(written) if error is None else Prediction(error=error) for error in errors]
    return pd.DataFrame([_cells(prediction) for prediction in predictions], index=table.index, columns=_OUTPUT_NAMES)


def signature(sampler: SamplerOptions) -> ModelSignature:
    """Columns and parameters of the model; the parameters' defaults are the model's own sampler."""
    inputs: list[Any] = [ColSpec(DataType.string, "task")]
    # Any: MLflow refuses the whole table where a column of strings holds no value, and of bytes where one cell is null.
    any_type: Any = AnyType
    inputs += [ColSpec(any_type(), name, required=False) for name in INPUT_COLUMNS]
    params = [ParamSpec(name, _param_type(value), value) for name, value in _params(sampler).items()]
    return ModelSignature(
        Schema(inputs), Schema([ColSpec(kind, name) for name, kind in _OUTPUT.items()]), ParamSchema(params)
    )


def input_example(package: ModelPackage) -> pd.DataFrame:
    """The smallest row of the package's probe as an example, in the form that REST takes."""
    rows = [row for row, _ in package.probe]
    if not rows:
        return pd.DataFrame({"task": [str(package.tasks[0])], "text": ["an example"]})
    values = min((row.to_json() for row in rows), key=lambda row: len(json.dumps(row)))
    return pd.DataFrame([{name: value for name, value in values.items() if value}])


def requirements() -> list[str]:
    """The versions, as installed here, of what prediction imports; local version labels (`+cpu`) are left out."""
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in REQUIREMENTS]


def log_package(client: MlflowClient, package: ModelPackage, run_id: str) -> str:
    """Log a package as a model of an MLflow run, in the run's experiment, and return the model's URI.

    MLflow's global tracking URI must be the client's; `multimodal.registry` sees to it.
    """
    folder = Path(__file__).parent
    experiment_id = client.get_run(run_id).info.experiment_id
    tags = {"package_fingerprint": package.fingerprint}
    model = client.create_logged_model(experiment_id, "model", source_run_id=run_id, tags=tags)
    info = Model.log(
        artifact_path=None,
        name="model",
        model_id=model.model_id,
        flavor=mlflow.pyfunc,
        run_id=run_id,
        python_model=str(folder / "pyfunc_model.py"),
        artifacts={PACKAGE: str(package.path)},
        code_paths=[str(folder)],
        signature=signature(package.sampler),
        input_example=input_example(package),
        pip_requirements=requirements(),
        metadata=tags,
    )
    return str(info.model_uri)


_OUTPUT = {
    "text": DataType.string,
    "confidence": DataType.double,
    "abstain": DataType.boolean,
    "tokens": DataType.string,
    "token_confidences": DataType.string,
    "filled": DataType.string,
    "nfe": DataType.long,
    "error": DataType.string,
}
_OUTPUT_NAMES = list(_OUTPUT)


_CELL_TYPES: dict[str, tuple[type, ...]] = {
    "bytes": (bytes, bytearray, memoryview, str),
    "path": (str, os.PathLike),
    "picture": (str, os.PathLike),
    "constraints": (str, dict),
}


def _params(sampler: SamplerOptions) -> dict[str, Any]:
    """What a call may overrule, for all tasks at once; `preset` "" keeps the model's own. Mappings are left out: no
    parameter of MLflow can be one."""
    return sampler.model_dump(exclude={"tasks", "guidance"}) | {"preset": ""}


def _param_type(value: float | str) -> DataType:
    if isinstance(value, str):
        return DataType.string
    return DataType.long if isinstance(value, int) else DataType.double


def _sampler(sampler: SamplerOptions, params: Mapping[str, Any]) -> SamplerOptions:
    own = _params(sampler)  # MLflow hands over every parameter: those that say what the model says overrule nothing
    try:
        return sampler.overruled({name: value for name, value in params.items() if value != own.get(name)})
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(map(str, problem["loc"])) or "sampler"
        raise RequestError(f"parameter {name}: {problem['msg']} (got {problem['input']!r})") from error


def _read_rows(table: pd.DataFrame) -> tuple[list[Row], list[str | None]]:
    """The rows that can be read, and for each row of the table what is wrong with it, None where nothing is."""
    names = [name for name in ("task", *INPUT_COLUMNS) if name in table.columns]
    rows: list[Row] = []
    errors: list[str | None] = []
    for cells in table[names].itertuples(index=False, name=None):
        values = {name: cell for name, cell in zip(names, cells, strict=True) if not _is_empty(cell)}
        try:
            rows.append(_read_row(values))
            errors.append(None)
        except RequestError as error:
            errors.append(str(error))
    return rows, errors


def _is_empty(cell: Any) -> bool:
    if isinstance(cell, str | bytes):
        return not cell
    return cell is None or cell is pd.NA or (isinstance(cell, float) and cell != cell)


def _read_row(values: Mapping[str, Any]) -> Row:
    for name, value in values.items():
        if not isinstance(value, _CELL_TYPES.get(name, (str,))):
            raise RequestError(f"'{name}' holds {type(value).__name__} {value!r:.40}, which is no {name}")
    if "bytes" in values and "base64" in values:
        raise RequestError("the row holds both 'bytes' and 'base64'; give one")
    return Row(
        task=str(values.get("task", "")),
        path=str(values["path"]) if "path" in values else None,
        data=_read_data(values),
        text=values.get("text"),
        style=values.get("style", ""),
        constraints=Constraints.from_json(values["constraints"]) if "constraints" in values else None,
        hint=values.get("hint", ""),
        picture=str(values["picture"]) if "picture" in values else None,
        picture_data=decode_base64(values["picture_base64"]) if "picture_base64" in values else None,
    )


def _read_data(values: Mapping[str, Any]) -> bytes | None:
    data = values.get("bytes", values.get("base64"))
    if isinstance(data, str):  # JSON has no bytes: a client's `bytes` is base64 as well
        return decode_base64(data)
    return None if data is None else bytes(data)


def _cells(prediction: Prediction) -> Sequence[Any]:
    lists = (prediction.tokens, [round(value, 6) for value in prediction.token_confidences], prediction.filled)
    tokens, confidences, filled = (json.dumps(values, ensure_ascii=False) for values in lists)
    sureness = prediction.confidence, prediction.abstain
    return prediction.text, *sureness, tokens, confidences, filled, prediction.nfe, prediction.error


def paths_allowed() -> bool:
    """Whether rows may name files of this machine: not those of a server's clients, unless it was started so."""
    return not _is_set(IN_SERVER) or _is_set("MULTIMODAL_SERVE_PATHS")


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in ("1", "true")
