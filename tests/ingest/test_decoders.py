"""The one decoder of pictures and the one of sound: whatever the file holds, the same thing comes out right."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile
from PIL import Image

from multimodal.errors import MediaError
from multimodal.ingest.pictures import decode_picture
from multimodal.ingest.sounds import BLOCK_SAMPLES, decode_sound

RED, WHITE = (255, 0, 0), (255, 255, 255)


def saved(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def red_corner(mode="RGB"):
    """A white picture of 40 x 30 whose top left quarter is red."""
    image = Image.new("RGB", (40, 30), WHITE)
    image.paste(RED, (0, 0, 20, 15))
    return image.convert(mode)


def near(found, wanted):
    return max(abs(a - b) for a, b in zip(found, wanted, strict=True)) <= 4


MODES = "RGB-PNG P-PNG P-GIF RGBA-PNG CMYK-TIFF CMYK-JPEG RGBA-WEBP RGB-BMP"


@pytest.mark.parametrize("mode_and_kind", MODES.split())
def test_colours_come_out_right(mode_and_kind):
    """A red corner is red and the rest white, whatever mode and format."""
    mode, kind = mode_and_kind.split("-")
    options = {"quality": 95} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    picture = decode_picture(saved(red_corner(mode), kind, **options))
    assert (picture.mode, picture.size) == ("RGB", (40, 30))
    assert near(picture.getpixel((5, 5)), RED) and near(picture.getpixel((35, 25)), WHITE)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_upright(orientation):
    """EXIF turns and mirrors are undone: the corner lies where a viewer shows it."""
    corners = {1: (0, 0), 2: (1, 0), 3: (1, 1), 4: (0, 1), 5: (0, 0), 6: (1, 0), 7: (1, 1), 8: (0, 1)}
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = decode_picture(saved(red_corner(), "JPEG", quality=95, exif=exif))
    assert picture.size == ((40, 30) if orientation < 5 else (30, 40))
    x, y = corners[orientation]
    assert near(picture.getpixel((3 + x * (picture.width - 7), 3 + y * (picture.height - 7))), RED)


def test_what_is_transparent_is_white():
    """Colours hidden under full transparency do not come back; half transparency is mixed with white."""
    image = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    image.putpixel((0, 0), (255, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 128))
    found = decode_picture(saved(image))
    assert [found.getpixel((x, 0)) for x in (0, 2)] == [RED, WHITE]
    assert near(found.getpixel((1, 0)), (127, 127, 127))
    palette = Image.new("P", (20, 20), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    assert decode_picture(saved(palette, transparency=1)).getpixel((3, 3)) == WHITE


@pytest.mark.parametrize(("kind", "order"), [("PNG", "<u2"), ("TIFF", "<u2")])
def test_16_bits_keep_their_shades(kind, order):
    """A 16-bit ramp becomes the 8-bit ramp of its high bytes; nothing is cut off."""
    ramp = np.tile(np.arange(0, 65536, 2048, dtype=order), (20, 1))
    levels = np.asarray(decode_picture(saved(Image.fromarray(ramp), kind)))[0, :, 0]
    assert levels.tolist() == [value >> 8 for value in range(0, 65536, 2048)]


def test_the_first_frame_of_an_animation_is_taken():
    """Not the last, and not a mixture."""
    frames = [red_corner(), Image.new("RGB", (40, 30), "blue")]
    assert near(decode_picture(saved(frames[0], "GIF", save_all=True, append_images=frames[1:])).getpixel((5, 5)), RED)


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 96_000])
def test_rates_and_channels_come_out_right(rate, channels):
    """One second of 440 Hz stays one second of 440 Hz at its own level."""
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    buffer = io.BytesIO()
    soundfile.write(buffer, np.stack([tone] * channels, axis=1), rate, format="WAV", subtype="PCM_24")
    sound = decode_sound(buffer.getvalue())
    assert (sound.sampling_rate, sound.num_channels, sound.seconds) == (rate, channels, 1.0)
    assert np.abs(sound.wave - tone).max() < 1e-6


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
def test_blocks_join_without_a_seam(kind):
    """Decoding block by block gives what decoding at once does (for MP3 but for rounding), in stereo."""
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (BLOCK_SAMPLES + 100, 2)).astype(np.float32)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 16_000, format=kind)
    whole, _ = soundfile.read(io.BytesIO(buffer.getvalue()), dtype="float32", always_2d=True)
    difference = np.abs(decode_sound(buffer.getvalue()).wave - whole.mean(axis=1)).max()
    assert difference < 1e-6 if kind == "MP3" else difference == 0


def test_details_are_the_same_in_every_run():
    """No message holds an address of memory: ledgers of two runs are the same bytes."""
    header = b"RIFF" + struct.pack("<I", 4) + b"WAVE"
    for decode, data in ((decode_picture, b"BM" + bytes(40)), (decode_sound, header)):
        with pytest.raises(MediaError) as caught:
            decode(data)
        assert "0x" not in caught.value.detail
