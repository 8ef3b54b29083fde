"""Captions that can be asked for in a style or language."""

import pytest

from multimodal.decoder import DecoderConfig
from multimodal.errors import RequestError
from multimodal.evaluation.items import build_items
from multimodal.evaluation.metrics import StyleAccuracy, metrics_for
from multimodal.generation import Request, TextGenerator
from multimodal.sample import Modality, Sample, Split, Task
from multimodal.training.options import SamplerOptions
from tests.training.conftest import WORDS, ToyLatents, teach

FORMS = {"en": "it is {}", "de-long": "hier steht ein {} auf"}


def caption(word: str, style: str) -> Sample:
    text = FORMS[style].format(word)
    return Sample(
        f"{word}-{style}", word, Modality.IMAGE, Task.CAPTION, Split.TRAIN, word, "toy", word, text, style=style
    )


SAMPLES = [caption(word, style) for word in WORDS for style in FORMS]


@pytest.fixture(scope="module")
def linguist(tmp_path_factory: pytest.TempPathFactory) -> TextGenerator:
    """Has seen every picture described in two styles."""
    styles = tuple(sorted(FORMS))
    return teach(SAMPLES, tmp_path_factory.mktemp("run"), 12, 100, 340, styles=styles, task_styles={"caption": styles})


def test_captions_come_in_the_asked_style(linguist: TextGenerator) -> None:
    """The same picture gets either text, as asked."""
    requests = [Request(s.sample_id, s.task, ToyLatents().get(s.content_id), style=s.style) for s in SAMPLES]
    written = [made.text for made in linguist.generate(requests, SamplerOptions())]
    assert sum(text == sample.text for text, sample in zip(written, SAMPLES, strict=True)) >= 14
    (accuracy,) = [m for m in metrics_for(Task.CAPTION, *2 * [build_items(SAMPLES)]) if isinstance(m, StyleAccuracy)]
    by_style = dict(zip([sample.sample_id for sample in SAMPLES], written, strict=True))
    items = build_items(SAMPLES)
    assert accuracy.score(items, [by_style[item.sample_id] for item in items]).value > 0.85


def test_without_a_style_a_caption_is_written_all_the_same(linguist: TextGenerator) -> None:
    """The null style stands in."""
    written = linguist.generate([Request("r", Task.CAPTION, ToyLatents().get("red"))], SamplerOptions())
    assert written[0].text


def test_an_unknown_style_names_the_known_ones(linguist: TextGenerator) -> None:
    """Of that task, not those of others."""
    request = Request("r", Task.CAPTION, ToyLatents().get("red"), style="fr")
    with pytest.raises(RequestError, match="unknown style 'fr'; the model knows de-long, en for caption"):
        linguist.generate([request], SamplerOptions())


def test_styles_belong_to_tasks() -> None:
    """A style of restyle is none of captions; decoders from before that were named have them for restyle alone."""
    shape = {"vocab_size": 9, "max_tokens": 9, "latent_sizes": {}, "tasks": ("caption", "restyle"), "styles": ("a",)}
    old = DecoderConfig.from_dict(shape)
    assert (old.styles_of("restyle"), old.styles_of("caption")) == (("a",), ())
    new = DecoderConfig.from_dict(shape | {"task_styles": {"caption": ["a"]}})
    assert (new.styles_of("restyle"), new.styles_of("caption")) == ((), ("a",))
    assert DecoderConfig.from_dict(new.to_dict()) == new
