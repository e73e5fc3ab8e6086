"""Captions and map keys as words: the one normal form in which both are compared."""

import re
import unicodedata

# Function words say nothing that can be drawn, and their pictographs (on 🔛, up 🆙, no 🚫) would be wrong.
_STOP_WORDS = """
    a about above across after against all along also am among an and another any are around as at away be
    because been before behind being below beneath beside besides between beyond both but by can cannot could
    did do does doing done down during each either else ever every few for from had has have having he her
    here hers herself him himself his how i if in inside into is it its itself just like many may me might
    mine more most much must my myself near neither next no none nor not of off on once onto only or other
    others our ours out outside over own per shall she should since so some such than that the their theirs
    them then there these they this those though through to together too toward towards under until up upon us
    very was we were what when where whether which while who whom whose why will with within without would
    yet you your yours
    """
STOP_WORDS = frozenset(_STOP_WORDS.split())

# Everything but letters, digits, white space, apostrophes and hyphens inside a word ends a clause. A quoting
# apostrophe or a dash between spaces does so too, so that no phrase is read across it.
_CLAUSE_END = re.compile(r"[^\w\s'-]+|(?<!\w)['-]+|['-]+(?!\w)")
_WORD_GAP = re.compile(r"[\s_-]+")  # "hot-dog" and "hot_dog" are read as "hot dog"
_POSSESSIVE = "'s"  # that of a plural (dogs') is a clause's end already


def clauses(text: str) -> list[list[str]]:
    """Split any text into clauses of words: lower case, without punctuation and possessives.

    >>> clauses("The dog's hot-dog, two cats' beds")
    [['the', 'dog', 'hot', 'dog'], ['two', 'cats'], ['beds']]
    """
    plain = text.lower() if text.isascii() else unicodedata.normalize("NFC", text).lower().replace("’", "'")
    sentence = plain.rstrip(" .")
    if sentence.replace(" ", "").isalnum():  # most captions: the same as below, six times faster
        return [sentence.split()]
    split = (_words(part) for part in _CLAUSE_END.split(plain))
    return [words for words in split if words]


def _words(clause: str) -> list[str]:
    return [word.removesuffix(_POSSESSIVE) for word in _WORD_GAP.split(clause) if word]


def is_stop_phrase(words: list[str]) -> bool:
    """Whether the words are function words, every one: nothing that may map."""
    return STOP_WORDS.issuperset(words)
