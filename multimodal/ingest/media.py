"""Read one media file, decode it fully within limits, and say in a typed reason what is wrong with it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from multimodal.errors import MediaError
from multimodal.ingest.measures import Measures, picture_measures, sound_measures
from multimodal.ingest.options import CheckOptions
from multimodal.ingest.pictures import decode_picture
from multimodal.ingest.quality import check_picture, check_sound
from multimodal.ingest.reasons import Reason
from multimodal.ingest.sounds import decode_sound
from multimodal.sample import Modality


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What is known of a media file once it has been decoded.

    Args:
        measures: what was measured of it.
    """

    measures: Measures = field(default_factory=dict)


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
        raise too_many_bytes(max(size, len(data)), checks.max_file_bytes)
    return data


def too_many_bytes(size: int, max_bytes: int) -> MediaError:
    """The error of a file beyond `max_file_bytes`."""
    return MediaError(Reason.TOO_LARGE, f"{size} bytes, at most {max_bytes}", {"bytes": size})


def check_media(data: bytes, modality: Modality, checks: CheckOptions) -> MediaFacts:
    """Decode the bytes of a picture or a sound fully.

    Raises:
        MediaError: with the reason for the ledger, and all that was measured before it was found.
    """
    measures: Measures = {"bytes": len(data)}
    try:
        if modality is Modality.IMAGE:
            picture = decode_picture(data, checks, measures)
            measures |= picture_measures(picture, checks.min_image_contrast)
            check_picture(measures, checks)
        else:
            sound = decode_sound(data, checks, measures)
            measures |= sound_measures(sound, checks.silence_dbfs)
            check_sound(measures, checks)
    except MediaError as error:
        error.measures = measures
        raise
    return MediaFacts(measures)


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
