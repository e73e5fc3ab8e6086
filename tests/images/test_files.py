import os
import socket
from pathlib import Path

import pytest

from services.errors import CaptioningError, FileMissing, FileNotAllowed, TooLarge
from services.images import files
from services.images.files import FileReader, opened_path

OUTSIDE = "This file is not allowed: only files inside the server's image folders are read"


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """Two image folders and what lies around them; `outside` holds a secret."""
    for folder in ("images/holidays", "images/deep/er", "more", "outside", "images-not"):
        (tmp_path / folder).mkdir(parents=True)
    files = {
        "images/a.jpg": b"a",
        "images/holidays/sea.jpg": b"sea",
        "images/both.jpg": b"first",
        "images/with space é.jpg": b"space",
        "more/both.jpg": b"second",
        "more/b.jpg": b"b",
        "outside/secret.txt": b"secret",
        "images-not/secret.txt": b"secret",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    links: dict[str, str | Path] = {
        "images/link_inside": "holidays/sea.jpg",
        "images/link_to_other_root": tmp_path / "more/b.jpg",
        "images/link_out": tmp_path / "outside/secret.txt",
        "images/link_out_missing": tmp_path / "outside/nothing.txt",
        "images/folder_out": tmp_path / "outside",
        "images/loop": "loop",
        "images/link_folder": tmp_path / "images/deep/er",
        "images/dangling": "nothing.jpg",
        "outside/link_in": tmp_path / "images/a.jpg",
        "linked_root": tmp_path / "more",
    }
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    os.mkfifo(tmp_path / "images/pipe")
    return tmp_path


@pytest.fixture
def reader(house: Path) -> FileReader:
    return FileReader([house / "images", house / "more"], max_bytes=100)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("{house}/images/a.jpg", b"a"),
        ("{house}/images/../images//./a.jpg", b"a"),
        ("{house}/outside/../images/a.jpg", b"a"),
        ("{house}/images/with space é.jpg", b"space"),
        ("{house}/images/link_inside", b"sea"),
        ("{house}/images/link_to_other_root", b"b"),
        ("{house}/no/such/folder/../../../images/a.jpg", b"a"),
        ("{house}/images/link_folder/../a.jpg", b"a"),
        ("a.jpg", b"a"),
        ("holidays/sea.jpg", b"sea"),
        ("b.jpg", b"b"),
        ("both.jpg", b"first"),
        ("images/a.jpg", b"a"),  # relative to the working directory
        ("./more/both.jpg", b"second"),
    ],
)
def test_files_inside_the_roots_are_read(
    reader: FileReader, house: Path, path: str, expected: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(house)
    assert reader.read(path.format(house=house)) == expected


@pytest.mark.parametrize(
    "path",
    [
        "{house}/outside/secret.txt",
        "{house}/outside/nothing.txt",
        "{house}/outside",
        "{house}/images/../outside/secret.txt",
        "{house}/images/../outside/nothing.txt",
        "{house}/images-not/secret.txt",
        "{house}/images/link_out",
        "{house}/images/link_out_missing",
        "{house}/outside/link_in",  # it leads inside, but that it is there is nobody's business
        "{house}/linked_root/b.jpg",
        "{house}/linked_root/nothing.jpg",
        "{house}/images/folder_out/secret.txt",
        "{house}/images/folder_out/nothing.txt",
        "{house}",
        "../outside/secret.txt",
        "../../outside/nothing.txt",
        "/etc/passwd",
        "/etc/no such file",
        "/proc/self/environ",
        "/dev/zero",
        "/",
        "~/.ssh/id_rsa\0",
        "{house}/images/a.jpg\0",
        "{house}/images/\ud800.jpg",
    ],
)
def test_everything_outside_gives_one_text_whether_it_exists_or_not(
    reader: FileReader, house: Path, path: str
) -> None:
    with pytest.raises(FileNotAllowed) as raised:
        reader.read(path.format(house=house))
    assert raised.value.message == OUTSIDE


def test_what_is_outside_is_not_even_looked_at(house: Path) -> None:
    """A path whose `..` lead back in gives the picture, whatever the folders outside are: links, or nothing."""
    reader = FileReader([house / "images"], max_bytes=100)
    (house / "sideways").symlink_to(house / "outside/nowhere/at/all")
    for folder in ("sideways", "outside", "nothing"):
        assert reader.read(f"{house}/{folder}/../images/a.jpg") == b"a"
        assert reader.read(f"../{folder}/../images/a.jpg") == b"a"


def test_a_root_that_is_a_link_may_be_named_by_either_name(house: Path) -> None:
    reader = FileReader([house / "linked_root"], max_bytes=100)
    assert reader.read(f"{house}/linked_root/b.jpg") == reader.read(f"{house}/more/b.jpg") == b"b"


@pytest.mark.parametrize(
    "path",
    [
        "{house}/images/nothing.jpg",
        "{house}/images",
        "{house}/images/holidays",
        "{house}/images/pipe",
        "{house}/images/dangling",
        "{house}/images/loop",
        "{house}/images/a.jpg/b.jpg",
        "{house}/images/" + "x" * 300,
        "{house}/images/" + "x/" * 5000,
        "nothing.jpg",
        "~/a.jpg",
        "http://example.org/a.jpg",
        "",
    ],
)
def test_what_is_no_file_inside_is_missing_and_named_as_it_was_sent(
    reader: FileReader, house: Path, path: str
) -> None:
    sent = path.format(house=house)
    with pytest.raises(FileMissing) as raised:
        reader.read(sent)
    assert raised.value.message == f"File not found: {sent}"


def test_a_socket_is_no_file(reader: FileReader, house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(house / "images")  # the path of a socket has to be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        with pytest.raises(FileMissing):
            reader.read("socket")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(reader: FileReader, house: Path) -> None:
    (house / "images/a.jpg").chmod(0)
    with pytest.raises(FileNotAllowed, match=r"no permission to read this file: a\.jpg"):
        reader.read("a.jpg")


def test_without_roots_reading_is_switched_off(house: Path) -> None:
    with pytest.raises(FileNotAllowed, match="switched off"):
        FileReader([], max_bytes=100).read(f"{house}/images/a.jpg")


def test_a_root_that_appears_later_counts(house: Path) -> None:
    reader = FileReader([house / "mounted"], max_bytes=100)
    with pytest.raises(FileMissing):
        reader.read("a.jpg")
    (house / "mounted").symlink_to(house / "images")
    assert reader.read("a.jpg") == b"a"


@pytest.mark.parametrize(
    ("n_bytes", "allowed"), [(0, True), (100, True), (101, False), (10_000_000_000, False)]
)
def test_the_limit_on_bytes_is_exact(reader: FileReader, house: Path, n_bytes: int, allowed: bool) -> None:
    with (house / "images/large").open("wb") as file:
        file.truncate(n_bytes)  # takes no space on the disk
    if allowed:
        assert len(reader.read("large")) == n_bytes
    else:
        with pytest.raises(TooLarge, match="larger than 100 bytes"):
            reader.read("large")


@pytest.mark.parametrize("fd_links", ["/proc/self/fd", "/no/such/folder"])
def test_an_opened_file_is_judged_by_where_it_really_lies(house: Path, fd_links: str) -> None:
    """A folder on the way is replaced by a link that leads out, after the path was resolved."""
    resolved = str(house / "images/holidays/secret.txt")
    (house / "images/holidays/sea.jpg").unlink()
    (house / "images/holidays").rmdir()
    (house / "images/holidays").symlink_to(house / "outside")
    fd = os.open(resolved, os.O_RDONLY)
    try:
        assert opened_path(fd, resolved, fd_links) == str(house / "outside/secret.txt")
    finally:
        os.close(fd)


def test_a_folder_that_is_swapped_for_a_link_before_the_file_is_opened(
    reader: FileReader, house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, really_open = house / "images/holidays", files._open
    (folder / "secret.txt").write_bytes(b"inside")

    def swap_and_open(resolved: str, path: str) -> int | None:
        folder.rename(house / "images/aside")
        folder.symlink_to(house / "outside")
        return really_open(resolved, path)

    assert reader.read("holidays/secret.txt") == b"inside"
    monkeypatch.setattr(files, "_open", swap_and_open)
    with pytest.raises(FileNotAllowed, match="only files inside"):
        reader.read("holidays/secret.txt")


def test_without_links_to_open_files_a_replaced_file_cannot_be_told(house: Path) -> None:
    opened = house / "images/a.jpg"
    fd = os.open(opened, os.O_RDONLY)
    try:
        assert opened_path(fd, str(opened), "/no/such/folder") == str(opened)
        (house / "images/both.jpg").rename(opened)
        assert opened_path(fd, str(opened), "/no/such/folder") == ""
    finally:
        os.close(fd)


def test_all_errors_belong_to_the_tree(reader: FileReader) -> None:
    for path in ("\0", "\n", "\udcff", "/" * 10_000, "a" * 100_000, "..", ".", "//", "\\", "C:\\a.jpg"):
        with pytest.raises(CaptioningError):
            reader.read(path)
