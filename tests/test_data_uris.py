"""Media in the report: small, playable, and taken as they are where they are small already."""

import base64
import io

import numpy as np
import pytest
import soundfile
from PIL import Image, UnidentifiedImageError

from multimodal.data_uris import picture_uri, sound_uri


def test_pictures_become_small_webp():
    """A large picture keeps its shape and loses its size."""
    buffer = io.BytesIO()
    Image.new("RGBA", (1000, 500), "red").save(buffer, "PNG")
    uri = picture_uri(buffer.getvalue())
    assert uri.startswith("data:image/webp;base64,")
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as picture:
        assert picture.size == (256, 128)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100])
def test_sounds_become_ogg_of_the_same_length(rate):
    """One second stays one second, at usual and at odd rates."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(rate, np.float32), rate, format="WAV")
    uri = sound_uri(buffer.getvalue())
    assert uri.startswith("data:audio/ogg;base64,")
    info = soundfile.info(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert info.duration == pytest.approx(1, abs=0.02)


def test_ogg_is_taken_as_it_is():
    """Nothing is lost by encoding twice."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(16_000, np.float32), 16_000, format="OGG", subtype="OPUS")
    assert base64.b64decode(sound_uri(buffer.getvalue()).partition(",")[2]) == buffer.getvalue()


def test_bytes_that_are_no_picture_are_refused():
    """A gallery does not show what cannot be decoded."""
    with pytest.raises(UnidentifiedImageError):
        picture_uri(b"no picture")
