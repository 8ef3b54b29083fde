"""Text to token ids and back: a byte-level BPE trained on the run's own train texts.

Words never share a token (each begins with its space), so a text's tokens are its words' tokens one after another;
infilling relies on this to cut a canvas at word borders.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from multimodal.errors import CheckpointError

PAD = "<pad>"
MASK = "<mask>"


class TextTokenizer:
    """A trained tokenizer. `<pad>` (id 0) ends a text and fills the canvas; `<mask>` (id 1) is the absorbing state."""

    pad_token_id = 0
    mask_token_id = 1

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> TextTokenizer:
        """Learn merges from texts; any text can be encoded afterwards, since all 256 bytes are in the vocabulary."""
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[PAD, MASK],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return cls(tokenizer)

    @classmethod
    def load(cls, path: Path) -> TextTokenizer:
        """Read `tokenizer.json`.

        Raises:
            CheckpointError: the file is absent.
        """
        if not path.is_file():
            raise CheckpointError(f"no tokenizer at {path}; the folder is no finished checkpoint")
        return cls(Tokenizer.from_file(str(path)))

    def to_json(self) -> str:
        """What `load` reads."""
        return str(self._tokenizer.to_str())

    @cached_property
    def vocab_size(self) -> int:
        """Number of token ids, the special ones included."""
        return int(self._tokenizer.get_vocab_size())

    @cached_property
    def word_start(self) -> tuple[bool, ...]:
        """Per token id, whether it begins a word."""
        return tuple(piece.startswith("Ġ") for piece in self.vocabulary)

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """Per token id, its piece in the byte-level alphabet, where `Ġ` is a space."""
        return tuple(self._tokenizer.id_to_token(i) or "" for i in range(self.vocab_size))

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without padding; "" has none."""
        return list(self._tokenizer.encode(text).ids) if text else []

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of many texts."""
        return [list(encoding.ids) for encoding in self._tokenizer.encode_batch(list(texts))]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids; padding and masks are left out."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def pieces(self, ids: Sequence[int]) -> tuple[str, ...]:
        """Each token's own text, a word's first token beginning with a space."""
        special = {self.pad_token_id: PAD, self.mask_token_id: MASK}
        return tuple(special.get(i) or str(self._tokenizer.decode([i], skip_special_tokens=False)) for i in ids)
