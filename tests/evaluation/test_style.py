"""The style classifier and the scores that trust it."""

import pytest

from multimodal.evaluation.items import Item
from multimodal.evaluation.metrics import metrics_for
from multimodal.evaluation.style import fit_style_classifier, style_accuracy, style_with_content
from multimodal.evaluation.text_scores import sacre_bleu
from multimodal.sample import Split, Task

TOPICS = [f"the {how} {what}" for how in ("red", "blue", "old", "tall") for what in ("dog", "boat", "tree", "house")]
STYLES = {"formal": "One may observe {}.", "informal": "hey look, {}!"}


def items_of(topics, styles=("formal", "informal")):
    pairs = [(style, STYLES[style].format(topic)) for topic in topics for style in styles]
    return [
        Item(f"s{n}", Task.RESTYLE, Split.TRAIN, f"c{n}", (text,), "", style) for n, (style, text) in enumerate(pairs)
    ]


def changes_of(texts):
    """Each text and its longer form, made from one another."""
    pairs = [(text, f"{text}, they say", "longer") for text in texts] + [
        (f"{text}, they say, they say", f"{text}, they say", "shorter") for text in texts
    ]
    return [
        Item(f"s{n}", Task.RESTYLE, Split.TRAIN, f"c{n}", (text,), source, style)
        for n, (source, text, style) in enumerate(pairs)
    ]


def other_style(item):
    return "informal" if item.style == "formal" else "formal"


def test_right_texts_are_in_the_right_style_and_swapped_ones_are_not():
    """Fitted on twelve topics, the classifier knows the style of four others."""
    train, held_out = items_of(TOPICS[:12]), items_of(TOPICS[12:])
    classifier = fit_style_classifier(train)
    right = style_accuracy(held_out, [item.references[0] for item in held_out], classifier)
    assert right.value == 1
    assert right.counts["classifier_held_out"] == 1
    swapped = [
        items_of([TOPICS[12 + n // 2]], (other_style(item),))[0].references[0] for n, item in enumerate(held_out)
    ]
    assert style_accuracy(held_out, swapped, classifier).value == 0


def test_a_style_that_shows_only_beside_the_source_is_read_from_the_change():
    """Shorter or longer than the source: no text shows it alone. A copy, and a text about something else, are then in
    neither style: what is no rewriting has changed nothing into a style."""
    steps = [f"{topic} {adverb}" for topic in TOPICS for adverb in ("today", "again", "slowly", "at night")]
    train, held_out = changes_of(steps[:48]), changes_of(steps[48:])
    classifier = fit_style_classifier(train)
    assert classifier.signature.startswith("change,")
    right = style_accuracy(held_out, [item.references[0] for item in held_out], classifier)
    assert right.value == right.counts["classifier_held_out"] == 1
    copied = style_accuracy(held_out, [item.input for item in held_out], classifier)
    assert copied.value == 0
    assert copied.counts["no_style"] == len(held_out)
    strangers = style_accuracy(held_out, ["my cat sleeps upon every warm keyboard"] * len(held_out), classifier)
    assert strangers.value == 0
    assert strangers.counts["no_style"] == len(held_out)
    assert fit_style_classifier(items_of(TOPICS)).signature.startswith("text,")


def test_style_without_content_earns_little():
    """The right style about another topic is worth its overlap only, the right text everything, the wrong style 0."""
    train, held_out = items_of(TOPICS[:12]), items_of(TOPICS[12:])
    classifier = fit_style_classifier(train)
    right = [item.references[0] for item in held_out]
    elsewhere = [STYLES[item.style].format("nothing at all") for item in held_out]
    assert style_with_content(held_out, right, classifier).value == pytest.approx(1)
    assert style_accuracy(held_out, elsewhere, classifier).value == 1
    assert style_with_content(held_out, elsewhere, classifier).value < 0.6
    swapped = [STYLES[other_style(item)].format("x") for item in held_out]
    assert style_with_content(held_out, swapped, classifier).value == 0


def test_bleu_takes_any_number_of_references_and_signs_itself():
    """Items with one and with two references are scored together; the signature is the one of sacrebleu."""
    items = items_of(TOPICS[:2])
    items[0] = Item("s", Task.RESTYLE, Split.TEST, "c", (items[0].references[0], "another way to say it"), "", "formal")
    hypotheses = ["another way to say it", *(item.references[0] for item in items[1:])]
    score = sacre_bleu(hypotheses, [item.references for item in items])
    assert score.value == pytest.approx(100)
    assert "tok:13a" in score.signature and "version:" in score.signature


def test_one_style_alone_is_not_told_apart():
    """Where train holds one style, no style is reported: always the same verdict would measure nothing."""
    train = items_of(TOPICS, ("formal",))
    assert not fit_style_classifier(train).can_tell
    names = {metric.name for metric in metrics_for(Task.RESTYLE, train, train)}
    assert "restyle_bleu" in names and not names & {"style_accuracy", "style_with_content"}
