"""English without meaning: the text of simulated answers.

One long text is made once from a seed; an answer is a stretch of it, beginning and ending with a sentence. It has only
ASCII letters, digits, commas, spaces and full stops, so it needs no escaping in JSON. 64 answers together compress
3.4-fold with zstd, where English prose gives about 2.8-fold: sizes measured with it flatter a little.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from functools import lru_cache

_TEXT_BYTES = 1_000_000


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(phrase.strip() for phrase in text.split("|"))


_OPENINGS = _phrases("""
    In practice,|For most readers,|Over time,|At first glance,|As a rule,|On the whole,|By contrast,|In short,|
    With that in mind,|After a closer look,|Seen from outside,|Under these conditions,|For everyday use,|
    According to the description,|Compared with last year,|Beyond that,|Where it matters,|Even so,
""")
_ADJECTIVES = _phrases("""
    careful|quiet|durable|modest|generous|compact|reliable|warm|precise|familiar|unusual|practical|elegant|sturdy|
    gentle|clear|patient|honest|simple|narrow|broad|steady|light|heavy|smooth|rough|early|recent|remote|local|open|
    private|hidden|plain|bright|calm|deep|subtle|useful|rare|common|solid|flexible|thin|seasonal|recycled|natural|
    portable|wooden|woven|ceramic|insulated|adjustable|washable|seamless|understated|affordable|dependable
""")
_NOUNS = _phrases("""
    design|fabric|handle|result|reader|customer|summary|method|surface|detail|morning|workshop|kitchen|journey|
    pattern|balance|material|answer|question|account|feature|colour|weather|garden|library|contract|measure|
    difference|purpose|habit|collection|budget|schedule|argument|estimate|record|recipe|vessel|lamp|cushion|
    backpack|notebook|kettle|bottle|blanket|drawer|hinge|battery|cable|filter|strap|lining|finish|edge|corner|
    shelf|travel case|guarantee|season|neighbourhood|supplier|warehouse|delivery|instruction
""")
_VERBS = _phrases("""
    supports|improves|explains|follows|replaces|protects|carries|reveals|reduces|suggests|completes|holds|meets|
    simplifies|rewards|anticipates|accompanies|connects|preserves|outlasts|describes|confirms|answers|organises|
    brightens|steadies|softens|shelters|measures|shapes
""")
_TAILS = _phrases("""
    without further effort|for years to come|in every season|at a reasonable price|when space is short|
    even on long days|as the notes indicate|in most homes|under normal use|from the first day|with little care|
    on the road and at home|for beginners and experts alike|although opinions differ|as expected|beyond doubt
""")
_SYLLABLES = tuple(
    first + vowel + last for first in "bdfgklmnprstv" for vowel in "aeiou" for last in ("", "l", "n", "r", "s", "th")
)


class Prose:
    """A long text and the places where its sentences begin.

    Args:
        seed: another seed makes another text.
    """

    def __init__(self, seed: int) -> None:
        source = random.Random(seed)  # noqa: S311 - reproducible text, no secret
        sentences: list[str] = []
        self._starts = [0]
        while self._starts[-1] < _TEXT_BYTES:
            sentence = _sentence(source)
            sentences.append(sentence)
            self._starts.append(self._starts[-1] + len(sentence))
        self._text = "".join(sentences).encode()

    def passage(self, draw: int, length_bytes: int, *, whole: bool) -> bytes:
        """Return about so many bytes of text.

        Args:
            draw: any non-negative number; equal draws give equal passages.
            length_bytes: the length that is wanted, from 1.
            whole: whether to end with a full sentence; else the text stops in the middle, at exactly that length.
        """
        start = self._starts[draw % (len(self._starts) - 1)]
        end = start + length_bytes
        if end <= self._starts[-1]:
            if whole:
                end = self._starts[max(bisect_left(self._starts, end), 1)]
            return self._text[start:end].rstrip()
        repeated = self._text[start:] + self._text * (length_bytes // len(self._text) + 1)
        stretch = repeated[:length_bytes]
        return stretch[: stretch.rfind(b".") + 1] if whole else stretch


@lru_cache(maxsize=4)
def prose_of(seed: int) -> Prose:
    """Return the text of a seed; it takes 0.1 s to make and is made once."""
    return Prose(seed)


def _sentence(source: random.Random) -> str:
    subject, thing = _thing(source), _thing(source)
    verb, noun, tail = source.choice(_VERBS), source.choice(_NOUNS), source.choice(_TAILS)
    if source.random() < 0.3:
        tail = f"{tail} within {source.randint(2, 999)} {source.choice(('days', 'hours', 'steps', 'pages'))}"
    shape = source.random()
    if shape < 0.4:
        text = f"The {subject} {verb} the {thing} {tail}"
    elif shape < 0.7:
        text = f"{source.choice(_OPENINGS)} {_with_article(subject)} {verb} the {noun}"
    elif shape < 0.9:
        text = f"With its {noun}, {_with_article(subject)} {verb} {_with_article(thing)} {tail}"
    else:
        text = f"{source.choice(_OPENINGS)} the {subject} {verb} the {noun}, {source.choice(_ADJECTIVES)} as it is"
    return f"{text}. "


def _thing(source: random.Random) -> str:
    return f"{source.choice(_ADJECTIVES)} {_coined_name(source)} {source.choice(_NOUNS)}"


def _coined_name(source: random.Random) -> str:
    """Return a made-up product name: the variety that a short list of words lacks."""
    return "".join(source.choice(_SYLLABLES) for _ in range(source.randint(2, 4))).capitalize()


def _with_article(thing: str) -> str:
    # "a useful", but "an honest" and "an unusual": by sound, for the words above
    is_vowel = thing[0] in "aeiou" and not thing.startswith("useful")
    return f"an {thing}" if is_vowel or thing.startswith("honest") else f"a {thing}"
