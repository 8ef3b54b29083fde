"""Media that decodes well and is of no use: blank pictures; silent, mostly silent, clipped and upsampled sounds."""

from __future__ import annotations

from multimodal.errors import MediaError
from multimodal.ingest.measures import Measures
from multimodal.ingest.options import CheckOptions
from multimodal.ingest.reasons import Reason


def check_picture(measures: Measures, checks: CheckOptions) -> None:
    """Refuse a picture of too little contrast.

    Args:
        measures: `picture_measures`.

    Raises:
        MediaError: `blank_image`.
    """
    contrast = measures["contrast"]
    if contrast < checks.min_image_contrast:
        detail = f"{contrast:.0f} levels between darkest and brightest, at least {checks.min_image_contrast}"
        raise MediaError(Reason.BLANK_IMAGE, detail)


def check_sound(measures: Measures, checks: CheckOptions) -> None:
    """Refuse a sound that an encoder would hear nothing in, or too much, or less than its file promises.

    Args:
        measures: `sound_measures`.

    Raises:
        MediaError: `silent_audio`, `mostly_silent_audio`, `clipped_audio` or `sampling_rate_lie`.
    """
    peak = measures["peak_dbfs"]
    if peak < checks.silence_dbfs:
        raise MediaError(Reason.SILENT_AUDIO, f"peak {peak:.0f} dBFS, at least {checks.silence_dbfs:.0f} dBFS")
    _check_share(Reason.MOSTLY_SILENT_AUDIO, "silent", measures["silent_share"], checks.max_silent_share)
    _check_share(Reason.CLIPPED_AUDIO, "clipped", measures["clipped_share"], checks.max_clipped_share)
    bandwidth = measures.get("bandwidth_share", 1.0)
    if bandwidth < checks.min_bandwidth_share:
        detail = f"nothing above {bandwidth:.1%} of half the sampling rate, at least {checks.min_bandwidth_share:.1%}"
        raise MediaError(Reason.SAMPLING_RATE_LIE, detail)


def _check_share(reason: Reason, name: str, share: float, most: float) -> None:
    if share > most:
        raise MediaError(reason, f"{share:.1%} of the sound is {name}, at most {most:.1%}")
