"""English inflection, made once when a map is compiled: the plurals of nouns, the forms of verbs.

The rules are those of school grammar; what they get wrong stands in the tables. A form too many does no harm
(nobody writes "swims" for a noun), a form that is another word would: so doubled consonants and -ves plurals
are made only where they belong.
"""

import re

_IRREGULAR_PLURALS = {
    "child": "children", "person": "people", "foot": "feet", "tooth": "teeth", "goose": "geese",
    "mouse": "mice", "ox": "oxen", "die": "dice", "cactus": "cacti", "octopus": "octopi",
    "human": "humans", "german": "germans", "roman": "romans", "ottoman": "ottomans",
}  # fmt: skip
_SAME_IN_PLURAL = frozenset({
    "sheep", "fish", "deer", "moose", "bison", "shrimp", "squid", "salmon", "trout", "swine", "aircraft",
})  # fmt: skip
_VES_PLURALS = frozenset({
    "leaf", "loaf", "knife", "wife", "life", "calf", "half", "shelf", "thief", "scarf", "hoof", "elf",
    "wolf", "dwarf",
})  # fmt: skip
_OES_PLURALS = frozenset({
    "potato", "tomato", "mosquito", "volcano", "tornado", "mango", "buffalo", "domino", "hero", "cargo",
})  # fmt: skip

# base -> past forms, where they are not made with -ed
_IRREGULAR_PASTS = {
    "bite": ("bit", "bitten"), "blow": ("blew", "blown"), "break": ("broke", "broken"),
    "catch": ("caught",), "cut": ("cut",), "dig": ("dug",), "draw": ("drew", "drawn"),
    "drink": ("drank", "drunk"), "drive": ("drove", "driven"), "eat": ("ate", "eaten"),
    "feed": ("fed",), "fight": ("fought",), "fly": ("flew", "flown"), "hit": ("hit",), "hold": ("held",),
    "kneel": ("knelt",), "read": ("read",), "ride": ("rode", "ridden"), "run": ("ran",), "shake": ("shook",),
    "shoot": ("shot",), "sing": ("sang", "sung"), "sit": ("sat",), "sleep": ("slept",), "speak": ("spoke",),
    "stand": ("stood",), "sweep": ("swept",), "swim": ("swam", "swum"), "swing": ("swung",),
    "take": ("took", "taken"), "teach": ("taught",), "think": ("thought",), "throw": ("threw", "thrown"),
    "weep": ("wept",), "write": ("wrote", "written"),
}  # fmt: skip

_SIBILANT_END = re.compile(r"(s|x|z|ch|sh)$")
_CONSONANT_Y_END = re.compile(r"[^aeiou]y$")
_DOUBLING_END = re.compile(r"^[^aeiou]*[aeiou][^aeiouwxy]$")  # one syllable, one short vowel, one consonant


def noun_forms(phrase: str) -> list[str]:
    """The plurals of a singular noun; of a phrase, its last word's: "hot dog" -> ["hot dogs"]."""
    before, gap, noun = phrase.rpartition(" ")
    return [f"{before}{gap}{form}" for form in _plurals(noun)]


def verb_forms(phrase: str) -> list[str]:
    """The -s, -ing and past forms of a verb; of a phrase, its first word's: "play golf" -> "plays golf"."""
    verb, gap, after = phrase.partition(" ")
    forms = [_with_s(verb), _with_ing(verb), *_IRREGULAR_PASTS.get(verb, (_with_ed(verb),))]
    return [f"{form}{gap}{after}" for form in forms]


def _plurals(noun: str) -> list[str]:
    if noun in _SAME_IN_PLURAL:
        return [_with_s(noun)]  # besides the noun itself: "fishes"
    if noun in _VES_PLURALS:
        return [re.sub("fe?$", "ves", noun), noun + "s"]
    if noun in _OES_PLURALS:
        return [noun + "es", noun + "s"]
    if noun in _IRREGULAR_PLURALS:
        regular = [_with_s(noun)] if noun.endswith("us") else []  # cacti and cactuses
        return [_IRREGULAR_PLURALS[noun], *regular]
    if noun.endswith("man"):
        return [noun.removesuffix("man") + "men"]
    return [_with_s(noun)]


def _with_s(word: str) -> str:
    if _CONSONANT_Y_END.search(word):
        return word.removesuffix("y") + "ies"
    return word + ("es" if _SIBILANT_END.search(word) else "s")


def _with_ing(verb: str) -> str:
    if verb.endswith("ie"):
        return verb.removesuffix("ie") + "ying"
    if verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")):
        return verb.removesuffix("e") + "ing"
    return _doubled(verb) + "ing"


def _with_ed(verb: str) -> str:
    if verb.endswith("e"):
        return verb + "d"
    if _CONSONANT_Y_END.search(verb):
        return verb.removesuffix("y") + "ied"
    return _doubled(verb) + "ed"


def _doubled(verb: str) -> str:
    return verb + verb[-1] if _DOUBLING_END.search(verb) else verb
