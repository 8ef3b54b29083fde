"""Long clips: windows that overlap, each state from the window that hears more around it, none lost, none twice."""

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from multimodal.encoders.audio import AudioEncoder, decode_wave
from multimodal.encoders.windows import Windows
from tests.encoders.test_audio import build, sound

WINDOWED = ["masked whisper", "whisper", "wav2vec2 group", "wav2vec2 layer", "hubert", "wavlm"]


def sources(windows: Windows, total: int) -> list[int]:
    """For each step of a clip of `total` steps, the window that must give it, found step by step."""
    starts = [window.start // windows.hop for window in windows.cut(total * windows.hop)]
    found = []
    for step in range(total):
        heard = {
            number: min(
                step - start if number > 0 else total,
                start + windows.steps_per_window - 1 - step if number < len(starts) - 1 else total,
            )
            for number, start in enumerate(starts)
            if start <= step < start + windows.steps_per_window
        }
        found.append(max(heard, key=lambda number: (heard[number], number)))
    return found


@pytest.mark.parametrize("total", [1, 19, 20, 21, 36, 37, 52, 53, 200])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5])
def test_each_step_comes_from_the_window_that_hears_more_around_it(total: int, share: float) -> None:
    """Once and only once, in order, for clips of any length; what a window has of it is its own part of the grid."""
    windows = Windows.sharing(share, hop=3, steps_per_window=20)
    cut = windows.cut(3 * total)
    states = [
        torch.tensor([[number, step] for step in range(window.start // 3, window.stop // 3)])
        for number, window in enumerate(cut)
    ]
    joined = windows.join(states)
    assert joined[:, 1].tolist() == list(range(total))
    assert joined[:, 0].tolist() == sources(windows, total)


def test_windows_cover_a_clip_and_none_is_needless() -> None:
    """Each window begins where the grid says, ends with the clip, and the one before it did not reach that far."""
    windows = Windows.sharing(0.25, hop=5, steps_per_window=8)
    for length in range(1, 400):
        cut = windows.cut(length)
        assert cut[0].start == 0 and cut[-1].stop == length
        assert all(window.stop - window.start == 40 for window in cut[:-1])
        assert all(after.start - before.start == 30 for before, after in pairwise(cut))
        assert all(window.stop < length for window in cut[:-1])


def test_steps_of_several_tokens_stay_together() -> None:
    """With two tokens a step, both of a step come from one window."""
    windows = Windows.sharing(0.3, hop=1, steps_per_window=10, tokens_per_step=2)
    cut = windows.cut(24)
    joined = windows.join([torch.arange(2 * window.start, 2 * window.stop)[:, None] for window in cut])
    assert joined.flatten().tolist() == list(range(48))


def test_what_a_window_loses_at_its_end_the_next_one_has() -> None:
    """Without any share asked for, convolutions that hear beyond a window still leave no gap."""
    windows = Windows.sharing(0.0, hop=4, steps_per_window=10, lost_steps=2)
    cut = windows.cut(4 * 40)
    states = [torch.arange(window.start // 4, window.stop // 4 - 2)[:, None] for window in cut]
    assert windows.join(states).flatten().tolist() == list(range(38))


@pytest.mark.parametrize("name", WINDOWED)
@pytest.mark.parametrize("overlap", [0.0, 0.1])
def test_a_long_clip_has_the_states_of_its_windows(tmp_path: Path, name: str, overlap: float) -> None:
    """4.5 s through windows of 2 s: each state equals that of its window alone, and they are as many as time has."""
    encoder = build(tmp_path, name, overlap=overlap)
    shorten(encoder, overlap)
    windows = encoder.tower.windows
    row = encoder.preprocess(sound(4.5))
    whole = encoder.encode([row, encoder.preprocess(sound(0.5))])
    states = whole.hidden_states[0][whole.attention_mask[0]]
    assert abs(len(states) - 4.5 * encoder.tower.tokens_per_second) <= 1
    cut = windows.cut(int(4.5 * 16_000))
    assert len(cut) == 3
    with torch.no_grad():
        alone = [encoder.tower.encode([window]).states[0] for window in encoder.tower.cut(row)]
    starts = [window.start // windows.hop for window in cut]
    for step, number in enumerate(sources(windows, len(states))):
        torch.testing.assert_close(states[step], alone[number][step - starts[number]], atol=2e-5, rtol=1e-4)


def shorten(encoder: AudioEncoder, overlap: float) -> None:
    """wav2vec 2.0's windows of 30 s take a test too long."""
    if encoder.kind == "wav2vec2":
        encoder.tower.windows = Windows.sharing(overlap, 80, 400, lost_steps=1)


@pytest.mark.parametrize("name", ["wav2vec2 group", "wav2vec2 layer"])
def test_joined_states_are_as_many_as_the_whole_clip_would_have(tmp_path: Path, name: str) -> None:
    """Cut into windows, wav2vec 2.0 gives exactly as many states as without; plain cuts would lose one each."""
    encoder = build(tmp_path, name)
    shorten(encoder, 0.1)
    for seconds in (1.99, 2.0, 2.01, 4.5, 6.3):
        row = encoder.preprocess(sound(seconds))
        expected = int(encoder.tower.model._get_feat_extract_output_lengths(torch.tensor(len(row))))
        assert encoder.encode([row]).hidden_states.shape[1] == expected


def test_states_near_a_cut_are_nearer_to_those_of_the_uncut_clip(tmp_path: Path) -> None:
    """That is what the overlap is for: without it the states beside a cut hear one side only."""
    wave = decode_wave(sound(3.0))

    def error(overlap: float) -> float:
        encoder = build(tmp_path, "wav2vec2 layer", overlap=overlap)
        encoder.tower.windows = Windows.sharing(overlap, 80, 400, lost_steps=1)
        cut = encoder.encode([encoder.tower.inputs(wave)]).hidden_states[0]
        encoder.tower.windows = Windows.sharing(overlap, 80, 800, lost_steps=1)
        uncut = encoder.encode([encoder.tower.inputs(wave)]).hidden_states[0]
        return float((cut - uncut).norm(dim=-1)[395:401].mean())

    assert error(0.2) < error(0.0)


def test_many_windows_go_through_the_model_a_batch_at_a_time(tmp_path: Path) -> None:
    """A clip of 20 windows in a batch of two takes no more memory at once than two clips of one window."""
    encoder = build(tmp_path, "masked whisper")
    sizes: list[int] = []
    encode = encoder.tower.encode

    def counted(batch):
        sizes.append(len(batch))
        return encode(batch)

    encoder.tower.encode = counted
    encoder.encode([encoder.preprocess(sound(36.0)), encoder.preprocess(sound(0.5))])
    assert max(sizes) == 2 and sum(sizes) == 21


def test_the_overlap_is_part_of_the_fingerprint_where_it_is_not_the_default(tmp_path: Path) -> None:
    """Stores from before there was a choice stay where they are."""
    plain, same, other = (build(tmp_path, "masked whisper", **{"overlap": share}) for share in (0.1, 0.1, 0.3))
    assert plain.fingerprint == same.fingerprint != other.fingerprint
    assert plain.preprocessing_hash == same.preprocessing_hash != other.preprocessing_hash
    assert plain.weights_sha256 == other.weights_sha256


def padded_with_silence(seconds_before: float, seconds_behind: float) -> bytes:
    wave = decode_wave(sound(1.0))
    noise = 1e-4 * np.random.default_rng(0).standard_normal(16_000)
    padded = np.concatenate([noise[: int(seconds_before * 16_000)], wave, noise[: int(seconds_behind * 16_000)]])
    file = io.BytesIO()
    soundfile.write(file, padded, 16_000, format="WAV")
    return file.getvalue()


def test_silence_is_kept_unless_it_is_asked_to_go(tmp_path: Path) -> None:
    """By default a clip is heard whole; with `trim_silence_db` only from its first to its last sound."""
    clip = padded_with_silence(0.3, 0.5)
    plain = build(tmp_path, "masked whisper")
    assert plain.encode([plain.preprocess(clip)]).hidden_states.shape[1] == 72  # 1.8 s, 40 states a second
    trimming = build(tmp_path, "masked whisper", trim_silence_db=40)
    count = trimming.encode([trimming.preprocess(clip)]).hidden_states.shape[1]
    assert abs(count - 40) <= 2
    assert trimming.fingerprint != plain.fingerprint
    assert trimming.preprocessing_hash != plain.preprocessing_hash
