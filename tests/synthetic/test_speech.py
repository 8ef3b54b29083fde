"""Utterances say the same in two styles, voices differ, and a corpus can be made again byte by byte."""

import io
import random
import shutil
import struct

import numpy as np
import pytest
import soundfile

from multimodal.errors import SourceError
from multimodal.synthetic.ogg import encode_ogg, with_serial
from multimodal.synthetic.speech import (
    SAMPLING_RATE,
    TRAINING_VOICES,
    UNSEEN_VOICE,
    VOICES,
    SpeechRequest,
    make_speech,
    speak,
    speak_many,
)
from multimodal.synthetic.utterances import (
    PATTERNS,
    SLOTS,
    corpus_utterance,
    is_for_corpus,
    random_utterance,
    utterance_pair,
    vocabulary,
)

needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")


def test_vocabulary_has_80_to_150_words_and_holds_every_utterance() -> None:
    """No utterance leaves the stated vocabulary."""
    rng, words = random.Random(0), set(vocabulary())
    assert 80 <= len(words) <= 150
    assert {word for _ in range(2000) for word in random_utterance(rng).split()} <= words


def test_a_pair_has_the_same_content_in_both_styles() -> None:
    """Every filler of a slot that the formal wording names is in the informal one, and the reverse."""
    rng = random.Random(1)
    fillers = {filler for name, some in SLOTS.items() if name != "chore" for filler in some} - {"on", "open", "close"}
    for _ in range(500):
        formal, informal = utterance_pair(rng)
        assert formal != informal
        assert sorted(set(formal.split()) & fillers) == sorted(set(informal.split()) & fillers)


def test_wordings_of_a_pattern_have_the_same_slots() -> None:
    """A wording that dropped a slot would change the content."""
    for pattern in PATTERNS:
        slots = [{word for word in text.split() if word.startswith("{")} for text in pattern.formal + pattern.informal]
        assert all(some == slots[0] for some in slots)


def test_style_is_kept() -> None:
    """An informal utterance is never one of the formal wordings."""
    rng = random.Random(2)
    formal = {random_utterance(rng, "formal") for _ in range(3000)}
    informal = {random_utterance(rng, "informal") for _ in range(3000)}
    assert not formal & informal


def test_corpus_and_pretraining_share_no_sentence() -> None:
    """A sentence belongs to one side, decided by its hash."""
    rng = random.Random(3)
    corpus = {corpus_utterance(rng, for_corpus=True) for _ in range(500)}
    others = {corpus_utterance(rng, for_corpus=False) for _ in range(500)}
    assert not corpus & others
    assert all(map(is_for_corpus, corpus))


def test_unseen_voice_is_in_no_training() -> None:
    """Neither the voice nor its accent nor its variant is trained on; the other speakers are."""
    accent, variant = UNSEEN_VOICE.split("+")
    assert not any(voice.split("+")[0] == accent or voice.endswith("+" + variant) for voice in TRAINING_VOICES)
    assert set(VOICES) - {UNSEEN_VOICE} <= set(TRAINING_VOICES)


@needs_espeak
def test_speech_is_16_khz_and_follows_the_rate() -> None:
    """A faster rate makes a shorter wave, within [-1, 1], the same each time."""
    slow, fast = speak("close the blue door", rate=120), speak("close the blue door", rate=220)
    assert slow.dtype == np.float32
    assert len(fast) < len(slow) < 4 * SAMPLING_RATE
    assert np.abs(slow).max() <= 1.05
    assert np.array_equal(fast, speak("close the blue door", rate=220))


@needs_espeak
def test_voices_differ() -> None:
    """Each voice gives another wave (espeak-ng silently ignores variants of some accents)."""
    requests = [SpeechRequest("red lamp", voice) for voice in (*TRAINING_VOICES, UNSEEN_VOICE)]
    assert len({wave.tobytes() for wave in speak_many(requests)}) == len(requests)


@needs_espeak
def test_unknown_voice_is_refused_with_a_cure() -> None:
    """The message names the voice and how to list voices."""
    with pytest.raises(SourceError, match=r"xyzzy.*--voices"):
        speak("hello", voice="xyzzy")


def test_absent_espeak_is_refused_with_a_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the program the message says what to install."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SourceError, match="apt-get install espeak-ng"):
        speak("hello")


@needs_espeak
def test_make_speech_is_reproducible_and_as_promised(tmp_path) -> None:
    """The same seed gives the same bytes; clips last 1 to 4 s; the unseen voice is test only."""
    rows = make_speech(tmp_path / "a" / "speech", random.Random(4), 24)
    again = make_speech(tmp_path / "b" / "speech", random.Random(4), 24)
    assert rows == again
    assert len({row["group"] for row in rows}) == 24
    for row in rows:
        path = tmp_path / "a" / row["path"]
        assert path.read_bytes() == (tmp_path / "b" / row["path"]).read_bytes()
        info = soundfile.info(path)
        assert info.samplerate == SAMPLING_RATE
        assert 1 <= info.duration <= 4
        assert row["speaker"] in VOICES
        assert row["split"] == ("test" if row["speaker"] == UNSEEN_VOICE else "")
    assert {row["split"] for row in rows} == {"", "test"}


def test_serial_numbers_and_checksums_are_those_of_libsndfile() -> None:
    """Writing the serial number that is there already changes no byte, so the checksum is the right one."""
    data = encode_ogg(np.sin(np.arange(16_000, dtype=np.float32) / 8) / 2, SAMPLING_RATE, serial=7)
    assert struct.unpack_from("<I", data, 14) == (7,)
    assert with_serial(with_serial(data, 99), 7) == data
    file = io.BytesIO()
    soundfile.write(file, np.zeros(16_000, dtype=np.float32), SAMPLING_RATE, format="OGG", subtype="OPUS")
    (serial,) = struct.unpack_from("<I", file.getvalue(), 14)
    assert with_serial(file.getvalue(), serial) == file.getvalue()
