from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from multimodal.errors import MediaError
from multimodal.ingest.measures import picture_measures, sound_measures
from multimodal.ingest.options import CheckOptions
from multimodal.ingest.quality import check_picture, check_sound
from multimodal.ingest.reasons import Reason
from multimodal.ingest.sounds import Sound
from multimodal.ingest.text_checks import check_text, script


def reason_of(check, *arguments):
    with pytest.raises(MediaError) as caught:
        check(*arguments)
    return caught.value.reason


def look_at(picture, checks):
    check_picture(picture_measures(picture, checks.min_image_contrast), checks)


def listen_to(sound, checks):
    check_sound(sound_measures(sound, checks.silence_dbfs), checks)


def sound(*parts):
    """A sound at 8 kHz of parts (seconds, level)."""
    return Sound(np.concatenate([np.full(int(8000 * length), level, np.float32) for length, level in parts]), 8000, 1)


def test_blank_pictures_are_refused_where_asked():
    """A single colour, and a little more, against the threshold; by default none is refused."""
    picture = Image.new("RGB", (20, 20), (9, 80, 200))
    look_at(picture, CheckOptions())
    assert reason_of(look_at, picture, CheckOptions(min_image_contrast=1)) == Reason.BLANK_IMAGE
    picture.putpixel((3, 3), (9, 85, 200))
    look_at(picture, CheckOptions(min_image_contrast=5))
    assert reason_of(look_at, picture, CheckOptions(min_image_contrast=6)) == Reason.BLANK_IMAGE


def test_sounds_of_little_use_are_refused_where_asked():
    """Mostly silent and clipped sounds pass by default and are told apart by their shares."""
    quiet, loud = sound((0.1, 0.5), (0.9, 0.0)), sound((0.9, 0.5), (0.1, 1.0))
    for each in (quiet, loud):
        listen_to(each, CheckOptions())
    assert reason_of(listen_to, quiet, CheckOptions(max_silent_share=0.89)) == Reason.MOSTLY_SILENT_AUDIO
    listen_to(quiet, CheckOptions(max_silent_share=0.91))
    assert reason_of(listen_to, loud, CheckOptions(max_clipped_share=0.09)) == Reason.CLIPPED_AUDIO
    listen_to(loud, CheckOptions(max_clipped_share=0.11))
    assert reason_of(listen_to, sound((1, 0.0)), CheckOptions()) == Reason.SILENT_AUDIO


REFUSED = {
    "markup": ["a <b>dog</b>", "fish &amp; chips", "a [[link]]", "<br/>"],
    "url": ["see https://example.org/a", "at www.example.org"],
    "email": ["write to a.b+c@mail.example.org now"],
    "phone": ["call +44 20 7946 0958", "(030) 123 45 67"],
    "secret": ["AKIAABCDEFGHIJKLMNOP", "password: hunter22", "-----BEGIN RSA PRIVATE KEY-----"],
    "control": ["a\x07bell", "a\u200bspace", "a\u202eturn"],
    "file_name": ["0012.JPG", "0012", "pictures/0012.jpg"],
}
PASSED = [
    "a dog < a cat, and 3 > 2", "rock & roll", "the year 1998, 12 dogs", "at 10.30 he said: go", "a secret garden",
    "a password: none", "na\u00efve caf\u00e9", "0013",
]  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_texts_are_refused_for_what_was_asked(name):
    """Each check finds its own kind and nothing in plain sentences; without it, the text passes."""
    checks = CheckOptions(refuse_texts=(name,))
    for text in REFUSED[name]:
        reason_of(check_text, text, "pictures/0012.jpg", checks)
        check_text(text, "pictures/0012.jpg", CheckOptions())
    for text in PASSED:
        check_text(text, "pictures/0012.jpg", checks)


def test_details_keep_secrets():
    """What was refused as personal is not repeated in the ledger."""
    with pytest.raises(MediaError) as caught:
        check_text("password: hunter22", "", CheckOptions(refuse_texts=("secret",)))
    assert "hunter22" not in caught.value.detail


def test_scripts_are_told_apart():
    """By the share of letters; digits and signs belong to none."""
    checks = CheckOptions(scripts=("LATIN",))
    check_text("a dog, 犬", "", checks)
    check_text("123 !", "", checks)
    assert reason_of(check_text, "собака dog", "", checks) == Reason.WRONG_SCRIPT
    check_text("собака dog", "", CheckOptions(scripts=("LATIN", "CYRILLIC")))
    assert [script(letter) for letter in "aж犬"] == ["LATIN", "CYRILLIC", "CJK"]
