"""The model card says what the facts say, and nothing that they do not."""

import json

from multimodal.model_card import model_card, package_facts
from multimodal.promotion import Rule

FACTS = {
    "name": "sample",
    "version": 4,
    "config": {"tokenizer": {"max_tokens": 40}, "seed": 7},
    "data": {
        "fingerprint": "fc75c27a8015cfea",
        "digest": "ab" * 32,
        "counts": {"rows": 1010, "kept": 1000, "quarantined": 7, "duplicate": 3},
        "by_split": {"train": 800, "val": 100, "test": 100},
        "by_task": {"caption": 600, "denoise": 400},
        "by_reason": {"empty_text": 7},
        "sources": {
            "scenes": {"task": "caption", "path": "data/scenes.tsv", "licence": "CC0-1.0"},
            "notes": {"task": "denoise", "path": "data/notes|x.tsv", "licence": ""},
        },
    },
    "training": {"parameters": 2_900_000, "steps": 1112, "minutes": 9.2},
    "code": {"library version": "1.2.3"},
}
REPORT = {
    "split": "test",
    "scores": [
        {
            "task": "caption", "metric": "cider_d", "value": 5.884, "interval": [5.5, 6.25], "constant": 0.8,
            "nearest": 2.0, "shuffled": 0.5, "higher_is_better": True, "beats_controls": True,
        },
        {
            "task": "denoise", "metric": "wer", "value": 0.0216, "constant": 0.8, "nearest": 0.2, "shuffled": 1.0,
            "null": 0.99, "higher_is_better": False, "beats_controls": False,
        },
    ],
    "tasks": {
        "caption": {
            "samples": 435,
            "worst_slice": {"slice": "speaker=x", "metric": "cider_d", "value": 3.1, "samples": 58},
        },
        "denoise": {"samples": 438},
    },
    "skipped": {"infill": "no latents"},
    "decontamination": {"test_in_train": 0, "checked": 873},
}  # fmt: skip


def test_the_card_says_all_facts():
    """Scores with intervals, slices, verdicts, licences, digests, limits and how to load are there."""
    rules = [Rule("gain", 0.012, 0.0, True, "gain +0.02"), Rule("latency", None, None, True, "switched off")]
    card = model_card(FACTS, REPORT, rules)
    for said in (
        "# sample version 4",
        "writes: caption, denoise. 2.9 M parameters, 1,112 steps in 9.2 minutes.",
        "| **caption** | cider_d | 5.884 | 5.5 to 6.25 | 0.8 | 2 | 0.5 |  |",
        "| **denoise** | wer (less is better) | 0.0216 |  | 0.8 | 0.2 | 1 | 0.99 |",
        "| caption | speaker=x | cider_d | 3.1 | 58 |",
        "| gain | passed | 0.012 | 0.0 | gain +0.02 |",
        "1,010 rows: 1,000 kept, 7 quarantined (empty_text 7), 3 duplicates. train 800, val 100, test 100.",
        "| scenes | caption | CC0-1.0 | data/scenes.tsv |",
        "| notes | denoise | not stated | data/notes\\|x.tsv |",
        "at most 40 tokens",
        "infill was not evaluated: no latents.",
        "Does not beat all of its controls in: denoise wer.",
        "0 of 873 test contents are also in train.",
        'load_model("models:/sample/4")',
        "library version: `1.2.3`",
        '"seed": 7',
    ):
        assert said in card, said


def test_what_is_not_known_is_left_out():
    """Of bare facts there is a card without empty sections."""
    card = model_card({"name": "bare"})
    assert card.startswith("# bare\n")
    assert [line for line in card.splitlines() if line.startswith("##")] == ["## Limits", "## How to load"]


def test_package_facts_name_the_digest_of_every_file(tmp_path):
    """Files are sorted to decoder and encoders; the digests are those of the package's index."""
    files = {"decoder.safetensors": "d1", "probe.json": "d2", "encoders/image/model.safetensors": "d3"}
    index = {
        "files": files, "library": "1", "sampler": {"num_steps": 4},
        "parts": {"encoders": {"image": "e1"}}, "encoders": {"image": {"kind": "open_clip"}},
    }  # fmt: skip
    (tmp_path / "index.json").write_text(json.dumps(index))
    facts = package_facts(tmp_path)
    assert facts["decoder"] == {"decoder.safetensors": "d1", "probe.json": "d2"}
    assert facts["encoders"] == {
        "image": {"fingerprint": "e1", "kind": "open_clip", "files": {"model.safetensors": "d3"}}
    }
    card = model_card({"name": "x", "package": facts})
    assert "| image (open_clip) | model.safetensors | `d3` |" in card
