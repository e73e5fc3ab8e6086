"""The class, .env.example and the README say the same."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from config.settings import Settings, specs
from config.settings_docs import env_example, settings_table
from config.values import CHECKOUT


def test_every_setting_is_documented() -> None:
    undocumented = {f.name for f in fields(Settings)} - {name for name, _ in specs()}
    assert undocumented == {"warnings"}  # a result of reading, not a setting
    for name, spec in specs():
        assert spec.about.endswith("."), name
        assert spec.kind.allowed, name
        if name.endswith("_s") or name.startswith("max_"):
            assert spec.unit, name


def test_env_example_is_up_to_date() -> None:
    assert (CHECKOUT / ".env.example").read_text(encoding="utf-8") == env_example()


def test_the_readme_is_up_to_date() -> None:
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    block = readme.partition("<!-- settings -->")[2].partition("<!-- /settings -->")[0]
    assert block.strip() == settings_table().strip(), "paste the output of: python -m config.settings_docs"


@pytest.mark.parametrize("uncommented", [False, True])
def test_env_example_gives_the_defaults(tmp_path: Path, uncommented: bool) -> None:
    lines = env_example().splitlines()
    if uncommented:
        lines = [line if line.startswith("# ") else line.removeprefix("#") for line in lines]
    file = tmp_path / ".env"
    file.write_text("\n".join(lines))
    settings = Settings.from_env({}, file)
    assert settings == Settings()
    assert settings.warnings == ()


@pytest.mark.parametrize(("arguments", "expected"), [([], settings_table()), (["--env-example"], env_example())])
def test_the_module_prints_both(arguments: list[str], expected: str) -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "config.settings_docs", *arguments],
        cwd=CHECKOUT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert printed.stdout == expected
