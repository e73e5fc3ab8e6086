"""The file of API keys, the comparison with it, and the command that makes a key."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from services.web.keys import ApiKeys, KeysFileError, read_keys
from tests.web.api_keys import line_for

CHECKOUT = Path(__file__).parents[2]
HOW = "write NAME sha256:HEX, as printed by: python -m services.web.keys NAME"


def file_of(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "keys.txt"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_file_of_keys(tmp_path: Path) -> None:
    text = f"# who\n\n{line_for('anna', 'key of anna')}\n  {line_for('b.ob-2_', 'bob’s')}  \r\n  # end"
    keys = read_keys(file_of(tmp_path, text))
    assert [keys.name_of(key) for key in ("key of anna", "bob’s")] == ["anna", "b.ob-2_"]


@pytest.mark.parametrize(
    "sent", ["", "key of ann", "key of annaa", "KEY OF ANNA", " key of anna", "anna", "\udcff", "ä"]
)
def test_another_key_is_nobodys(sent: str) -> None:
    digest = hashlib.sha256(b"key of anna").digest()
    keys = ApiKeys({"anna": digest})
    assert keys.name_of(sent) is None
    assert keys.name_of(digest.hex()) is None  # what stands in the file lets nobody in


HEX = "0" * 64


@pytest.mark.parametrize(
    "line",
    [
        "secret-key-that-was-pasted",
        f"anna {HEX}",
        f"anna sha256:{HEX[1:]}",
        f"anna sha256:{HEX}0",
        f"anna sha256:{'G' * 64}",
        f"anna md5:{HEX}",
        f"sha256:{HEX}",
        f"two words sha256:{HEX}",
        f"änna sha256:{HEX}",
        f"{'x' * 65} sha256:{HEX}",
    ],
)
def test_a_broken_line_is_named_and_not_shown(tmp_path: Path, line: str) -> None:
    file = file_of(tmp_path, f"# keys\n{line_for('bob', 'b')}\n{line}\n")
    with pytest.raises(KeysFileError) as caught:
        read_keys(file)
    assert str(caught.value) == f"API_KEYS_FILE {file} line 3 cannot be understood: {HOW}"


def test_other_files_that_cannot_be_used(tmp_path: Path) -> None:
    twice = file_of(tmp_path, f"{line_for('anna', 'a')}\n{line_for('anna', 'b')}\n")
    with pytest.raises(KeysFileError, match=r"keys\.txt line 2 has a name that stands above: choose another"):
        read_keys(twice)
    with pytest.raises(KeysFileError, match=r"keys\.txt holds no key, so nobody could be let in: write NAME"):
        read_keys(file_of(tmp_path, "# none yet\n\n"))
    (tmp_path / "keys.bin").write_bytes(b"\xff\xfe")
    with pytest.raises(KeysFileError, match=r"keys\.bin cannot be read: it is not UTF-8 text"):
        read_keys(tmp_path / "keys.bin")
    with pytest.raises(KeysFileError, match="gone cannot be read: No such file or directory"):
        read_keys(tmp_path / "gone")


def make_key(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.web.keys", *arguments]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=60)


def test_the_command_makes_a_key_and_its_line(tmp_path: Path) -> None:
    made = [make_key("anna").stdout.splitlines() for _ in range(2)]
    for lines in made:
        key, line = lines[1], lines[-1]
        assert line.startswith("anna sha256:")
        assert len(key) == 43  # 256 bits in base64
        assert read_keys(file_of(tmp_path, line)).name_of(key) == "anna"
    assert made[0][1] != made[1][1]


@pytest.mark.parametrize("arguments", [[], ["two words"], ["a:b"], ["a", "b"], [""]])
def test_the_command_refuses_other_names(arguments: list[str]) -> None:
    done = make_key(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: python -m services.web.keys" in done.stderr
