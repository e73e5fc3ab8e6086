import pytest

from services.emoji.emojis import all_emojis, what_is_wrong


def test_the_list_is_that_of_emoji_15_1() -> None:
    assert len(all_emojis()) == 3773  # the count that Unicode's own file gives for the fully-qualified ones
    assert {"😀", "☀️", "🇺🇸", "🐻‍❄️", "🧑🏽‍🚀", "1️⃣", "#️⃣", "🍋‍🟩", "🏴󠁧󠁢󠁳󠁣󠁴󠁿"} <= all_emojis()


@pytest.mark.parametrize("text", ["", "a", "🐕🐕", "🐕 ", "1", "🇺", "🧑‍", "🪾", "🇽🇽", "🧑‍🐕", "🏽" * 2, "🐕🏽"])
def test_what_is_not_one_emoji(text: str) -> None:
    assert what_is_wrong(text) == "is not exactly one emoji of Unicode Emoji 15.1 or earlier"


@pytest.mark.parametrize(
    ("text", "better"), [("☀", "☀️"), ("🐕\ufe0f", "🐕"), ("🐻‍❄", "🐻‍❄️"), ("👁‍🗨", "👁️‍🗨️"), ("🇺🇸\ufe0f", "🇺🇸")]
)
def test_the_right_spelling_is_named(text: str, better: str) -> None:
    assert what_is_wrong(text) == f"is not fully qualified; write {better!r}"
    assert what_is_wrong(better) == ""
