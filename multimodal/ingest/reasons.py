"""Why a row was quarantined: every reason that a ledger can hold."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """The typed reason of a quarantined row; the ledger's `detail` says what exactly was found."""

    INVALID_ROW = "invalid_row"
    INVALID_UTF8 = "invalid_utf8"
    INVALID_ARCHIVE = "invalid_archive"
    UNSAFE_NAME = "unsafe_name"
    UNKNOWN_SPLIT = "unknown_split"
    EMPTY_TEXT = "empty_text"
    TEXT_TOO_LONG = "text_too_long"
    MISSING_INPUT = "missing_input"
    MISSING_FILE = "missing_file"
    WRONG_FORMAT = "wrong_format"
    TOO_LARGE = "too_large"
    TOO_SMALL = "too_small"
    UNREADABLE_IMAGE = "unreadable_image"
    TRUNCATED_IMAGE = "truncated_image"
    UNREADABLE_AUDIO = "unreadable_audio"
    TRUNCATED_AUDIO = "truncated_audio"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    SILENT_AUDIO = "silent_audio"
    NON_FINITE_AUDIO = "non_finite_audio"
    EXTREME_ASPECT_RATIO = "extreme_aspect_ratio"
    TOO_MANY_FRAMES = "too_many_frames"
    TOO_MANY_CHANNELS = "too_many_channels"
    UNUSUAL_SAMPLING_RATE = "unusual_sampling_rate"
    JSON_TOO_DEEP = "json_too_deep"
    DECODER_CRASHED = "decoder_crashed"
    DECODER_TIMEOUT = "decoder_timeout"
    DECODER_MEMORY = "decoder_memory"
