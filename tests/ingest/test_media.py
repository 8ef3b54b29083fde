from __future__ import annotations

import io
import os
import struct

import numpy as np
import pytest
import soundfile
from PIL import Image

from multimodal.errors import MediaError
from multimodal.ingest.media import check_media, read_file
from multimodal.ingest.options import CheckOptions
from multimodal.ingest.reasons import Reason
from multimodal.sample import Modality

CHECKS = CheckOptions()


def reason_of(data, modality, checks=CHECKS):
    with pytest.raises(MediaError) as caught:
        check_media(data, modality, checks)
    assert caught.value.detail
    return caught.value.reason


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_pictures_of_all_known_formats_pass(picture, kind):
    """Each format is recognised by its bytes and decoded."""
    check_media(picture(kind=kind), Modality.IMAGE, CHECKS)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
def test_sounds_of_all_known_formats_pass(sound, kind):
    """Each format is recognised by its bytes and decoded."""
    check_media(sound(kind=kind), Modality.AUDIO, CHECKS)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "I;16"])
def test_pictures_of_any_colour_mode_pass(mode):
    """Palette, alpha, CMYK and 16-bit pictures are pictures."""
    buffer = io.BytesIO()
    Image.new(mode, (32, 32)).save(buffer, "TIFF" if mode == "CMYK" else "PNG")
    check_media(buffer.getvalue(), Modality.IMAGE, CHECKS)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_cut_picture_is_truncated(picture, kind, share):
    """A picture whose end is missing is told apart from one that is damaged."""
    data = picture(kind=kind)
    assert reason_of(data[: int(len(data) * share)], Modality.IMAGE) == Reason.TRUNCATED_IMAGE


def test_a_damaged_picture_is_unreadable(picture):
    """A picture that has its end but damaged insides is unreadable, not truncated."""
    data = bytearray(picture(kind="PNG"))
    data[60:90] = bytes(30)
    assert reason_of(bytes(data), Modality.IMAGE) == Reason.UNREADABLE_IMAGE


@pytest.mark.parametrize("data", [b"this is a caption, not a picture", b"", b"\xff", b"RIFF"])
@pytest.mark.parametrize("modality", [Modality.IMAGE, Modality.AUDIO])
def test_other_bytes_have_the_wrong_format(data, modality):
    """Text, nothing, and the bare start of a magic number are no media."""
    assert reason_of(data, modality) == Reason.WRONG_FORMAT


def test_a_sound_is_no_picture_and_a_picture_no_sound(picture, sound):
    """Both are RIFF files when they are WAV and WebP; the form type tells them apart."""
    assert reason_of(sound(), Modality.IMAGE) == Reason.WRONG_FORMAT
    assert reason_of(picture(kind="WEBP"), Modality.AUDIO) == Reason.WRONG_FORMAT


def test_pixel_limits_hold_before_decoding(picture):
    """A picture beyond the limits is refused by its header: a bomb's pixels are never made."""
    assert reason_of(picture(size=(8, 8)), Modality.IMAGE) == Reason.TOO_SMALL
    assert reason_of(picture(), Modality.IMAGE, CheckOptions(max_image_pixels=1000)) == Reason.TOO_LARGE
    bomb = bytearray(picture(kind="PNG"))
    bomb[16:24] = struct.pack(">II", 60_000, 60_000)
    assert reason_of(bytes(bomb), Modality.IMAGE) in (Reason.TOO_LARGE, Reason.UNREADABLE_IMAGE)


@pytest.mark.parametrize("stated", [2**31, 100_000, 0, 301])
def test_a_wav_whose_header_lies_is_refused(sound, stated):
    """A data chunk that states more, less, or nothing of the sound that follows is refused."""
    data = bytearray(sound())
    place = data.find(b"data") + 4
    data[place : place + 4] = struct.pack("<I", stated)
    assert reason_of(bytes(data), Modality.AUDIO) in (Reason.TRUNCATED_AUDIO, Reason.TOO_SHORT)


def test_a_streamed_wav_passes(sound):
    """Lengths of 0xFFFFFFFF mean unknown, as programs write into a pipe."""
    data = bytearray(sound())
    place = data.find(b"data") + 4
    data[4:8] = data[place : place + 4] = b"\xff\xff\xff\xff"
    check_media(bytes(data), Modality.AUDIO, CHECKS)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_cut_sound_is_refused(sound, kind, share):
    """A sound whose end is missing never passes."""
    data = sound(kind=kind, seconds=2)
    reason = reason_of(data[: int(len(data) * share)], Modality.AUDIO)
    assert reason in (Reason.TRUNCATED_AUDIO, Reason.UNREADABLE_AUDIO)


def test_levels_and_lengths_of_sounds_are_checked(sound):
    """Silence, NaN, and clips outside the limits each have their own reason."""
    assert reason_of(sound(amplitude=0), Modality.AUDIO) == Reason.SILENT_AUDIO
    assert reason_of(sound(amplitude=1e-4), Modality.AUDIO) == Reason.SILENT_AUDIO
    assert reason_of(sound(seconds=0.05), Modality.AUDIO) == Reason.TOO_SHORT
    assert reason_of(sound(seconds=3), Modality.AUDIO, CheckOptions(max_clip_seconds=2)) == Reason.TOO_LONG
    samples = np.full(8000, 0.5, dtype=np.float32)
    for bad in (np.nan, np.inf):
        samples[4000] = bad
        buffer = io.BytesIO()
        soundfile.write(buffer, samples, 8000, format="WAV", subtype="FLOAT")
        assert reason_of(buffer.getvalue(), Modality.AUDIO) == Reason.NON_FINITE_AUDIO


@pytest.mark.filterwarnings("ignore:Tag data larger")
def test_random_damage_never_escapes_the_typed_reasons(picture, sound):
    """Whatever bytes are changed, a file passes or raises MediaError: nothing else."""
    rng = np.random.default_rng(0)
    media = [(picture(kind=kind), Modality.IMAGE) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")]
    media += [(sound(kind=kind), Modality.AUDIO) for kind in ("WAV", "FLAC", "OGG")]
    refused = 0
    for data, modality in media:
        for _ in range(30):
            damaged = bytearray(data)
            for place in rng.integers(0, len(data), 8):
                damaged[place] = rng.integers(0, 256)
            try:
                check_media(bytes(damaged), modality, CHECKS)
            except MediaError as error:
                refused += 1
                assert error.reason in list(Reason)
    assert refused > 50


def test_reading_keeps_the_bytes(tmp_path, picture):
    """The content is the file's bytes as found, and they are measured."""
    (tmp_path / "a.jpg").write_bytes(picture())
    data = read_file(tmp_path / "a.jpg", CHECKS)
    assert data == picture()
    assert check_media(data, Modality.IMAGE, CHECKS).measures["bytes"] == len(data)


def test_what_is_no_plain_file_is_missing(tmp_path, picture):
    """An absent file, a folder, a named pipe and impossible names are missing files; none is waited for."""
    os.mkfifo(tmp_path / "pipe.jpg")
    for name in ("absent.jpg", ".", "pipe.jpg", "nul\0.jpg", "x" * 5000):
        with pytest.raises(MediaError) as caught:
            read_file(tmp_path / name, CHECKS)
        assert caught.value.reason == Reason.MISSING_FILE
    (tmp_path / "big.jpg").write_bytes(picture())
    with pytest.raises(MediaError) as caught:
        read_file(tmp_path / "big.jpg", CheckOptions(max_file_bytes=100))
    assert caught.value.reason == Reason.TOO_LARGE
