"""What scoring 25,000 captions with five references each costs, beside pycocoevalcap on the same texts in the same run.

python -m pytest tests/benchmarks/test_caption_metrics.py -s        about two minutes on a quiet core
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from multimodal.evaluation import ptb
from multimodal.evaluation.captions import Tokeniser, caption_scores, given_words
from multimodal.evaluation.ptb import ptb_words
from tests.evaluation.make_reference_captions import FLICKR8K, flickr8k_captions, sample_texts

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]

CAPTIONS, REFERENCES = 25_000, 5

Texts = list[str]


def captions() -> tuple[Texts, list[Texts]]:
    """Real captions where Flickr8k is here, else of the sample corpus; every other hypothesis lacks its first word."""
    texts = flickr8k_captions()["all"] if FLICKR8K.is_dir() else sample_texts()
    generator = np.random.default_rng(0)
    drawn = generator.integers(0, len(texts), (CAPTIONS, REFERENCES))
    references = [[texts[index] for index in row] for row in drawn]
    hypotheses = [" ".join(row[0].split()[number % 2 :]) for number, row in enumerate(references)]
    return hypotheses, references


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds on the wall, and what the work gives."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def reference_words(hypotheses: Texts, references: list[Texts]) -> tuple[dict[int, Texts], dict[int, Texts]]:
    """By the jar, as COCO's evaluation asks for them: two calls."""
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    given = {number: [{"caption": text} for text in texts] for number, texts in enumerate(references)}
    written = {number: [{"caption": text}] for number, text in enumerate(hypotheses)}
    return PTBTokenizer().tokenize(written), PTBTokenizer().tokenize(given)


def reference_scores(written: dict[int, Texts], given: dict[int, Texts]) -> list[float]:
    """BLEU-4, ROUGE-L, CIDEr-D by pycocoevalcap's Python."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    bleu = Bleu(4).compute_score(given, written, verbose=0)[0][3]
    return [bleu, Rouge().compute_score(given, written)[0], Cider().compute_score(given, written)[0]]


def our_scores(hypotheses: Texts, references: list[Texts], tokenise: Tokeniser) -> list[float]:
    """The same three."""
    return [score.value for score in caption_scores(hypotheses, references, tokenise)[3:]]


@pytest.mark.skipif(shutil.which("java") is None, reason="the reference tokeniser needs Java")
def test_scoring_is_five_times_faster_than_pycocoevalcap() -> None:
    """With tokenisation, and with the same values; without tokenisation it is told."""
    pytest.importorskip("pycocoevalcap")
    hypotheses, references = captions()
    ptb._split.cache_clear()
    ours, values = timed(lambda: our_scores(hypotheses, references, ptb_words))
    tokenising, (written, given) = timed(lambda: reference_words(hypotheses, references))
    theirs, expected = timed(lambda: reference_scores(written, given))
    words = [texts[0] for texts in written.values()], list(given.values())
    scoring, _ = timed(lambda: our_scores(*words, given_words))
    print(
        f"\n{CAPTIONS} captions x {REFERENCES}: ours {ours:.1f} s, pycocoevalcap {tokenising + theirs:.1f} s "
        f"({(tokenising + theirs) / ours:.1f} times as long); of words already split: ours {scoring:.1f} s, "
        f"pycocoevalcap {theirs:.1f} s ({theirs / scoring:.1f} times)"
    )
    assert values == pytest.approx(expected, abs=1e-6)
    assert tokenising + theirs >= 5 * ours
