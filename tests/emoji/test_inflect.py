import pytest

from services.emoji.inflect import noun_forms, verb_forms


@pytest.mark.parametrize(
    ("singular", "plural"),
    [
        ("dog", "dogs"),
        ("giraffe", "giraffes"),
        ("bus", "buses"),
        ("dress", "dresses"),
        ("box", "boxes"),
        ("couch", "couches"),
        ("toothbrush", "toothbrushes"),
        ("strawberry", "strawberries"),
        ("monkey", "monkeys"),
        ("leaf", "leaves"),
        ("knife", "knives"),
        ("scarf", "scarves"),
        ("scarf", "scarfs"),
        ("chef", "chefs"),
        ("roof", "roofs"),
        ("tomato", "tomatoes"),
        ("piano", "pianos"),
        ("man", "men"),
        ("woman", "women"),
        ("snowman", "snowmen"),
        ("human", "humans"),
        ("child", "children"),
        ("foot", "feet"),
        ("tooth", "teeth"),
        ("goose", "geese"),
        ("mouse", "mice"),
        ("cactus", "cacti"),
        ("cactus", "cactuses"),
        ("octopus", "octopuses"),
        ("fish", "fishes"),
        ("hot dog", "hot dogs"),
        ("pocket knife", "pocket knives"),
        ("police man", "police men"),
    ],
)
def test_plurals(singular: str, plural: str) -> None:
    assert plural in noun_forms(singular)


@pytest.mark.parametrize(
    ("verb", "forms"),
    [
        ("walk", ["walks", "walking", "walked"]),
        ("smile", ["smiles", "smiling", "smiled"]),
        ("cry", ["cries", "crying", "cried"]),
        ("play", ["plays", "playing", "played"]),
        ("kiss", ["kisses", "kissing", "kissed"]),
        ("hug", ["hugs", "hugging", "hugged"]),
        ("row", ["rows", "rowing", "rowed"]),
        ("clean", ["cleans", "cleaning", "cleaned"]),
        ("tie", ["ties", "tying", "tied"]),
        ("ski", ["skis", "skiing", "skied"]),
        ("juggle", ["juggles", "juggling", "juggled"]),
        ("canoe", ["canoes", "canoeing", "canoed"]),
        ("eat", ["eats", "eating", "ate", "eaten"]),
        ("swim", ["swims", "swimming", "swam", "swum"]),
        ("ride", ["rides", "riding", "rode", "ridden"]),
        ("write", ["writes", "writing", "wrote", "written"]),
        ("brush teeth", ["brushes teeth", "brushing teeth", "brushed teeth"]),
    ],
)
def test_verbs(verb: str, forms: list[str]) -> None:
    assert verb_forms(verb) == forms


@pytest.mark.parametrize(("noun", "wrong"), [("park", "parked"), ("giraffe", "giravves"), ("roof", "rooves")])
def test_a_noun_has_plurals_alone(noun: str, wrong: str) -> None:
    assert wrong not in noun_forms(noun)
