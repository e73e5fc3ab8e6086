"""Requests with something wrong about them: sound ones of every door, broken by a seeded hand.

    SOUND ─▶ parts changed (line, headers, query, JSON, base64, form) ─▶ framing ─▶ bytes flipped, cut, put in
"""

import base64
import copy
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tests.fakes import picture

PNG = picture((0, 128, 128))
BASE64 = base64.b64encode(PNG).decode()
URI = f"data:image/png;base64,{BASE64}"
URL = "http://127.0.0.1/a.png"
BOUNDARY = "limit"


@dataclass
class Message:
    method: str
    target: str
    content_type: str = ""
    body: bytes = b""
    tree: Any = None  # the JSON that the body is
    headers: list[tuple[str, str]] = field(default_factory=list)
    version: str = "HTTP/1.1"
    framing: Callable[[bytes, random.Random], tuple[list[tuple[str, str]], bytes]] | None = None


def json_to(target: str, tree: Any) -> Message:
    return Message("POST", target, "application/json", tree=tree)


def form_to(target: str, name: str) -> Message:
    part = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="a.png"\r\n'
    body = f"{part}Content-Type: image/png\r\n\r\n".encode() + PNG + f"\r\n--{BOUNDARY}--\r\n".encode()
    return Message("POST", target, f"multipart/form-data; boundary={BOUNDARY}", body)


INPUT = [{"name": "img_url", "shape": [1], "datatype": "BYTES", "data": [URI]}]
CHAT = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": URI}}]}]
SOUND = [
    Message("GET", f"/v3/analyze?url={quote(URL)}"),
    Message("GET", "/analyze?file=/pictures/a.png&num_beams=3"),
    Message("GET", f"/v2/analyze?image_url={quote(URL)}"),
    Message("GET", "/v2/analyze_file?file_path=/pictures/a.png"),
    Message("POST", "/v3/analyze", "image/png", PNG),
    Message("POST", "/analyze?num_captions=2&top_p=0.9&seed=1", "application/octet-stream", PNG),
    Message("POST", "/v3/analyze", "application/x-www-form-urlencoded", f"url={quote(URL)}&seed=2".encode()),
    form_to("/v3/analyze", "file"),
    json_to("/v3/analyze", {"image": BASE64, "num_beams": 3, "prompt": "a picture of", "max_length": 20}),
    json_to("/analyze", {"url": URL, "model": "demo"}),
    json_to("/caption-url/", {"img_url": URI}),
    json_to("/caption-base64/", {"base64_string": BASE64}),
    form_to("/caption-file/", "img_file"),
    form_to("/encode-base64/", "img_file"),
    form_to("/image2caption/demo", "image"),
    json_to("/v2/models/demo/infer", {"inputs": INPUT}),
    json_to("/v1/chat/completions", {"model": "demo", "messages": CHAT}),
    json_to("/v1/chat/completions", {"model": "demo", "messages": CHAT, "stream": True}),
    json_to("/api/v1/vision/caption", {"id": "1", "images": [URI]}),
    json_to("/api/v1/vision/labels/demo/latest", {"images": [URI]}),
    *(Message("GET", path) for path in ("/health", "/ready", "/v2/health/live", "/v1/models", "/v2/models/demo")),
]

ODD_METHODS = ("get", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "BREW", "G\0T", "", "A" * 30, "PRI")
ODD_TARGETS = (
    "*", "", "//", "/%00", "/%zz", "/../../etc/passwd", "/analyze/%2e%2e", "http://[::1", "http://x/health",
    "/health#a", "/analyze?" + "a=b&" * 500, "/" + "a" * 9_000, "/analyze?url=%ff%fe", "/\xe9", "example.org:80",
)  # fmt: skip
ODD_VERSIONS = ("HTTP/0.9", "HTTP/1.0", "HTTP/2.0", "HTTP/1.10", "http/1.1", "HTTP/1.1 ", "", "ICY", "HTTP/9.9")
ODD_HEADERS = [
    ("Expect", "100-continue"), ("Expect", "a miracle"), ("Host", "other"), ("Host", "[::1"), ("Host", ""),
    ("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "gzip, chunked"), ("Transfer-Encoding", "chunked, x"),
    ("Content-Length", "-1"), ("Content-Length", "1e3"), ("Content-Length", "99999999999999999999"),
    ("Content-Length", "0"), ("Content-Length", "5, 5"), ("Content-Encoding", "gzip"), ("Accept-Encoding", "br"),
    ("Connection", "keep-alive"), ("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"),
    ("HTTP2-Settings", "AAMAAABk"), ("Upgrade", "websocket"), ("Range", "bytes=0-1"), ("If-Match", "*"),
    ("X-Request-Timeout", "0"), ("X-Request-Timeout", "1e9"), ("X-Request-Timeout", "0.000001"),
    ("X-Request-ID", "a\tb"), ("X-Request-ID", "x" * 5_000), ("X-Forwarded-For", "1.2.3.4, %"),
    ("X-Forwarded-Proto", "javascript"), ("X-Forwarded-Host", "<script>"), ("Forwarded", 'for="[::1"'),
    ("Origin", "null"), ("Origin", "http://a\x7f"), ("Access-Control-Request-Method", "POST"),
    ("Cookie", "a=" + "b" * 4_000), ("Authorization", "Bearer \xff"), ("Authorization", "Basic !!"),
    ("Content-Type", "application/json; charset=utf-99"), ("Content-Type", "multipart/form-data"),
    ("Content-Type", "multipart/form-data; boundary=" + "b" * 300), ("Content-Type", "text/html"),
    ("Content-Type", "image/svg+xml"), ("Content-Type", ";;;"), ("A" * 9_000, "a"), ("B", "b" * 9_000),
    ("X_Under", "score"), ("Bad Name", "a"), ("", "no name"), ("Null", "a\0b"), ("Folded", "a\r\n b"),
    ("Accept", "*/*;q=x"), ("Proxy", "http://127.0.0.1:9"), ("Trailer", "Content-Length"),
]  # fmt: skip
ODD_VALUES: list[Any] = [
    None, True, 0, -1, 1e308, float("nan"), float("inf"), 10**40, "", " ", "\0", "\ud800", "a" * 3_000, "%00",
    "../", [], {}, [[]], {"url": {}}, [None], "data:", "data:image/png;base64,", "data:,x", "http://",
    "file:///etc/passwd", "http://0x7f.1/", "🙂", "\u202e", "{{7*7}}", "' OR 1=1 --",
]  # fmt: skip
ODD_BYTES = (
    b"\0", b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\xff\xfe", b" ", b"\t", b":", b"%", b'"', b"{", b"[", b"\\u",
    b"--limit", b"--limit--", b"0\r\n\r\n", b"ffffffff\r\n", b"GET / HTTP/1.1\r\n\r\n", b"A" * 5_000,
    b"PRI * HTTP/2.0",
)  # fmt: skip
ODD_QUERIES = (
    "url=", "url=a&url=b", "file=%00", "num_beams=0", "num_beams=9e9", "top_p=nan", "seed=-1", "model=%F0%9F",
    "=", "&&&", "%", "a[]=1", "max_length=99999999999999999999", "question=", "history=[", "prompt=" + "%20" * 800,
)  # fmt: skip


def odd_request(number: int, seed: int) -> bytes:
    """The bytes of one request; the same for the same arguments."""
    chance = random.Random(seed * 1_000_003 + number)
    message = copy.deepcopy(chance.choice(SOUND))
    for change in chance.choices(CHANGES, k=chance.randint(0, 2)):
        change(message, chance)
    sent = as_bytes(message, chance)
    for _ in range(chance.choice((0, 0, 1, 3))):
        sent = spoil(sent, chance)
    return sent


def change_line(message: Message, chance: random.Random) -> None:
    match chance.randrange(3):
        case 0:
            message.method = chance.choice(ODD_METHODS)
        case 1:
            message.target = chance.choice(ODD_TARGETS)
        case _:
            message.version = chance.choice(ODD_VERSIONS)


def change_headers(message: Message, chance: random.Random) -> None:
    message.headers += chance.choices(ODD_HEADERS, k=chance.randint(1, 3))
    if chance.random() < 0.02:
        message.headers += [(f"X-{i}", "a") for i in range(150)]


def change_query(message: Message, chance: random.Random) -> None:
    message.target += ("&" if "?" in message.target else "?") + chance.choice(ODD_QUERIES)


def change_content_type(message: Message, chance: random.Random) -> None:
    message.content_type = chance.choice([sound.content_type for sound in SOUND])


def change_tree(message: Message, chance: random.Random) -> None:
    """One value of the JSON, at any depth, or all of it."""
    if not message.tree:  # no JSON, or all of it was taken out
        return
    if chance.random() < 0.1:
        message.tree, message.body = None, b"[" * chance.choice((10, 5_000)) + b"]" * chance.choice((0, 5_000))
        return
    place, key = message.tree, chance.choice(list(message.tree))
    while isinstance(place[key], dict | list) and place[key] and chance.random() < 0.7:
        place = place[key]
        key = chance.choice(list(place)) if isinstance(place, dict) else chance.randrange(len(place))
    value = place[key]
    if isinstance(value, str) and len(value) > 40 and chance.random() < 0.5:
        place[key] = odd_base64(value, chance)
    elif isinstance(place, dict) and chance.random() < 0.2:
        del place[key]
    else:
        place[key] = chance.choice(ODD_VALUES)


def odd_base64(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text))
    wrong = ("=", "====", "-_", "\n", " ", "é", "\0", "data:", "%2B", "")
    return text[:at] + chance.choice(wrong) + text[at + chance.randint(0, 3) :]


def change_framing(message: Message, chance: random.Random) -> None:
    message.framing = chance.choice((chunked, chunked_badly, another_length))


def chunked(body: bytes, chance: random.Random) -> tuple[list[tuple[str, str]], bytes]:
    sent, at = b"", 0
    while at < len(body):
        size = chance.randint(1, 200)
        piece = body[at : at + size]
        sent += f"{len(piece):x}{chance.choice(('', ';a=b', ' ;x'))}\r\n".encode() + piece + b"\r\n"
        at += size
    return [("Transfer-Encoding", "chunked")], sent + b"0\r\n\r\n"


def chunked_badly(body: bytes, chance: random.Random) -> tuple[list[tuple[str, str]], bytes]:
    headers, sent = chunked(body, chance)
    ends = (b"0\r\n\r\n", b"0\r\n", b"", b"-1\r\n\r\n", b"0x0\r\n\r\n", b"0\r\nHost: a\r\n\r\n", b"0\n\n")
    starts = (b"", b"fffffffffffffffff\r\n", b"g\r\n", b"\r\n", b"5\r\nab\r\n", b"1;" + b"e" * 9_000 + b"\r\n")
    return headers, chance.choice(starts) + sent.removesuffix(b"0\r\n\r\n") + chance.choice(ends)


def another_length(body: bytes, chance: random.Random) -> tuple[list[tuple[str, str]], bytes]:
    length = max(0, len(body) + chance.choice((-10, -1, 1, 50, 10**9)))
    return [("Content-Length", str(length))], body


CHANGES = (
    change_line,
    change_headers,
    change_headers,
    change_query,
    change_content_type,
    change_tree,
    change_tree,
    change_framing,
)


def as_bytes(message: Message, chance: random.Random) -> bytes:
    body = message.body if message.tree is None else json.dumps(message.tree).encode()
    framing = [("Content-Length", str(len(body)))] if body or message.method == "POST" else []
    if message.framing:
        framing, body = message.framing(body, chance)
    headers = [("Host", "localhost"), ("Connection", "close"), *framing]
    if message.content_type:
        headers.append(("Content-Type", message.content_type))
    lines = [f"{message.method} {message.target} {message.version}"]
    lines += [f"{name}: {value}" for name, value in [*headers, *message.headers]]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body


def spoil(sent: bytes, chance: random.Random) -> bytes:
    """Bytes flipped, cut, put in, or doubled; mostly near the beginning, where the head is."""
    at = min(int(chance.expovariate(1 / 200)), max(0, len(sent) - 1))
    match chance.randrange(5):
        case 0:
            return sent[:at] + bytes([sent[at] ^ 1 << chance.randrange(8)]) + sent[at + 1 :] if sent else sent
        case 1:
            return sent[:at] + sent[at + chance.randint(1, 20) :]
        case 2:
            return sent[:at] + chance.choice(ODD_BYTES) + sent[at:]
        case 3:
            return sent[: at + chance.randint(1, 60)] + sent[at:]
        case _:
            return sent[: chance.randint(0, len(sent))]
