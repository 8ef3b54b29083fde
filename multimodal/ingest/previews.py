"""Small previews of media that was refused: what can still be seen and heard of it, made in the sandbox.

    python -m multimodal.ingest.previews FD SANDBOX_OPTIONS CHECK_OPTIONS

is the worker: it opens what ingest would not (small, odd-shaped and cut pictures, the beginning of long sounds) and
nothing that is beyond the limits on pixels, bytes, memory and time.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import soundfile
from PIL import ImageFile

from multimodal.data_uris import image_uri, wave_uri
from multimodal.errors import MediaError, UnreachableError
from multimodal.ingest import sandbox_worker
from multimodal.ingest.formats import audio_format
from multimodal.ingest.options import CheckOptions, SandboxOptions
from multimodal.ingest.pictures import decode_picture
from multimodal.ingest.reasons import Reason
from multimodal.ingest.refs import MediaRef, read_ref
from multimodal.ingest.sandbox import Media, Sandbox
from multimodal.sample import Modality

WORKER = "multimodal.ingest.previews"
LONGEST_SIDE = 96
"""Pixels."""

SECONDS = 4
TIMEOUT_SECONDS = 5.0
"""A preview is not worth more of a reader's time."""

ANY_SHAPE = {"min_image_pixels": 1, "max_aspect_ratio": 1e9, "max_frames": 10**9}


@dataclass(frozen=True, slots=True)
class Preview:
    """A picture or a sound as a data URI."""

    data_uri: str


def previews(
    media: Iterable[tuple[MediaRef, Modality]], checks: CheckOptions, sandbox: SandboxOptions
) -> Iterator[Preview | MediaError]:
    """A preview of each file, or why there is none, in order; worker processes start when the first file comes.

    Args:
        media: where files lie, and what they should hold.
        checks: whose limits on bytes and pixels hold here too.
        sandbox: whose cap on memory does.

    Raises:
        MultimodalError: the worker processes do not start.
    """
    options = sandbox.model_copy(update={"timeout_seconds": min(sandbox.timeout_seconds, TIMEOUT_SECONDS)})
    with Sandbox(checks, options, worker=WORKER) as workers:
        readers = (Media(partial(_read, ref, checks), modality) for ref, modality in media)
        for answer in workers.answers(readers):
            yield answer if isinstance(answer, MediaError) else Preview(**answer[1])


def preview(data: bytes, modality: Modality, checks: CheckOptions) -> Preview:
    """What a worker makes of one file.

    Raises:
        MediaError: nothing of it can be seen or heard.
    """
    if modality is Modality.IMAGE:
        return Preview(image_uri(decode_picture(data, checks.model_copy(update=ANY_SHAPE)), LONGEST_SIDE))
    return Preview(_beginning(data))


def _read(ref: MediaRef, checks: CheckOptions) -> bytes:
    try:
        return read_ref(ref, checks)
    except UnreachableError as error:  # a report is worth having without what does not answer today
        raise MediaError(Reason.MISSING_FILE, str(error)) from error


def _beginning(data: bytes) -> str:
    """The first seconds of a sound, its channels mixed, whatever its header says of the rest."""
    if audio_format(data) is None:
        raise MediaError(Reason.WRONG_FORMAT, f"no sound of a known format; starts with {data[:12]!r}")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate = file.samplerate
            wave = file.read(SECONDS * rate, dtype="float32", always_2d=True).mean(axis=1)
        if not len(wave):
            raise MediaError(Reason.TOO_SHORT, "the sound holds no samples")
        return wave_uri(np.clip(np.nan_to_num(wave), -1, 1), rate)
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError) as error:
        # The whole message names the buffer that was read from by its address, which is another one in every run.
        message = error.error_string if isinstance(error, soundfile.LibsndfileError) else str(error)
        raise MediaError(Reason.UNREADABLE_AUDIO, message) from error


def main() -> None:
    """Serve as a sandbox's worker."""
    ImageFile.LOAD_TRUNCATED_IMAGES = True  # in this process alone: what there is of a cut picture is shown
    sandbox_worker.main(preview)


if __name__ == "__main__":
    main()
