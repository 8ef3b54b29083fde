"""Penn Treebank words of a caption, as COCO's caption evaluation splits them, without Java.

pycocoevalcap pipes every caption through the lexer of Stanford CoreNLP 3.4.1 (`PTBTokenizer -preserveLines
-lowerCase`) and removes a list of punctuation. The rules here were written from what that program prints for some
two million probes (every code point of the basic plane, every string of up to four letters as an abbreviation, natural
and hand-made text), not from its source. They work as a lexer does: at each place the rule that matches most text wins,
the earlier one where two match as much, and what a rule looks ahead to counts as matched.

Known to differ: HTML entities of letters (`&eacute;`), some abbreviations before a hyphen without a space (`etc.-x`);
and the reference looks from the end of one caption into the next ("no." before one that begins with a digit), so that
what it gives depends on the order of the captions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

PUNCTUATION = frozenset(("''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-"))
PUNCTUATION |= frozenset((".", "?", "!", ",", ":", "-", "--", "...", ";"))
"""What pycocoevalcap removes. It lower-cases first, so that brackets, by then `-lrb-` and `-rrb-`, stay as words."""

# Numbers that are one character (², ½, ①) count as letters in Python and not in the lexer; marks the other way round.
_NO_LETTERS = "\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u209c\u2150-\u2189\u2460-\u2bff\u3007\u3021-\u3029"
_L = rf"(?:[^\W\d_{_NO_LETTERS}]|[\u02b0-\u036f])"
_X = rf"(?:[^\W_{_NO_LETTERS}]|[\u02b0-\u036f])"  # a letter or a digit
_A = "['’]"
_SPACE = "[ \u00a0]"
_PART = rf"(?:[dDoOlL]{_A}{_X}{{2,}}|{_X}+)"  # of a compound
_WORD = rf"{_L}{_X}*(?:[.!?]{_L}{_X}*)*"
_ENDINGS = "(?:[msdMSD]|re|ve|ll|RE|VE|LL)"
_CLITIC = rf"(?:'{_ENDINGS}(?!{_L})|’{_ENDINGS})"
_SEGMENT = "[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}"
_URL = r"""[^\s"<>|()]+[^\s"<>|.!?(){},\-]"""

_ABBREVIATIONS = (
    "adj adm adv al ala alex apr ariz assn asst atty aug ave bhd bldg blvd brig bros calif capt cf cie cmdr co col "
    "colo comdr conn corp cos cpl ct dak dec dept det dr drs elec ens esq est etc ext feb fla fri ft ga gen gov "
    "govs hon inc ind insp intl invt jan jos jr jul jun kan kans ky lt ltd maj mar md messrs mfg mich minn mlle "
    "mme mo mon mont mr mrs ms msgr mt mtg natl neb nev nov oct okla penn pfc ph plc ppte ppty pres prof profs "
    "pte ptes pty ptys pvt rd rep reps rev rt sen sens sep sept seq sfc sgt spc sq sr st ste supt sys tel tenn "
    "thu thurs tue tues univ va vs vt wed wis wisc wm wyo ph.d"
)
_CAPITALISED = "ark az del ill la mass miss ore pa tex wash"
_BEFORE_NUMBERS = "art ca fig figs no nos op pp prop"
_SENTENCE_STARTS = (
    "a about according additionally after an as at but earlier he her here however if in it last many more now "
    "once one other our she since so some such that the their then there these they this we what when while yet "
    "you"
)


def _any(words: str) -> str:
    """A pattern of any of the words, which are given with spaces between."""
    return f"(?:{'|'.join(sorted(map(re.escape, words.split()), key=len, reverse=True))})"


def _capitalised(words: str) -> str:
    return f"{words.title()} {words.upper()}"


_PATTERNS = (
    # Tags; white space in them stays.
    r"<(?:[A-Za-z][^\s<>/]*(?:\s[^<>]*)?/?|/[A-Za-z][^\s<>/]*|[!?][A-Za-z\-][^<>]*)>",
    # Contractions that are split, and what they are split from.
    rf"({_L}{_X}*?)[nN][`'’][tT]",
    rf"({_WORD}){_CLITIC}",
    r"[nN][`'’][tT]",
    _CLITIC,
    rf"('[tT])(?i:is|was)(?:(?!{_X})|(?=[nN]{_A}[tT]))",
    rf"(?i:(can)not(?!{_A})|(gon|wan)na|(got)ta|(lem|gim)me)(?!{_X})",
    # Words that begin, end or go on with an apostrophe.
    rf"(?i:{_A}em|{_A}till?|{_A}cause|ol{_A}|somethin{_A}|ma{_A}am|c{_A}mon|ne{_A}er|e{_A}er|li{_A}l)(?!{_X})",
    rf"{_A}[nN]{_A}|'[nN](?!{_X})|’[nN]|{_A}\d0s|{_A}\d\d(?!\S)|[lLdDjJ]{_A}|[yY]{_A}(?={_L})",
    rf"[A-HJ-XZn]{_A}{_L}{{2,}}|{_L}{{2,}}(?<=[aeiouAEIOU]){_A}[aeiouA-Z]{_L}*",
    # Words, joined by hyphens, underscores, slashes, & and +.
    _WORD,
    rf"{_PART}(?:[\-_\u2010\u2011]{_PART})*",
    rf"(?:{_WORD}|{_X}+(?:[\-_]{_X}+)*)\.(?=[,;:])",
    r"[A-Za-z0-9][A-Za-z0-9.,]*(?:-(?:[A-Za-z](?:\.[A-Za-z])+\.|[A-Za-z0-9]+))+",
    rf"{_SEGMENT}(?:/{_SEGMENT}){{1,2}}",
    r"[A-Z]+(?:[+&][A-Z]+)+|[Cc]\+\+|[CcFf]#",
    # Addresses.
    r"[A-Za-z0-9][^\s\"<>|()]*@[^\s\"<>|().]+(?:\.[^\s\"<>|().]+)*",
    rf"(?i:https?://{_URL})",
    rf"(?i:www\.[^\s\"<>|.!?(){{}},]+(?:\.[^\s\"<>|.!?(){{}},\-/]+)*(?:/{_URL})?)",
    rf"(?i:(?:[^\s\"`'<>|.!?(){{}},\-_$@/:]+\.)+(?:com|net|org|edu)(?!{_X})(?:/{_URL})?)",
    rf"@[A-Za-z_][A-Za-z0-9_]*|#{_L}+",
    # Numbers, fractions, dates, telephone numbers, money.
    r"[\-+]?(?:\d*(?:[.:,]\d+)+|\d+)",
    r"(?:\d{1,4}[\- \u00a0])?\d{1,4}/\d{1,4}|\d{1,2}[\-/]\d{1,2}[\-/]\d{2,4}",
    rf"(?:\(\d{{2,3}}\){_SPACE}?|\+{{0,2}}(?:\d{{2,4}}[\- \u00a0])?\d{{2,4}}[\- \u00a0])\d{{3,4}}[\- \u00a0]?\d{{3,5}}",
    r"[A-Z]*\$",
    # Abbreviations and acronyms; a letter that ends a sentence is none.
    rf"(?i:{_any(_ABBREVIATIONS)})\.|{_any(_capitalised(_CAPITALISED))}\.",
    rf"(?i:{_any(_BEFORE_NUMBERS)})\.(?=[ \t]?\d)",
    rf"([A-Za-z])\.\s+(?:{_any(_capitalised(_SENTENCE_STARTS))}|Mr\.|Ms\.)(?!\S)",
    r"[A-Za-z](?:\.[A-Za-z])*\.",
    # Faces and runs of signs.
    rf"[<>]?[:;=][\-o*'’]?[()DPdpO\\{{@|\[\]](?!{_X})",
    r"[\-^x=~<>'][_.][\-^x=~<>']|\([\-^x=~<>'][_.]?[\-^x=~<>']\)",
    r"[!?]+|\*+|_+|#+|@+|<<|>>|\.{3,}|''|--+",
    "(?i:-[lr][rcs]b-)",
    # One sign; other characters, emoji among them, are dropped as the lexer drops them.
    r"[!-/:-@\[-`{-~\u00a1-\u00ac\u00ae-\u00bf\u00d7\u00f7\u2013-\u2023\u2026\u2030-\u2044\u2070-\u209c\u20a4\u20ac]",
    r"[\u2100-\u218b\u2190-\u2bff\u3001\u3002\u3012\u30fb\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\uffe0-\uffe6]",
)
_RULES = tuple(re.compile(pattern) for pattern in _PATTERNS)

_WRITTEN = {
    **{"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"},
    **{"£": "#", "€": "$", "¤": "$", "¢": "cents"},
    **{"½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3"},
    **dict.fromkeys("\"“”‘’«»‹›", "''"),
    **dict.fromkeys("–—―", "--"),
    "…": "...",
}  # fmt: skip
_IN_TOKENS = str.maketrans({"(": "-lrb-", ")": "-rrb-", " ": "\u00a0"})
_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'", "&nbsp;": " "}
_ENTITY = re.compile("|".join(_ENTITIES), re.IGNORECASE)
_SPANS_SPACES = re.compile(r"[0-9<&]|\b[A-Za-z]\.\s+[A-Z]")


def ptb_words(text: str) -> list[str]:
    """The lower-case words of a caption as pycocoevalcap 1.2 gives them: `"A man's dog."` is a, man, 's, dog.

    A word may hold a no-break space (`1 1/2`, telephone numbers), at which some of COCO's scorers split it again.

    Source: Marcus et al. 1993 for the convention; the reference is `pycocoevalcap.tokenizer.ptbtokenizer`.
    """
    if _SPANS_SPACES.search(text):
        return list(_split(text))
    words: list[str] = []
    for chunk in text.split():
        words += _split(chunk)
    return words


@lru_cache(maxsize=1 << 16)
def _split(text: str) -> tuple[str, ...]:
    text = text.replace("\u00ad", "")
    if "&" in text:
        text = _ENTITY.sub(lambda found: _ENTITIES[found[0].lower()], text)
    return tuple(word for word in map(_written, _tokens(text)) if word not in PUNCTUATION)


def _tokens(text: str) -> Iterator[str]:
    """The tokens of a text as they stand there."""
    start = 0
    while start < len(text):
        longest, end = start, start
        for rule in _RULES:
            found = rule.match(text, start)
            if found and found.end() > longest:
                longest = found.end()
                end = found.end(found.lastindex or 0)
        if end > start:
            yield text[start:end]
        start = max(end, start + 1)


def _written(token: str) -> str:
    """A token as it is printed: lower case, brackets and money in letters, one kind of apostrophe in contractions."""
    if token in _WRITTEN:
        return _WRITTEN[token]
    if token[0] in "nN’" and token.lower() in _CONTRACTED:
        token = token.replace("’", "'")
    for run in ("--", "..."):
        if token.startswith(run):
            return run
    return token.lower().translate(_IN_TOKENS)


_CONTRACTED = frozenset(("n’t", "’s", "’m", "’d", "’re", "’ve", "’ll"))
