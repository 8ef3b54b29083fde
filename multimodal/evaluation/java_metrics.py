"""METEOR and SPICE by their reference programs, where Java and pycocoevalcap (extra `coco`) are present.

Where they are not, the scores are not computed; there is no stand-in. Nothing is ever downloaded.
"""

from __future__ import annotations

import atexit
import json
import math
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from multimodal.errors import MultimodalError
from multimodal.evaluation.captions import Tokeniser, check_references
from multimodal.evaluation.ptb import ptb_words
from multimodal.evaluation.score import Score

_METEOR_JAR = Path("meteor", "meteor-1.5.jar")
_SPICE_JAR = Path("spice", "spice-1.0.jar")
_SPICE_MODELS = Path("spice", "lib", "stanford-corenlp-3.6.0-models.jar")


def meteor_unavailable() -> str | None:
    """Why METEOR cannot be computed here, or None where it can."""
    return _unavailable(_METEOR_JAR)


def spice_unavailable() -> str | None:
    """Why SPICE cannot be computed here, or None where it can."""
    reason = _unavailable(_SPICE_JAR)
    if reason is None and not (_folder() / _SPICE_MODELS).is_file():
        return f"pycocoevalcap comes without SPICE's language models and would download them: {_SPICE_MODELS.name}"
    return reason


def meteor(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], tokenise: Tokeniser = ptb_words
) -> Score | None:
    """METEOR 1.5 of a corpus, English, 0 to 1 (Denkowski & Lavie 2014), or None where `meteor_unavailable`.

    The program takes some seconds and 2 GB to load its paraphrases; it is started once per process.

    Raises:
        MultimodalError: as `captions.corpus_bleu`, or the program ended early.
    """
    check_references(hypotheses, references)
    if meteor_unavailable():
        return None
    value, values = _meteor_program().score(hypotheses, references, tokenise)
    return Score("meteor", value, {"samples": len(values)}, f"meteor:1.5|coco|tok:{tokenise.__name__}")


def meteor_of_each(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], tokenise: Tokeniser = ptb_words
) -> list[float] | None:
    """METEOR of every picture, in order; see `meteor`."""
    check_references(hypotheses, references)
    return None if meteor_unavailable() else _meteor_program().score(hypotheses, references, tokenise)[1]


def spice(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Score | None:
    """SPICE: mean F-score of the pictures' scene graphs (Anderson et al. 2016), or None where `spice_unavailable`.

    Raises:
        MultimodalError: as `captions.corpus_bleu`, or the program failed.
    """
    check_references(hypotheses, references)
    if spice_unavailable():
        return None
    pictures = [
        {"image_id": number, "test": " ".join(ptb_words(text)), "refs": [" ".join(ptb_words(other)) for other in texts]}
        for number, (text, texts) in enumerate(zip(hypotheses, references, strict=True))
    ]
    with tempfile.TemporaryDirectory() as folder:
        given, written = Path(folder, "given.json"), Path(folder, "written.json")
        given.write_text(json.dumps(pictures), encoding="utf-8")
        command = [*_java("8G"), str(_folder() / _SPICE_JAR), str(given), "-out", str(written), "-subset", "-silent"]
        done = subprocess.run(command, cwd=_folder() / "spice", capture_output=True, text=True, check=False)
        if done.returncode:
            raise MultimodalError(f"SPICE failed: {done.stderr.strip()[-300:]}; leave it out, or try another Java")
        scored = json.loads(written.read_text(encoding="utf-8"))
    values = [float(picture["scores"]["All"]["f"] or math.nan) for picture in scored]
    return Score("spice", sum(values) / len(values), {"samples": len(values)}, "spice:1.0|coco|tok:ptb_words")


class _Meteor:
    """The METEOR program, spoken to line by line: SCORE gives the statistics of a picture, EVAL the scores of many."""

    def __init__(self) -> None:
        command = [*_java("2G"), str(_folder() / _METEOR_JAR), "-", "-", "-stdio", "-l", "en", "-norm"]
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            command,
            cwd=_folder() / "meteor",
            encoding="utf-8",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def score(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str]], tokenise: Tokeniser
    ) -> tuple[float, list[float]]:
        """METEOR of the corpus and of each picture."""
        with self._lock:
            statistics = []
            for hypothesis, texts in zip(hypotheses, references, strict=True):
                fields = [" ".join(tokenise(text)).replace("|||", "") for text in (*texts, hypothesis)]
                self._say(" ||| ".join(("SCORE", *fields)))
                statistics.append(self._heard())
            self._say(" ||| ".join(("EVAL", *statistics)))
            values = [float(self._heard()) for _ in statistics]
            return float(self._heard()), values

    def close(self) -> None:
        """End the program."""
        self._process.communicate()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except OSError:
            self._ended()

    def _heard(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            self._ended()
        return line

    def _ended(self) -> None:
        _meteor_program.cache_clear()
        raise MultimodalError(
            f"METEOR's Java program ended with code {self._process.wait()}; it needs 2 GB of memory, or leave it out"
        )


@lru_cache(maxsize=1)
def _meteor_program() -> _Meteor:
    program = _Meteor()
    atexit.register(program.close)
    return program


def _unavailable(jar: Path) -> str | None:
    if find_spec("pycocoevalcap") is None:
        return "the package pycocoevalcap is not installed (extra `coco`)"
    if not (_folder() / jar).is_file():
        return f"the installed pycocoevalcap does not hold {jar.name}"
    if shutil.which("java") is None:
        return "there is no java on the PATH"
    return None


def _folder() -> Path:
    """Where pycocoevalcap is installed; it is not imported."""
    spec = find_spec("pycocoevalcap")
    assert spec is not None and spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))


def _java(memory: str) -> list[str]:
    return ["java", f"-Xmx{memory}", "-XX:+UseSerialGC", "-Dfile.encoding=UTF-8", "-jar"]
