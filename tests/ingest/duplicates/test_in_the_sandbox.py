"""Fingerprints are made in the worker processes, in the decode that measures: nothing is decoded anywhere else."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from multimodal.errors import MediaError
from multimodal.fingerprint import file_digest
from multimodal.ingest import pictures, sounds
from multimodal.ingest.duplicates.finder import INDEX
from multimodal.ingest.duplicates.fingerprint import Fingerprint
from multimodal.ingest.duplicates.pictures import fingerprint_picture
from multimodal.ingest.duplicates.report import read_report
from multimodal.ingest.duplicates.sounds import FRAMES_PER_BLOCK, fingerprint_sound, log_mel
from multimodal.ingest.media import Extra, check_media
from multimodal.ingest.memory import MEMORY
from multimodal.ingest.options import CheckOptions, SandboxOptions
from multimodal.ingest.reasons import Reason
from multimodal.ingest.sandbox import Media, Sandbox
from multimodal.sample import Modality, content_digest

ROWS = [["path", "text"], ["a.png", "one"], ["b.png", "two"], ["a2.jpg", "three"], ["cut.png", "half"]]
FLAG = {"duplicates": {"pictures": "flag"}}


@pytest.fixture
def media(photograph):
    return {
        "a.png": photograph(1), "b.png": photograph(2), "a2.jpg": photograph(1, "JPEG", 160, quality=60),
        "cut.png": photograph(3)[:400],
    }  # fmt: skip


@pytest.fixture
def asked(monkeypatch):
    """(content id, what was asked beside the facts) of all files that workers were given, in a list."""
    seen, ask = [], Sandbox._ask

    def watched(self, files):
        seen.extend((file.content_id, file.extra) for file in files)
        return ask(self, files)

    monkeypatch.setattr(Sandbox, "_ask", watched)
    return seen


def near_pairs(info):
    return read_report(info.ledger).clusters["image"].contents


def test_each_picture_is_decoded_once_and_by_a_worker(run, media, asked, monkeypatch):
    """This process cannot decode at all, and still finds the near pair; no file is given to a worker twice."""

    def refuse(*_):
        raise AssertionError("decoded outside of the sandbox")

    monkeypatch.setattr(pictures, "decode_picture", refuse)
    monkeypatch.setattr(sounds, "decode_sound", refuse)
    info = run("caption", ROWS, media, **FLAG)
    assert near_pairs(info) == 2
    assert sorted(asked) == sorted((content_digest(data), Extra.FINGERPRINT) for data in media.values())


def test_without_detection_nothing_is_fingerprinted(run, media, asked):
    """Neither fingerprints nor digests are made, and no index is."""
    info = run("caption", ROWS, media)
    assert {extra for _, extra in asked} == {Extra.NONE}
    assert not (info.path.parents[1] / INDEX).exists()


def test_what_was_decoded_before_detection_was_on_gets_its_fingerprint(run, media, asked):
    """Once: a third ingest of one picture more asks for that one's; what is broken stays known."""
    run("caption", ROWS, media)
    asked.clear()
    later = run("caption", ROWS, media, **FLAG)
    assert sorted(asked) == sorted((content_digest(media[name]), Extra.FINGERPRINT) for name in ROWS_WELL)
    asked.clear()
    more = {"b2.jpg": media["a2.jpg"][:-2] + b"\0\xff\xd9"}
    info = run("caption", [*ROWS, ["b2.jpg", "four"]], more, **FLAG)
    assert asked == [(content_digest(more["b2.jpg"]), Extra.FINGERPRINT)]
    assert (near_pairs(later), later.counts.quarantined, near_pairs(info)) == (2, 1, 2)


ROWS_WELL = ("a.png", "b.png", "a2.jpg")


@pytest.mark.parametrize("gone", [MEMORY, INDEX])
def test_either_memory_may_be_lost(run, media, asked, gone):
    """Without the index, fingerprints are made again; without the memory, files are decoded, and not fingerprinted."""
    first = run("caption", ROWS, media, **FLAG)
    for path in first.path.parents[1].glob(f"{gone}*"):
        path.unlink()
    for folder in (first.path, first.ledger):
        folder.rename(folder.with_name("away"))
    asked.clear()
    again = run("caption", ROWS, media, **FLAG)
    assert again.digest == first.digest
    assert near_pairs(again) == 2
    well = {content_digest(media[name]) for name in ROWS_WELL}
    assert {extra for content_id, extra in asked if content_id in well} == {
        Extra.FINGERPRINT if gone == INDEX else Extra.NONE
    }
    name = "duplicates.json"
    assert file_digest(again.ledger / name) == file_digest(first.ledger.with_name("away") / name)


def test_a_worker_makes_the_fingerprint_of_the_decoded_content(photograph, clip):
    """Digest and fingerprint that come out of the process are those of the functions, bit for bit."""
    files = [(photograph(1), Modality.IMAGE), (clip(1), Modality.AUDIO)]
    expected = [
        fingerprint_picture(pictures.decode_picture(files[0][0])),
        fingerprint_sound(sounds.decode_sound(files[1][0])),
    ]
    with Sandbox(CheckOptions(), SandboxOptions(workers=1)) as sandbox:
        for extra in (Extra.FINGERPRINT, Extra.DIGEST):
            media = [Media(partial(bytes, data), modality, "", extra) for data, modality in files]
            facts = [result[1] for result in sandbox.inspect(media)]
            assert [one.decoded for one in facts] == [one.decoded.hex() for one in expected]
            made = [Fingerprint.of_text(one.fingerprint) if one.fingerprint else None for one in facts]
            assert made == (expected if extra is Extra.FINGERPRINT else [None, None])


def test_a_decoder_that_hangs_while_it_fingerprints_costs_its_row(photograph):
    """The caps of the sandbox hold for what is asked beside the facts."""
    options = SandboxOptions(workers=1, timeout_seconds=1)
    files = [photograph(1), b"hang", photograph(2)]
    with Sandbox(CheckOptions(), options, worker="tests.hostile.slow_fingerprints") as sandbox:
        media = [Media(partial(bytes, data), Modality.IMAGE, "", Extra.FINGERPRINT) for data in files]
        found = list(sandbox.inspect(media))
    reasons = [result.reason if isinstance(result, MediaError) else result[1].fingerprint for result in found]
    assert reasons == ["made", Reason.DECODER_TIMEOUT, "made"]


def test_memory_that_holds_the_picture_and_not_its_fingerprint_is_no_reason_against_it(photograph, monkeypatch):
    """It is kept without one, and like no other."""

    def no_room(_):
        raise MemoryError

    monkeypatch.setattr("multimodal.ingest.duplicates.pictures.fingerprint_picture", no_room)
    facts = check_media(photograph(1), Modality.IMAGE, CheckOptions(), Extra.FINGERPRINT)
    assert (facts.measures["pixels"], facts.decoded, facts.fingerprint) == (96 * 96, "", "")


def test_long_sounds_are_transformed_in_blocks(clip, monkeypatch):
    """The blocks change nothing but roundings: levels are those of all frames at once."""
    sound = sounds.decode_sound(clip(1))
    blocks = log_mel(sound)
    assert len(blocks) > 2 * FRAMES_PER_BLOCK
    monkeypatch.setattr("multimodal.ingest.duplicates.sounds.FRAMES_PER_BLOCK", 10**6)
    assert np.allclose(log_mel(sound), blocks, atol=1e-4)
