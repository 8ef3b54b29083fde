"""Read one media file, decode it fully within limits, and say in a typed reason what is wrong with it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from multimodal.errors import MediaError
from multimodal.ingest.options import CheckOptions
from multimodal.ingest.pictures import decode_picture
from multimodal.ingest.quality import check_picture, check_sound
from multimodal.ingest.reasons import Reason
from multimodal.ingest.sounds import decode_sound
from multimodal.sample import Modality, content_digest


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What is known of a media file once it has been decoded.

    Args:
        content_id: `content_digest` of its bytes.
    """

    content_id: str


def read_file(path: Path, checks: CheckOptions) -> bytes:
    """The bytes of a plain file; nothing else is waited for, whatever the name stands for.

    Raises:
        MediaError: no plain file is there, or it is larger than `max_file_bytes`.
    """
    try:
        # Looked at before it is opened: opening a device can do something, opening a pipe waits for a writer.
        if not stat.S_ISREG(path.stat().st_mode):
            raise MediaError(Reason.MISSING_FILE, f"no file at {path}")
        with open(path, "rb", opener=_open_without_waiting) as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read(min(size, checks.max_file_bytes) + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise MediaError(Reason.MISSING_FILE, f"{path}: {error}") from error
    if len(data) > checks.max_file_bytes:
        raise MediaError(Reason.TOO_LARGE, f"{max(size, len(data))} bytes, at most {checks.max_file_bytes}")
    return data


def check_media(data: bytes, modality: Modality, checks: CheckOptions) -> MediaFacts:
    """Decode the bytes of a picture or a sound fully.

    Raises:
        MediaError: with the reason for the ledger.
    """
    if modality is Modality.IMAGE:
        check_picture(decode_picture(data, checks), checks)
    else:
        check_sound(decode_sound(data, checks), checks)
    return MediaFacts(content_digest(data))


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
