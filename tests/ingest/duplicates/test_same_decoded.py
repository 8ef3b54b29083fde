"""Files that decode to the same pixels or samples are one content, under every policy for near duplicates."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
import pytest
import soundfile
from PIL import Image

from multimodal.dataset import Dataset, Fate, read_ledger
from multimodal.errors import ContaminationError
from multimodal.ingest.duplicates.decoded import OF_THE_FILE, SameDecoded, picture_digest
from multimodal.ingest.media import Extra, check_media
from multimodal.ingest.options import CheckOptions
from multimodal.ingest.sandbox import Sandbox
from multimodal.sample import Modality, content_digest

POLICIES = ("off", "flag", "drop")


def coded(picture, kind, **save):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **save)
    return buffer.getvalue()


def wave(kind, subtype="PCM_16", channels=1, seed=0):
    samples = np.random.default_rng(seed).integers(-20_000, 20_000, 8000).astype(np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, np.stack([samples] * channels, axis=1), 8000, format=kind, subtype=subtype)
    return buffer.getvalue()


def ids_of(info):
    return {content.content_id for content in Dataset(info.path).contents()}


@pytest.fixture
def same(photograph):
    """Of both modalities: files of one content, and the first of another."""
    picture = Image.open(io.BytesIO(photograph(1))).convert("RGB")
    turned = Image.Exif()
    turned[0x0112] = 6
    pictures = {
        "a.png": coded(picture, "PNG"),
        "small.png": coded(picture, "PNG", optimize=True, compress_level=9),
        "a.bmp": coded(picture, "BMP"),
        "a.webp": coded(picture, "WEBP", lossless=True),
        "turned.png": coded(picture.transpose(Image.Transpose.ROTATE_90), "PNG", exif=turned),
        "clear.png": coded(picture.convert("RGBA"), "PNG"),
        "other.png": photograph(2),
    }
    sounds = {
        "a.wav": wave("WAV"), "a.flac": wave("FLAC"), "deep.wav": wave("WAV", "PCM_24"),
        "both.wav": wave("WAV", channels=2), "other.wav": wave("WAV", seed=1),
    }  # fmt: skip
    return {"caption": pictures, "transcribe": sounds}


@pytest.mark.parametrize("task", ["caption", "transcribe"])
@pytest.mark.parametrize("policy", POLICIES)
def test_with_the_same_text_they_are_duplicates(run, same, task, policy):
    """Recompressed, in another format, turned by EXIF, with an opaque alpha; as FLAC, of 24 bits, in stereo."""
    media = same[task]
    rows = [["path", "text"], *[[name, "the same text"] for name in media]]
    info = run(task, rows, media, duplicates={"pictures": policy, "sounds": policy})
    assert (info.counts.kept, info.counts.duplicate) == (2, len(media) - 2)
    first, other = next(iter(media)), next(reversed(media))
    details = {row.detail for row in read_ledger(info.ledger, Fate.DUPLICATE)}
    assert details == {f"same content and text as s m.csv#1; decodes to the same content as {first}"}
    assert ids_of(info) == {content_digest(media[first]), content_digest(media[other])}


@pytest.mark.parametrize("policy", POLICIES)
def test_with_other_texts_they_are_samples_of_one_content(run, same, policy):
    """As other captions of the same file are; what each file is, its ledger row says."""
    media = same["caption"]
    rows = [["path", "text"], *[[name, f"text of {name}"] for name in media]]
    info = run("caption", rows, media, duplicates={"pictures": policy})
    assert info.counts.kept == len(media)
    ids = Counter(sample.content_id for sample in Dataset(info.path).samples())
    assert ids == {content_digest(media["a.png"]): len(media) - 1, content_digest(media["other.png"]): 1}
    assert sum(row.detail == "decodes to the same content as a.png" for row in read_ledger(info.ledger)) == 5


def test_by_their_bytes_alone(run, same):
    """`same_decoded: false` keeps every file as a content of its own."""
    media = same["caption"]
    rows = [["path", "text"], *[[name, "the same text"] for name in media]]
    info = run("caption", rows, media, duplicates={"same_decoded": False})
    assert info.counts.kept == len(ids_of(info)) == len(media)


def test_they_cannot_be_in_two_splits(run, same):
    """Test claims the content for all its files; so nothing of it is in train, and the gate is open."""
    media = {name: same["caption"][name] for name in ("a.png", "small.png", "other.png")}
    rows = [["path", "text", "split"], *zip(media, "abc", ("train", "test", "train"), strict=True)]
    limit = {"decontamination": {"max_share": 0}}
    assert run("caption", rows, media, **limit).by_split == {"test": 2, "train": 1}
    with pytest.raises(ContaminationError, match="the same content"):
        run("caption", rows, media, duplicates={"same_decoded": False}, **limit)


def test_a_picture_beside_the_content_too(run, same):
    """Two files of one picture beside one clip make one sample."""
    media = same["transcribe"] | same["caption"]
    rows = [["path", "text", "picture"], *[["a.wav", "a", name] for name in ("a.bmp", "a.png", "other.png")]]
    info = run("transcribe", rows, media)
    assert (info.counts.kept, info.counts.duplicate) == (2, 1)


def test_only_files_that_agree_in_all_measures_are_hashed_and_once(run, same, photograph, monkeypatch):
    """Unlike files are decoded once; a second ingest, of a caption more, decodes nothing and finds the same."""
    seen, ask = [], Sandbox._ask

    def watched(self, files):
        seen.extend((file.content_id, file.extra) for file in files)
        return ask(self, files)

    monkeypatch.setattr(Sandbox, "_ask", watched)
    media = {name: same["caption"][name] for name in ("a.png", "a.bmp", "a.webp")}
    media |= {f"{seed}.png": photograph(seed) for seed in range(10, 20)}
    rows = [["path", "text"], *[[name, "text"] for name in media]]
    first = run("caption", rows, media)
    assert first.counts.duplicate == 2
    hashed = [content_id for content_id, extra in seen if extra is Extra.DIGEST]
    assert sorted(hashed) == sorted(content_digest(media[name]) for name in ("a.png", "a.bmp", "a.webp"))
    assert len(seen) == len(media) + 3
    seen.clear()
    again = run("caption", [*rows, ["a.webp", "another"]], media)
    assert (seen, again.counts.duplicate, again.counts.kept) == ([], 2, first.counts.kept + 1)


def test_what_agrees_in_all_measures_and_differs_in_a_pixel_is_told_apart():
    """Two large pictures that differ where no measure looks: same key, other digest."""
    pixels = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    files = []
    for value in (0, 255):
        pixels[0, 0] = value  # neither on the grid of brightness nor in the centre
        files.append(coded(Image.fromarray(pixels), "PNG"))
    facts = [check_media(data, Modality.IMAGE, CheckOptions(), Extra.DIGEST) for data in files]
    first, second = ({n: v for n, v in one.measures.items() if n not in OF_THE_FILE} for one in facts)
    assert first == second
    assert facts[0].decoded != facts[1].decoded
    digests = {"1": facts[0].decoded, "2": facts[1].decoded, "3": facts[0].decoded, "4": facts[1].decoded}
    found = SameDecoded(lambda _, content_id: digests[content_id])
    heads = [found.first(f"file {one}", one, facts[0].measures, "") for one in digests]
    assert heads == [None, None, ("file 1", "1"), ("file 2", "2")]
    assert found.first("another file", "3", facts[0].measures, "") == ("file 1", "1")
    assert found.first("another file", "1", facts[0].measures, "") is None


def test_a_digest_that_cannot_be_had_makes_nothing_the_same():
    """Decoding may fail the second time: both stay."""
    found = SameDecoded(lambda *_: "")
    assert [found.first(one, one, {"pixels": 4.0}, "") for one in "ab"] == [None, None]


def test_a_digest_is_of_size_and_pixels():
    """Twelve by eight and eight by twelve blank pixels are two pictures; strips are no part of it."""
    sizes = [(12, 8), (8, 12), (12, 200), (200, 12)]
    assert len({picture_digest(Image.new("RGB", size)) for size in sizes}) == 4
    tall = Image.effect_noise((16, 300), 90).convert("RGB")
    below = tall.copy()
    below.putpixel((3, 299), (1, 2, 3))
    assert picture_digest(tall) == picture_digest(tall.copy()) != picture_digest(below)
