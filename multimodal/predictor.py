"""From media and text to text: encoders and decoder behind one call, for a table of rows of which some may be bad."""

from __future__ import annotations

import base64
import binascii
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from multimodal.encoders.base import Encoder
from multimodal.encoders.clip_text import embed_texts
from multimodal.errors import MediaError, RequestError
from multimodal.generation import Constraints, Generation, Request, TextGenerator
from multimodal.latents.quantize import quantize
from multimodal.sample import Modality, Task, content_digest, normalise
from multimodal.training.options import SamplerOptions

ROWS_AT_ONCE = 256
"""Rows whose media are in memory at the same time."""

GENERATE_AT_ONCE = 64
MOST_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Row:
    """One thing to be written; one of `path`, `data` and `text` says from what.

    Args:
        task: what to write.
        path: a picture, a sound, or a text file.
        data: the content itself: picture or sound file, or UTF-8 text.
        text: text tasks: the text; infill: with gaps `___`. Media tasks leave it alone: it may be a reference.
        style: restyle: the target style. Other tasks: one of the styles that the model was trained to write them in, ""
            for none.
        constraints: what the text must be like; None: nothing.
        hint: a text beside the content that says what to expect, "" for none.
        picture: file of a picture beside the content, or
        picture_data: its bytes; None: there is none.
    """

    task: str
    path: str | None = None
    data: bytes | None = None
    text: str | None = None
    style: str = ""
    constraints: Constraints | None = None
    hint: str = ""
    picture: str | None = None
    picture_data: bytes | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; the content as base64."""
        values = {"task": self.task, "path": self.path, "base64": _encode_base64(self.data), "text": self.text}
        values |= {"style": self.style}
        further = {
            "constraints": self.constraints.to_json() if self.constraints else None,
            "hint": self.hint,
            "picture": self.picture,
            "picture_base64": _encode_base64(self.picture_data),
        }
        return values | {name: value for name, value in further.items() if value}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Row:
        """The inverse of `to_json`.

        Raises:
            RequestError: `base64` is not base64, or the constraints are none.
        """
        data, picture_data = (
            None if values.get(name) is None else decode_base64(values[name]) for name in ("base64", "picture_base64")
        )
        given = values.get("constraints")
        return cls(
            values["task"],
            values["path"],
            data,
            values["text"],
            values["style"],
            Constraints.from_json(given) if given else None,
            values.get("hint", ""),
            values.get("picture"),
            picture_data,
        )


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was written for one row.

    Args:
        text: the text; "" where `error` says why there is none.
        confidence: the share of the text's words that is expected to be right, 0 to 1.
        abstain: the confidence is below what the model's val texts had to reach to be trusted: have it looked at.
        tokens: the text's tokens, a word's first token beginning with a space.
        token_confidences: how likely each token is right; 1 for given ones.
        filled: infill: the text of each gap.
        nfe: calls of the denoiser.
        error: why there is no text; "" where there is one.
    """

    text: str = ""
    confidence: float = 0.0
    abstain: bool = False
    tokens: tuple[str, ...] = ()
    token_confidences: tuple[float, ...] = ()
    filled: tuple[str, ...] = ()
    nfe: int = 0
    error: str = ""


def _encode_base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def decode_base64(text: str) -> bytes:
    """The bytes of standard base64; line breaks are allowed.

    Raises:
        RequestError: it is no base64.
    """
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(f"'base64' holds no base64 ({error}); encode the file's bytes") from error


class Predictor:
    """Writes texts for rows of any task that the decoder was trained for.

    Args:
        generator: the decoder with its tokenizer.
        encoders: one per modality of those tasks.
        sampler: how texts are drawn where a call does not say.
    """

    def __init__(self, generator: TextGenerator, encoders: Mapping[Modality, Encoder], sampler: SamplerOptions) -> None:
        self.generator = generator
        self.encoders = dict(encoders)
        self.sampler = sampler
        if Modality.IMAGE in self.encoders:
            self.generator.embed_texts = self._embed_texts

    def predict(
        self, rows: Sequence[Row], options: SamplerOptions | None = None, allow_paths: bool = True
    ) -> list[Prediction]:
        """One prediction per row, in the rows' order; a row that cannot be served says so in its `error`.

        What is written for a row depends on its content, task, style and the options alone, not on its neighbours.

        Args:
            rows: any mixture of tasks.
            options: how texts are drawn.
            allow_paths: whether rows may name files of this machine.
        """
        predictions: list[Prediction] = []
        for start in range(0, len(rows), ROWS_AT_ONCE):
            predictions += self._predict(rows[start : start + ROWS_AT_ONCE], options or self.sampler, allow_paths)
        return predictions

    def _predict(self, rows: Sequence[Row], options: SamplerOptions, allow_paths: bool) -> list[Prediction]:
        predictions: dict[int, Prediction] = {}
        requests: dict[int, Request] = {}
        inputs: dict[Modality, dict[int, Tensor]] = defaultdict(dict)
        pictures: dict[int, Tensor] = {}
        for index, row in enumerate(rows):
            try:
                request, tensor, picture = self._prepare(row, allow_paths)
            except (RequestError, MediaError) as error:
                predictions[index] = Prediction(error=str(error))
                continue
            requests[index] = request
            if tensor is not None:
                inputs[request.task.modality][index] = tensor
            if picture is not None:
                pictures[index] = picture
        for modality, tensors in inputs.items():
            for index, hidden_states, pooled, reading in self._encode(modality, tensors):
                text = requests[index].text or reading
                requests[index] = replace(requests[index], hidden_states=hidden_states, text=text, pooled=pooled)
        for index, hidden_states, *_ in self._encode(Modality.IMAGE, pictures):
            requests[index] = replace(requests[index], picture=hidden_states)
        written = self._generate(list(requests.values()), options)
        predictions |= dict(zip(requests, written, strict=True))
        return [predictions[index] for index in range(len(rows))]

    def _prepare(self, row: Row, allow_paths: bool) -> tuple[Request, Tensor | None, Tensor | None]:
        """The row's request, still without latents, what its encoder takes, None for infill, and the image encoder of
        the picture beside it, None where there is none."""
        if row.task not in list(Task):
            raise RequestError(f"unknown task {row.task!r}; the tasks are {', '.join(Task)}")
        task = Task(row.task)
        data = _read_content(row, task, allow_paths)
        text = _decode_text(data) if task.modality is Modality.TEXT else ""
        data = text.encode() or data
        style = row.style
        if task is Task.RESTYLE and not style:
            known = ", ".join(self.generator.decoder.config.styles_of(task)) or "none"
            raise RequestError(f"restyle needs a 'style'; the model knows {known}")
        hint, picture = normalise(row.hint), _read_picture(row, allow_paths)
        further = (hint.encode(), picture or b"") if hint or picture else ()
        key = content_digest(b"\x1f".join((task.encode(), style.encode(), data, *further)))
        request = Request(key, task, None, text, style, row.constraints, hint)
        self.generator.check([request])
        inputs = None if task is Task.INFILL else self._encoder(task.modality, task).preprocess(data)
        return request, inputs, None if picture is None else self._picture_encoder().preprocess(picture)

    def _picture_encoder(self) -> Encoder:
        self.generator.check_reads("picture")
        return self._encoder(Modality.IMAGE, "a picture")

    def _encoder(self, modality: Modality, purpose: str) -> Encoder:
        if modality not in self.encoders:
            raise RequestError(f"{purpose} needs an encoder of {modality}; the model has none")
        return self.encoders[modality]

    def _embed_texts(self, texts: Sequence[str]) -> Tensor:
        return embed_texts(self.encoders[Modality.IMAGE], texts)

    def _encode(
        self, modality: Modality, tensors: Mapping[int, Tensor]
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray, str]]:
        """Latents of each row [n, d], rounded as the latent store rounds them, their pooled vector and the encoder's
        reading."""
        encoder, indices = self.encoders[modality], list(tensors)
        for start in range(0, len(indices), GENERATE_AT_ONCE):
            chunk = indices[start : start + GENERATE_AT_ONCE]
            output = encoder([tensors[index] for index in chunk])
            mask, pooled = output.attention_mask, output.pooled.float().cpu().numpy()
            stored = quantize(output.hidden_states[mask], encoder.storage).cpu().split(mask.sum(1).tolist())
            readings = output.readings or [""] * len(chunk)
            for row, index in enumerate(chunk):
                yield index, stored[row].states().numpy(), pooled[row], readings[row]

    def _generate(self, requests: Sequence[Request], options: SamplerOptions) -> list[Prediction]:
        predictions: list[Prediction] = []
        for start in range(0, len(requests), GENERATE_AT_ONCE):
            chunk = requests[start : start + GENERATE_AT_ONCE]
            try:
                predictions += [_prediction(written) for written in self.generator.generate(chunk, options)]
            except RequestError:  # one of them cannot be written: the others shall not suffer
                predictions += [self._generate_one(request, options) for request in chunk]
        return predictions

    def _generate_one(self, request: Request, options: SamplerOptions) -> Prediction:
        try:
            return _prediction(self.generator.generate([request], options)[0])
        except RequestError as error:
            return Prediction(error=str(error))


def _prediction(written: Generation) -> Prediction:
    return Prediction(
        text=written.text,
        confidence=written.confidence,
        abstain=not written.trusted,
        tokens=written.tokens,
        token_confidences=written.confidences,
        filled=written.filled,
        nfe=written.nfe,
    )


def _read_content(row: Row, task: Task, allow_paths: bool) -> bytes:
    texts = task.modality is Modality.TEXT
    cells = {"path": row.path, "bytes": row.data, "text": row.text if texts else None}
    given = [name for name, value in cells.items() if value is not None]
    if len(given) != 1:
        wanted = "a 'text'" if texts else f"a 'path', 'bytes' or 'base64' of its {task.modality}"
        raise RequestError(f"{task} needs {wanted}; the row holds {' and '.join(given) or 'none'}")
    if texts and row.text is not None:
        return row.text.encode()
    return _served("content", row.data if row.data is not None else _read_file(Path(row.path or ""), allow_paths))


def _read_picture(row: Row, allow_paths: bool) -> bytes | None:
    if row.picture is not None and row.picture_data is not None:
        raise RequestError("the row holds its picture twice, as a path and as bytes; give one")
    if row.picture is None and row.picture_data is None:
        return None
    data = row.picture_data if row.picture_data is not None else _read_file(Path(row.picture or ""), allow_paths)
    return _served("picture", data)


def _served(name: str, data: bytes) -> bytes:
    if not data or len(data) > MOST_BYTES:
        raise RequestError(f"the row's {name} has {len(data)} bytes; between 1 and {MOST_BYTES} can be served")
    return data


def _read_file(path: Path, allow_paths: bool) -> bytes:
    if not allow_paths:
        raise RequestError(f"this server reads no files ('path' is {str(path)!r}); send 'base64' instead")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise RequestError(f"{path} has {path.stat().st_size} bytes; at most {MOST_BYTES} can be served")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise RequestError(f"cannot read {str(path)!r}: {why}; relative paths start at {Path.cwd()}") from error


def _decode_text(data: bytes) -> str:
    """The text as the dataset holds texts: NFC, white space collapsed."""
    try:
        text = normalise(data.decode())
    except UnicodeDecodeError as error:
        raise RequestError(f"the text is not UTF-8: {error}") from error
    if not text:
        raise RequestError("the text is empty")
    return text
