"""Makes the stored outputs of the reference programs that the tests of caption metrics compare with.

python -m tests.evaluation.make_reference_captions        needs Java and the extra `coco`; about a minute

data/ptb_texts.txt      hand-made hard cases, one a line; written by hand, the rest is written here
data/ptb_words.txt      what pycocoevalcap's PTBTokenizer gives for them and for the sample corpus, in that order
data/ptb_flickr8k.json  SHA-256 of its words for the captions of Flickr8k (whose text may not be committed)
data/meteor.json        METEOR of the two `meteor_cases` by pycocoevalcap
"""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.conftest import ROOT

DATA = Path(__file__).parent / "data"
FLICKR8K = ROOT / ".." / "shared" / "realdata" / "flickr8k"
METRICS = ROOT / ".." / "shared" / "realdata" / "metrics"


def jar_words(texts: Sequence[str]) -> list[str]:
    """The words of each text with spaces between, as `PTBTokenizer.tokenize` gives them; writes to no package folder.

    Each text stands before an empty line, for the program looks from the end of a line into the next.
    """
    from pycocoevalcap.tokenizer import ptbtokenizer

    jar = Path(ptbtokenizer.__file__).with_name(ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder, "given.txt")
        given.write_text("".join(f"{text}\n¶\n" for text in texts), encoding="utf-8")
        command = ["java", "-XX:+UseSerialGC", "-Dfile.encoding=UTF-8", "-cp", str(jar)]
        command += ["edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase", str(given)]
        done = subprocess.run(command, check=True, capture_output=True)
    lines = done.stdout.decode().split("\n")[: 2 * len(texts)]
    assert set(lines[1::2]) == {"¶"}
    removed = set(ptbtokenizer.PUNCTUATIONS)
    return [" ".join(word for word in line.rstrip().split(" ") if word not in removed) for line in lines[::2]]


def hard_texts() -> list[str]:
    """The hand-made cases."""
    return (DATA / "ptb_texts.txt").read_text(encoding="utf-8").split("\n")[:-1]


def sample_texts() -> list[str]:
    """Every fiftieth of the distinct texts of the sample corpus, sorted."""
    texts = set()
    for path in (ROOT / "data" / "sample").glob("*.tsv"):
        with path.open(encoding="utf-8") as file:
            texts |= {row["text"] for row in csv.DictReader(file, delimiter="\t")}
    return sorted(texts)[::50]


def flickr8k_captions() -> dict[str, list[str]]:
    """All captions that are here (train and dev), and those of dev."""
    with (FLICKR8K / "captions.txt").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    dev = set((FLICKR8K / "Flickr_8k.devImages.txt").read_text().split())
    return {
        "all": [row["caption"] for row in rows],
        "dev": [row["caption"] for row in rows if row["image"] in dev],
    }


def sha256(lines: Iterable[str]) -> str:
    """Of lines of words."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def meteor_cases() -> dict[str, tuple[list[str], list[list[str]]]]:
    """Hypotheses and references: of the sample corpus, and the first real audio captions where they are here."""
    texts = sample_texts()[:60:2]
    references = [[text, texts[(number + 3) % len(texts)]] for number, text in enumerate(texts)]
    cases = {"sample": ([texts[(number + 1) % len(texts)] for number in range(len(texts))], references)}
    if METRICS.is_dir():
        items = json.loads((METRICS / "aac_example_1.json").read_text())["items"][:60]
        cases["aac_example_1"] = ([item["cand"] for item in items], [item["refs"] for item in items])
    return cases


def reference_meteor(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, object]:
    """By pycocoevalcap's own class, of texts split at white space."""
    from pycocoevalcap.meteor.meteor import Meteor

    given = dict(enumerate(references))
    corpus, each = Meteor().compute_score(given, {number: [text] for number, text in enumerate(hypotheses)})
    return {"corpus": corpus, "each": each}


def main() -> None:
    """Write the stored outputs."""
    store_words()
    scores = {name: reference_meteor(*case) for name, case in meteor_cases().items()}
    (DATA / "meteor.json").write_text(json.dumps(scores, indent=1) + "\n")


def store_words() -> None:
    """Of the jar: for the hard cases and the sample corpus, and as hashes for Flickr8k."""
    words = "\n".join(jar_words([*hard_texts(), *sample_texts()])) + "\n"
    (DATA / "ptb_words.txt").write_text(words, encoding="utf-8")
    if FLICKR8K.is_dir():
        hashes = {
            name: {"captions": len(texts), "sha256": sha256(jar_words(texts))}
            for name, texts in flickr8k_captions().items()
        }
        (DATA / "ptb_flickr8k.json").write_text(json.dumps(hashes, indent=1) + "\n")


if __name__ == "__main__":
    main()
