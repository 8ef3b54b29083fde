"""Makes the sample corpus in data/sample: drawn scenes, spoken utterances and written sentences, and some bad rows.

    python data/make_sample.py                      # everything; needs espeak-ng
    python data/make_sample.py --only text          # one part (scenes, speech or text)
    python data/make_sample.py --output /tmp/s      # elsewhere

The same seed gives the same bytes, with the pinned Pillow and soundfile and espeak-ng 1.51.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import random
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from multimodal.fingerprint import write_file
from multimodal.synthetic.descriptions import describe_scene
from multimodal.synthetic.noise import NOISE_RATES, add_noise
from multimodal.synthetic.scenes import Scene, draw_scene, random_scene
from multimodal.synthetic.sentences import STYLES, corpus_wordings
from multimodal.synthetic.speech import make_speech

SEED = 20261121
SCENES, HELD_OUT_SCENES = 3930, 70
UTTERANCES = 1600
SENTENCE_PAIRS = 2000
WEBP_QUALITY = 80
Row = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SceneItem:
    """One picture with two captions."""

    scene: Scene
    captions: tuple[str, str]
    split: str

    def webp(self) -> bytes:
        """The picture as a WebP file."""
        return encoded(draw_scene(self.scene), "WEBP", quality=WEBP_QUALITY, method=6)

    def rows(self, path: str) -> Iterator[Row]:
        """One row per caption."""
        scene = json.dumps(self.scene.to_json(), separators=(",", ":"))
        for caption in self.captions:
            yield {"path": path, "text": caption, "group": self.scene.combination, "split": self.split, "scene": scene}


@dataclass(frozen=True, slots=True)
class SentencePair:
    """The same content in both styles, each with a noisy counterpart; all four share one group."""

    sentences: tuple[str, str]
    noisy: tuple[str, str]
    group: str

    def denoise_rows(self) -> Iterator[Row]:
        """Noisy -> clean, in both styles."""
        for noisy, clean in zip(self.noisy, self.sentences, strict=True):
            yield {"input": noisy, "text": clean, "group": self.group}

    def restyle_rows(self) -> Iterator[Row]:
        """Formal -> informal and back."""
        for given, wanted in ((0, 1), (1, 0)):
            texts = {"input": self.sentences[given], "text": self.sentences[wanted]}
            yield {**texts, "style": STYLES[wanted], "group": self.group}

    def infill_rows(self) -> Iterator[Row]:
        """Texts that gaps are cut into."""
        for sentence in self.sentences:
            yield {"text": sentence, "group": self.group}


def scene_items(seed: int = SEED) -> Iterator[SceneItem]:
    """All scenes: those that may be trained on, then those with a held-out pair of colour and shape."""
    scenes, captions = random.Random(f"scenes-{seed}"), random.Random(f"captions-{seed}")
    for index in range(SCENES + HELD_OUT_SCENES):
        held_out = index >= SCENES
        scene = random_scene(scenes, held_out=held_out)
        first = second = describe_scene(scene, captions)
        while second == first:
            second = describe_scene(scene, captions)
        yield SceneItem(scene, (first, second), "test" if held_out else "")


def sentence_pairs(spoken: Iterable[str] = (), seed: int = SEED) -> Iterator[SentencePair]:
    """Pairs about scenes and utterances in turn, no sentence twice and none that is spoken in the corpus."""
    rng = random.Random(f"sentences-{seed}")
    seen = set(spoken)
    for index in range(SENTENCE_PAIRS):
        wordings = corpus_wordings(rng, of_scenes=index % 2 == 0)
        while seen.intersection(wordings.sentences):
            wordings = corpus_wordings(rng, of_scenes=index % 2 == 0)
        seen.update(wordings.sentences)
        formal, informal = (add_noise(text, rng, rng.uniform(*NOISE_RATES)) for text in wordings.sentences)
        yield SentencePair(wordings.sentences, (formal, informal), wordings.group)


def make_scenes(folder: Path) -> None:
    """Pictures and scenes.tsv, with four bad rows."""
    rows: list[Row] = []
    for index, item in enumerate(scene_items()):
        path = f"scenes/{index:04d}.webp"
        write_file(folder / path, item.webp())
        rows += item.rows(path)
    picture = draw_scene(random_scene(random.Random(SEED)))
    jpeg = encoded(picture, "JPEG", quality=85)
    write_file(folder / "bad/truncated.jpg", jpeg[: len(jpeg) // 2])
    write_file(folder / "bad/text.png", b"This file says that it is a picture. It is not.\n")
    bad = {"group": "bad", "split": "", "scene": ""}
    rows += [
        {"path": "bad/truncated.jpg", "text": "a picture whose second half was lost on the way here", **bad},
        {"path": "bad/text.png", "text": "a file of text that carries the name of a picture", **bad},
        {**rows[0], "text": ""},
        rows[1],
    ]
    write_table(folder / "scenes.tsv", rows)


def make_utterances(folder: Path) -> None:
    """Clips and speech.tsv, with two bad rows."""
    rows: list[Row] = [
        {name: str(value) for name, value in row.items()}
        for row in make_speech(folder / "speech", random.Random(f"speech-{SEED}"), UTTERANCES)
    ]
    write_file(folder / "bad/lying.wav", lying_wav())
    write_file(folder / "bad/text.ogg", b"This file says that it is sound. It is not.\n")
    bad = {"speaker": "", "group": "bad", "split": ""}
    rows += [
        {"path": "bad/lying.wav", "text": "a clip that ends long before its header says", **bad},
        {"path": "bad/text.ogg", "text": "a file of text that carries the name of a clip", **bad},
    ]
    write_table(folder / "speech.tsv", rows)


def make_texts(folder: Path) -> None:
    """denoise.tsv, restyle.tsv and infill.tsv, the first with two bad rows."""
    with (folder / "speech.tsv").open(encoding="utf-8", newline="") as file:
        spoken = {row["text"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}
    pairs = list(sentence_pairs(spoken))
    denoise = [row for pair in pairs for row in pair.denoise_rows()]
    denoise += [{**denoise[0], "text": ""}, denoise[1]]
    write_table(folder / "denoise.tsv", denoise)
    write_table(folder / "restyle.tsv", [row for pair in pairs for row in pair.restyle_rows()])
    write_table(folder / "infill.tsv", [row for pair in pairs for row in pair.infill_rows()])


def lying_wav() -> bytes:
    """A WAV header that promises ten seconds, and a fifth of a second of a tone."""
    rate, promised, kept = 16_000, 160_000, 3_200
    tone = struct.pack(f"<{kept}h", *(8000 if index // 40 % 2 else -8000 for index in range(kept)))
    form = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + 2 * promised, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    return form + struct.pack("<4sI", b"data", 2 * promised) + tone


def encoded(picture: Image.Image, kind: str, **settings: int) -> bytes:
    """The bytes of a picture file."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **settings)
    return buffer.getvalue()


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as TSV: a header, then one line per row, nothing quoted."""
    lines = [tuple(rows[0]), *(tuple(row.values()) for row in rows)]
    write_file(path, "".join("\t".join(line) + "\n" for line in lines).encode())


def corpus_digest(folder: Path) -> str:
    """SHA-256 over names and bytes of all files, first 16 hex digits."""
    sha = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            sha.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return sha.hexdigest()[:16]


PARTS = {"scenes": make_scenes, "speech": make_utterances, "text": make_texts}


def main() -> None:
    """Make the parts that the command line names, and say what is there."""
    parser = argparse.ArgumentParser(description="Make the sample corpus.")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "sample")
    parser.add_argument("--only", choices=PARTS, action="append", help="make this part only; may be repeated")
    arguments = parser.parse_args()
    for part in arguments.only or PARTS:
        PARTS[part](arguments.output)
    files = [path for path in arguments.output.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 1e6
    print(f"{arguments.output}: {len(files)} files, {size:.1f} MB, digest {corpus_digest(arguments.output)}")


if __name__ == "__main__":
    main()
