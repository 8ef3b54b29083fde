"""Writes a text under hard constraints: fixed words stand on the canvas, forbidden tokens are never proposed.

    prefix, suffix     stand where the text begins and ends; a few lengths are tried in one batch
    must contain       stands where the model finds it likeliest, the rest is written around it
    must not contain   what spelled it is forbidden where it stood, and the text is written again
    min, max words     the text may not end before, or must end at, a position that each round moves

A text is written again until it meets the constraints or `ROUNDS` are over. What then still stands against them is cut
out where cutting helps (forbidden words, words too many); what cannot be cut is an error, never a silent miss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from multimodal.errors import RequestError
from multimodal.generation.constraints import Constraints, find
from multimodal.generation.text import Generation
from multimodal.tokenizer import TextTokenizer

ROUNDS = 10
LENGTHS = 3
"""Lengths that are tried on either side of the free text's, where the text's end is fixed."""

PLACES = 3
"""Places at which a word that must be there is tried."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """One canvas with what may not be written on it.

    Args:
        tokens: fixed tokens and masks.
        banned: (position, token) pairs.
        open_until: positions before it may not hold padding.
    """

    tokens: tuple[int, ...]
    banned: frozenset[tuple[int, int]] = field(default_factory=frozenset)
    open_until: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """A filled sheet.

    Args:
        sheet: what it was written on.
        ids: its tokens.
        generation: the text.
    """

    sheet: Sheet
    ids: tuple[int, ...]
    generation: Generation

    @property
    def text(self) -> str:
        """Up to the first padding."""
        return self.generation.text

    @property
    def score(self) -> float:
        """How likely the model finds what it wrote."""
        return self.generation.score


Fill = Callable[[Sequence[Sheet]], Sequence[Attempt]]
"""Lets the model write on some sheets of one length."""

Likelihoods = Callable[[Sheet], Tensor]
"""Log-probabilities [length, vocab] of the clean tokens, given a sheet."""


class ConstrainedSearch:
    """Searches a text that meets constraints.

    Args:
        tokenizer: of the model.
        fill, likelihoods: the model.
        length: of the task's canvas.
    """

    def __init__(self, tokenizer: TextTokenizer, fill: Fill, likelihoods: Likelihoods, length: int) -> None:
        self.tokenizer, self.fill, self.likelihoods, self.length = tokenizer, fill, likelihoods, length
        pieces = tokenizer.pieces(range(tokenizer.vocab_size))
        self._inside = frozenset(token for token, piece in enumerate(pieces) if token > 1 and not piece.startswith(" "))
        self._continues = frozenset(token for token in self._inside if pieces[token][:1].isalnum())

    def write(self, constraints: Constraints) -> Generation:
        """The likeliest text found that meets the constraints.

        Raises:
            RequestError: they do not fit on the canvas, or no text was found that meets them.
        """
        sheets = self._first_sheets(constraints)
        best: Attempt | None = None
        for _ in range(ROUNDS):
            attempts = self.fill(sheets)
            good = [attempt for attempt in attempts if not constraints.violations(attempt.text)]
            if good:
                return max(good, key=lambda attempt: attempt.score).generation
            fewest = min(len(constraints.violations(attempt.text)) for attempt in attempts)
            nearest = [attempt for attempt in attempts if len(constraints.violations(attempt.text)) == fewest]
            best = max(nearest, key=lambda attempt: attempt.score)
            sheets = self._again(constraints, best)
        assert best is not None
        return self._cut(constraints, best)

    def _first_sheets(self, constraints: Constraints) -> list[Sheet]:
        tokenizer, mask, pad = self.tokenizer, self.tokenizer.mask_token_id, self.tokenizer.pad_token_id
        prefix, suffix = tokenizer.encode(constraints.prefix.strip()), self._suffix(constraints.suffix.strip())
        if len(prefix) + len(suffix) >= self.length:
            raise RequestError(f"constraints: prefix and suffix take more than the canvas of {self.length} tokens")
        start = Sheet((*prefix, *[mask] * (self.length - len(prefix))), self._word_ends(len(prefix)))
        start = replace(start, open_until=max(constraints.min_words or 0, len(prefix)))
        if not suffix:
            return [start]
        free = self.fill([start])[0]
        middle = (free.ids.index(pad) if pad in free.ids else self.length) - len(prefix) - len(suffix)
        lengths = sorted(
            {min(max(0, middle + off), self.length - len(prefix) - len(suffix)) for off in range(-LENGTHS, LENGTHS + 1)}
        )
        sheets = []
        for length in lengths:
            body = [*prefix, *[mask] * length, *suffix]
            tokens = (*body, *[pad] * (self.length - len(body)))
            sheets.append(replace(start, tokens=tokens, open_until=len(body)))
        return sheets

    def _suffix(self, text: str) -> list[int]:
        """Tokens of a suffix; punctuation clings to the word before it."""
        if not text or text[0].isalnum():
            return self.tokenizer.encode(text)
        return self.tokenizer.encode("a" + text)[len(self.tokenizer.encode("a")) :]

    def _word_ends(self, position: int) -> frozenset[tuple[int, int]]:
        """Bans that let no fixed word before `position` be continued."""
        return frozenset((position, token) for token in self._continues) if 0 < position < self.length else frozenset()

    def _again(self, constraints: Constraints, attempt: Attempt) -> list[Sheet]:
        """The sheets of the next round, by the first thing that is wrong."""
        for words in constraints.must_not_contain:
            if find(words, attempt.text):
                return [self._without(attempt, words)]
        for words in constraints.must_contain:
            if not find(words, attempt.text):
                return self._with(attempt, words)
        count = len(attempt.text.split())
        if constraints.max_words is not None and count > constraints.max_words:
            return [self._shorter(attempt, constraints.max_words)]
        return [self._longer(attempt, max(1, (constraints.min_words or 0) - count))]

    def _without(self, attempt: Attempt, words: str) -> Sheet:
        """The token with which forbidden words began may not stand there again, and nowhere if it is all of a word."""
        match = find(words, attempt.text)
        assert match is not None
        pieces = self.tokenizer.pieces(attempt.ids)
        end = 0
        for position, (token, piece) in enumerate(zip(attempt.ids, pieces, strict=True)):
            end += len(piece) if position else len(piece.lstrip())
            if end > match.start() and attempt.sheet.tokens[position] == self.tokenizer.mask_token_id:
                alone = piece.strip().lower() == words.lower()
                places = range(self.length) if alone else (position,)
                return replace(attempt.sheet, banned=attempt.sheet.banned | {(place, token) for place in places})
        return attempt.sheet

    def _with(self, attempt: Attempt, words: str) -> list[Sheet]:
        """Sheets with the words at the places where the model, seeing the fixed tokens alone, finds them likeliest."""
        mask, pad = self.tokenizer.mask_token_id, self.tokenizer.pad_token_id
        ids, sheet = self.tokenizer.encode(words), attempt.sheet
        end = attempt.ids.index(pad) if pad in attempt.ids else self.length
        logs = self.likelihoods(sheet)
        places = [
            place
            for place in range(min(end, self.length - len(ids)) + 1)
            if all(token == mask for token in sheet.tokens[place : place + len(ids)])
        ]
        if not places:
            raise RequestError(f"constraints: there is no room for '{words}' on a canvas of {self.length} tokens")
        likely = sorted(places, key=lambda place: -sum(float(logs[place + k, token]) for k, token in enumerate(ids)))
        return [
            replace(
                sheet,
                tokens=(*sheet.tokens[:place], *ids, *sheet.tokens[place + len(ids) :]),
                banned=sheet.banned | self._word_ends(place + len(ids)),
                open_until=max(sheet.open_until, place + len(ids)),
            )
            for place in likely[:PLACES]
        ]

    def _shorter(self, attempt: Attempt, most: int) -> Sheet:
        """The sheet on which the text ends, at the latest, where its first word too many began."""
        mask, pad = self.tokenizer.mask_token_id, self.tokenizer.pad_token_id
        starts = [place for place, piece in enumerate(self.tokenizer.pieces(attempt.ids)) if piece.startswith(" ")]
        end = starts[most] if len(starts) > most else len(attempt.ids) - 1
        tail = [pad if token == mask else token for token in attempt.sheet.tokens[end:]]
        return replace(
            attempt.sheet, tokens=(*attempt.sheet.tokens[:end], *tail), open_until=min(end, attempt.sheet.open_until)
        )

    def _longer(self, attempt: Attempt, missing: int) -> Sheet:
        """The sheet on which the text ends later, and on which some tokens inside words have to begin words."""
        mask, sheet = self.tokenizer.mask_token_id, attempt.sheet
        pieces = self.tokenizer.pieces(attempt.ids)
        end = min(self.length, sheet.open_until + missing)
        inside = [place for place in range(1, end) if sheet.tokens[place] == mask and not pieces[place].startswith(" ")]
        begin = inside[:: max(1, len(inside) // missing)][:missing] if sheet.open_until >= missing else []
        banned = sheet.banned | {(place, token) for place in begin for token in self._inside}
        return replace(sheet, open_until=end, banned=banned)

    def _cut(self, constraints: Constraints, attempt: Attempt) -> Generation:
        text = attempt.text
        for words in constraints.must_not_contain:
            while match := find(words, text):
                text = " ".join((text[: match.start()] + text[match.end() :]).split())
        if constraints.max_words is not None:
            text = " ".join(text.split()[: constraints.max_words])
        if problems := constraints.violations(text):
            raise RequestError(
                f"constraints: no text was found that meets them; the nearest {' and '.join(problems)}: {text!r:.120}"
            )
        return replace(attempt.generation, text=text)


def ban_mask(sheets: Sequence[Sheet], vocab_size: int, pad: int, device: torch.device) -> Tensor:
    """bool [sheets, length, vocab]: what may not be proposed."""
    mask = torch.zeros(len(sheets), len(sheets[0].tokens), vocab_size, dtype=torch.bool)
    for row, sheet in enumerate(sheets):
        mask[row, : sheet.open_until, pad] = True
        if sheet.banned:
            places, tokens = (torch.tensor(part) for part in zip(*sheet.banned, strict=True))
            mask[row, places, tokens] = True
    return mask.to(device)
