"""The command line, as people type it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL_MAP = 'version: "7"\nnouns:\n  "dog": "🐕"\ncontexts:\n  "a [bat]": "🦇"\nmute:\n  - "dog house"\n'


def run(*arguments: str, said: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "services.emoji", *arguments],
        cwd=ROOT, input=said, capture_output=True, timeout=60, check=False,
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    )  # fmt: skip


@pytest.fixture
def small_map(tmp_path: Path) -> str:
    path = tmp_path / "map.yaml"
    path.write_text(SMALL_MAP, encoding="utf-8")
    return str(path)


def test_a_line_of_json_for_each_caption() -> None:
    done = run(said="a dog\n\nnothing\r\ntwo café cats \xff\n".encode() + b"\xff dog")
    assert [json.loads(line) for line in done.stdout.decode().splitlines()] == [
        [{"emoji": "🐕", "word": "dog"}],
        [],
        [],
        [{"emoji": "🐈", "word": "cats"}],
        [{"emoji": "🐕", "word": "dog"}],
    ]
    assert (done.returncode, done.stderr) == (0, b"")


def test_another_map(small_map: str) -> None:
    done = run("--map", small_map, said=b"a dog and a bat in a dog house")
    assert json.loads(done.stdout) == [{"emoji": "🐕", "word": "dog"}, {"emoji": "🦇", "word": "bat"}]


def test_a_good_map_is_said_to_be_good(small_map: str) -> None:
    done = run("check", small_map)
    assert done.returncode == 0
    assert b"good: version 7, 5 forms" in done.stdout


@pytest.mark.parametrize(
    "arguments", [("check", "FILE"), ("--map", "FILE"), ("explain", "a dog", "--map", "FILE")]
)
def test_a_bad_map_is_an_error_with_its_place(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    path = tmp_path / "map.yaml"
    path.write_text('version: "7"\nnouns:\n  no: "🚫"\n', encoding="utf-8")
    done = run(*(str(path) if argument == "FILE" else argument for argument in arguments))
    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr.decode() == f"{path}:3: key no is not a string; put it in quotes\n"


def test_explain_gives_the_reason_for_each_word(small_map: str) -> None:
    done = run("explain", "The dogs and a bat: no dogs, a dog house", "--map", small_map)
    assert done.stdout.decode().splitlines() == [
        "-\tthe\ta stop word",
        '🐕\tdogs\ta form of "dog" (nouns, line 3)',
        "-\tand\ta stop word",
        "-\ta\ta stop word",
        '🦇\tbat\t"a [bat]" (contexts, line 5)',
        "-\tno\ta stop word",
        '🐕\tdogs\ta form of "dog" (nouns, line 3) (given before)',
        "-\ta\ta stop word",
        '-\tdog_house\tmuted by "dog house" (mute, line 7)',
    ]


def test_explain_names_what_is_not_in_the_map(small_map: str) -> None:
    assert run("explain", "purple", "--map", small_map).stdout.decode() == "-\tpurple\tnot in the map\n"


def test_wrong_arguments() -> None:
    assert run("chekc", "x").returncode == 2
