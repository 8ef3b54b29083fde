"""What was refused, seen again: rows found in their sources, previews made in the sandbox."""

import base64
import io

import pytest
import soundfile
from PIL import Image

from multimodal.errors import MediaError
from multimodal.ingest.options import CheckOptions, SandboxOptions
from multimodal.ingest.previews import LONGEST_SIDE, SECONDS, previews
from multimodal.ingest.retrace import options_of, retrace, rows_with_media
from multimodal.sample import Modality
from tests.small_workspace import options_of as made_options

pytest_plugins = ("tests.workspace_fixtures",)


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Previews of odd files, by name."""
    root = tmp_path_factory.mktemp("odd")
    wide = io.BytesIO()
    Image.new("RGB", (4000, 8), "red").save(wide, "PNG")
    half = io.BytesIO()
    Image.effect_noise((256, 256), 90).save(half, "JPEG")
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    clip = io.BytesIO()
    soundfile.write(clip, [[0.1, 0.3]] * 8000 * 60, 8000, format="WAV")
    files = {
        "wide": (wide.getvalue(), Modality.IMAGE),
        "half": (half.getvalue()[: len(half.getvalue()) // 2], Modality.IMAGE),
        "bomb": (bomb.getvalue(), Modality.IMAGE),
        "text": (b"this is no picture, and no sound", Modality.AUDIO),
        "long": (clip.getvalue(), Modality.AUDIO),
        "lie": (clip.getvalue()[:30_000], Modality.AUDIO),
    }
    for name, (data, _) in files.items():
        (root / name).write_bytes(data)
    media = [(root / name, modality) for name, (_, modality) in files.items()]
    found = previews([*media, (root / "gone", Modality.IMAGE)], CheckOptions(), SandboxOptions(workers=1))
    return dict(zip([*files, "gone"], found, strict=True))


def opened(preview):
    kind, data = preview.data_uri.split(";base64,")
    return kind, io.BytesIO(base64.b64decode(data))


def test_pictures_that_ingest_refuses_are_shown_small(shown):
    """An odd shape, and the upper half of a picture that ends early."""
    for name, size in (("wide", (LONGEST_SIDE, 1)), ("half", (LONGEST_SIDE, LONGEST_SIDE))):
        kind, data = opened(shown[name])
        assert (kind, Image.open(data).size) == ("data:image/webp", size)
    pixels = Image.open(opened(shown["half"])[1]).convert("L")
    upper, lower = (pixels.crop((0, top, LONGEST_SIDE, top + 32)).getextrema() for top in (0, LONGEST_SIDE - 32))
    assert upper[1] - upper[0] > 60 > lower[1] - lower[0]


def test_sounds_are_heard_as_far_as_they_go(shown):
    """The first seconds of a long one, in one channel; and what there is of one whose header promises more."""
    lengths = {}
    for name in ("long", "lie"):
        kind, data = opened(shown[name])
        wave, rate = soundfile.read(data)
        assert kind == "data:audio/ogg" and wave.ndim == 1
        lengths[name] = len(wave) / rate
    assert lengths["long"] == pytest.approx(SECONDS, abs=0.05)
    assert lengths["lie"] == pytest.approx((30_000 - 44) / 4 / 8000, abs=0.05)


@pytest.mark.parametrize(
    ("name", "reason"), [("bomb", "too_large"), ("text", "wrong_format"), ("gone", "missing_file")]
)
def test_what_cannot_be_shown_says_why(shown, name, reason):
    """A bomb stays closed, a text is no sound, and a file may be gone."""
    assert isinstance(shown[name], MediaError) and shown[name].reason == reason


def test_rows_are_found_again_by_uri_and_by_media(ingested_once):
    """As the source has them now; what is not there is not found, and texts name no media."""
    options = made_options(ingested_once.root)
    found, problems = retrace(options, {"pictures": ["pictures.csv#6", "pictures.csv#99"], "texts": ["texts.csv#1"]})
    assert set(found) == {("pictures", "pictures.csv#6"), ("texts", "texts.csv#1")} and problems == {}
    assert found["pictures", "pictures.csv#6"].media == ingested_once.root / "media" / "cut.jpg"
    assert found["texts", "texts.csv#1"].media is None
    assert [row.uri for row in rows_with_media(options, "b.png")] == ["pictures.csv#3", "pictures.csv#10"]
    assert list(rows_with_media(options, "ng")) == []


def test_a_source_that_is_gone_is_a_problem_of_its_own(ingested_once, tmp_path):
    """The other sources are read all the same."""
    options = made_options(ingested_once.root)
    gone = options.sources[0].model_copy(update={"path": tmp_path / "pictures.csv"})
    options = options.model_copy(update={"sources": (gone, *options.sources[1:])})
    found, problems = retrace(options, {"pictures": ["pictures.csv#6"], "sounds": ["sounds.csv#2"]})
    assert set(found) == {("sounds", "sounds.csv#2")}
    assert "nothing at" in problems["pictures"]


def test_options_of_another_version_are_not_guessed():
    """A dataset whose options have unknown keys, or that was made without any, has none."""
    assert options_of({"parts": {"options": {"sources": [], "cheese": 1}}}) is None
    assert options_of({"parts": {"made": "here"}}) is None and options_of({}) is None
