import pytest

from services.errors import UrlNotAllowed
from services.images.urls import join_url, parse_url

LONGEST_NAME = f"{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 61}"


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "path"),
    [
        ("http://example.com", "http", "example.com", 80, "/"),
        ("HTTPS://Example.COM/A", "https", "example.com", 443, "/A"),
        ("http://example.com./", "http", "example.com", 80, "/"),
        ("http://example.com:8080?a=b#c", "http", "example.com", 8080, "/?a=b"),
        ("https://a.b-c.d1.example/a/../b//c", "https", "a.b-c.d1.example", 443, "/a/../b//c"),
        ("http://a.com/a b/ä?q=ü|%20&x=[1]", "http", "a.com", 80, "/a%20b/%C3%A4?q=%C3%BC%7C%20&x=%5B1%5D"),
        ("http://example.com/@:80/?u=http://10.0.0.1/", "http", "example.com", 80, "/@:80/?u=http://10.0.0.1/"),
        ("http://example.com?/a", "http", "example.com", 80, "/?/a"),
        ("http://MÜNCHEN.de/", "http", "xn--mnchen-3ya.de", 80, "/"),
        ("http://xn--mnchen-3ya.de/", "http", "xn--mnchen-3ya.de", 80, "/"),
        ("http://nas/a", "http", "nas", 80, "/a"),
        ("http://1.2.3.4:80/", "http", "1.2.3.4", 80, "/"),
        ("http://[2606:4700:0::1111]:443/", "http", "2606:4700::1111", 443, "/"),
        ("http://3com.example/", "http", "3com.example", 80, "/"),
        (f"http://{LONGEST_NAME}/", "http", LONGEST_NAME, 80, "/"),
    ],
)  # fmt: skip
def test_urls_are_read(url: str, scheme: str, host: str, port: int, path: str) -> None:
    target = parse_url(url)
    assert (target.scheme, target.host, target.port, target.path) == (scheme, host, port, path)
    assert str(target.address or host) == host


REFUSED = [
    # no URL, or none of the web
    "", "/", "a", "example.com", "//example.com/", "http", "http:", "http:/", "http://", "http:///a", "://a.b/",
    "http:example.com", "http:/example.com", "http:\\\\example.com", "ttp://example.com", "httpſ://example.com",
    "ftp://example.com/", "file:///etc/passwd", "data:,a", "javascript:alert(1)", "view-source:http://a.b/",
    " http://example.com/", "http://example.com\n", "\x00http://example.com/", "http ://example.com/",
    # user, password, and what hides them
    "http://u@example.com/", "http://u:p@example.com/", "http://@example.com/", "http://:@example.com/",
    "http://a.b:80@10.0.0.1/", "http://a.b\\@10.0.0.1/", "http://a.b%40c.d/", "http://a.b%2f.c.d/", "http://a.b%00/",
    # control characters, which some parsers drop
    "http://exa\nmple.com/", "http://example.com/a\rb", "http://example.com/a\tb", "http://example.com/\x7f",
    "http://example.com/a\\b", "http://example.com/?a=\nHost: b",
    # names
    "http://.com/", "http://a..com/", "http://..../", "http://a.com../", "http://-a.com/", "http://a-.com/",
    "http://a_b.com/", "http://a b.com/", "http://a,b.com/", "http://a!.com/", "http://a.com;b/", "http://a*.com/",
    "http://" + "a" * 64 + ".com/", f"http://{LONGEST_NAME}d/", "http://" + "a." * 127 + "com/", "http://xn--.1/", "http://\ud800.com/",
    # letters that look like others, and full stops that are none
    "http://①②⑦.0.0.1/", "http://127。0。0。1/", "http://ｌocalhost.example/", "http://a．b/", "http://a｡b.c/",
    "http://𝕊it.com/", "http://℀.com/", "http://ex\u200bample.com/", "http://ex\u00adample.com/", "http://a\u3000.b/",
    # addresses in disguise
    "http://127.1/", "http://127.0.1/", "http://0/", "http://1/", "http://2130706433/", "http://017700000001/",
    "http://0177.0.0.1/", "http://0x7f.1/", "http://0x7f000001/", "http://127.0.0.0x1/", "http://1.2.3.4.5/",
    "http://127.0.0.01/", "http://127.000.000.001/", "http://256.1.1.1/", "http://1.2.3.4./", "http://1.2.3.4.",
    "http://1.2.3.٤/", "http://example.com.0/", "http://a.0x7f/",
    # IPv6
    "http://::1/", "http://[::1", "http://::1]/", "http://[]/", "http://[[::1]]/", "http://[::1]a/", "http://a[::1]/",
    "http://[1.2.3.4]/", "http://[::1%25lo]/", "http://[::1%lo]/", "http://[fe80::1%eth0]/", "http://[v1.a]/",
    "http://[12345::]/", "http://[:::1]/", "http://[::127.0.0.01]/",
    "http://[64:ff9b::8.8.8.8]/", "http://[64:ff9b::808:808]/",  # NAT64, by hand
    # ports
    "http://a.b:/", "http://a.b:-1/", "http://a.b:+80/", "http://a.b:080/", "http://a.b:8 0/", "http://a.b:http/",
    "http://a.b:100000/", "http://a.b:80:80/", "http://a.b:８０/", "http://a.b:0/",
    # more than anybody needs
    "http://a.b/" + "x" * 8200,
]  # fmt: skip


@pytest.mark.parametrize("url", REFUSED)
def test_everything_else_is_refused_with_the_one_text(url: str) -> None:
    with pytest.raises(UrlNotAllowed) as raised:
        parse_url(url)
    assert raised.value.message == UrlNotAllowed().message


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/b", "http://a.example/b"),
        ("b?c", "http://a.example/x/b?c"),
        ("//b.example/c", "http://b.example/c"),
        ("https://b.example/", "https://b.example/"),
        ("/\xc3\xa4", "http://a.example/ä"),  # UTF-8, as http.client reads it
    ],
)
def test_redirects_are_joined(location: str, expected: str) -> None:
    assert join_url("http://a.example/x/y?z#f", location) == expected


@pytest.mark.parametrize("location", ["http://10.0.\t0.1/", "/\nb", "http:\\\\b.example/", "http://[", "//[::1/"])
def test_redirects_that_could_be_read_in_two_ways_are_refused(location: str) -> None:
    with pytest.raises(UrlNotAllowed):
        parse_url(join_url("http://a.example/", location))
