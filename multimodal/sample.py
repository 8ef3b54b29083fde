"""The one record that travels: a condition (picture, sound or text) and the text that belongs to it."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from multimodal.errors import DatasetError, MediaError


class Modality(StrEnum):
    """What the conditioning content of a sample is."""

    IMAGE = "image"
    AUDIO = "audio"
    TEXT = "text"


class Split(StrEnum):
    """What a sample may be used for."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class Task(StrEnum):
    """What the decoder is asked to write."""

    CAPTION = "caption"
    TRANSCRIBE = "transcribe"
    DENOISE = "denoise"
    INFILL = "infill"
    RESTYLE = "restyle"
    AUDIO_CAPTION = "audio_caption"

    @property
    def modality(self) -> Modality:
        """The modality of the content that this task conditions on."""
        if self is Task.CAPTION:
            return Modality.IMAGE
        return Modality.AUDIO if self in (Task.TRANSCRIBE, Task.AUDIO_CAPTION) else Modality.TEXT


CAPTIONS = (Task.CAPTION, Task.AUDIO_CAPTION)
"""Tasks that describe a content: each may have several captions, and none is the only right one."""


@dataclass(frozen=True, slots=True)
class Content:
    """The conditioning content of one or more samples, encoded once however many samples share it.

    Args:
        content_id: `content_digest` of `data`.
        modality: picture, sound or text.
        data: the bytes of the media file as found, or the input text as UTF-8.
    """

    content_id: str
    modality: Modality
    data: bytes

    @property
    def size(self) -> int:
        """Of `data`, in bytes."""
        return len(self.data)


@dataclass(frozen=True, slots=True)
class UnreadContent:
    """A content of which all is known but the bytes, which are read when they are asked for.

    Args:
        content_id, modality: as of `Content`.
        size: in bytes.
        read: gives the bytes.
    """

    content_id: str
    modality: Modality
    size: int
    read: Callable[[], bytes]

    @property
    def data(self) -> bytes:
        """The bytes.

        Raises:
            DatasetError: they are others than they were.
        """
        return read_unchanged(self.read, self.content_id)


@dataclass(frozen=True, slots=True)
class Sample:
    """One (content, target text) pair: exactly one row of one source.

    A picture with five captions is five samples that share a `content_id`; those texts are each other's
    references when captions of that picture are scored.

    Args:
        sample_id: digest of content, task, style and text; unique in a dataset.
        content_id: key of the conditioning content, in the dataset and in the latent store.
        modality: modality of the content.
        task: what is to be written.
        split: train, val or test.
        group: samples of one group are always in the same split (scene combination, sentence, album ...).
        source: name of the source in the configuration.
        uri: where the row came from, `<file relative to the source>#<row>` or a media path.
        text: the target text, NFC, white space collapsed.
        input: the conditioning text (denoise: noisy, restyle: other style); "" for media and for infill.
        style: style or language that the text is in, by which it can be asked for; "" if none is named.
        hint: text beside the content that says what to expect (names that a clip mentions), "" if none.
        picture: content id of a picture beside the content, "" if none.
        originals: text, input and hint as found, as JSON, of those that normalising changed; "" if none did. No key
            depends on it.
        speaker: speaker or voice where the source names one, else "".
        attributes: the source's further columns as JSON (a scene description, say), "{}" if none.
    """

    sample_id: str
    content_id: str
    modality: Modality
    task: Task
    split: Split
    group: str
    source: str
    uri: str
    text: str
    input: str = ""
    style: str = ""
    speaker: str = ""
    attributes: str = "{}"
    hint: str = ""
    picture: str = ""
    originals: str = ""


FURTHER_INPUTS = ("hint", "picture")
"""What a sample may be conditioned on beside its content: fields of `Sample`, columns of manifests and requests."""


def normalise(text: str) -> str:
    """A text as samples hold it: Unicode NFC, white space collapsed."""
    return " ".join(unicodedata.normalize("NFC", text).split()) if text else ""


def content_digest(data: bytes) -> str:
    """SHA-256 of the bytes, first 32 hex digits: the key of a content everywhere."""
    return hashlib.sha256(data).hexdigest()[:32]


def read_unchanged(read: Callable[[], bytes], content_id: str) -> bytes:
    """Bytes that must be those of a content.

    Raises:
        DatasetError: they are others, or gone.
    """
    try:
        data = read()
    except MediaError as error:
        raise DatasetError(f"a file is gone since this ingest began: {error.detail}; ingest again") from error
    if content_digest(data) != content_id:
        raise DatasetError(f"a file changed while it was ingested: it held content {content_id}; ingest again")
    return data


def sample_digest(content_id: str, task: str, style: str, text: str, *further: str) -> str:
    """The key of a sample: SHA-256 over its content, task, style, text and, if there are any, its further inputs; first
    32 hex digits."""
    parts = (content_id, task, style, text, *(further if any(further) else ()))
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]
