"""Fetching: what is read, what is refused, against a real server on loopback."""

from __future__ import annotations

import asyncio
import gzip
import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest

from gemini2_core.content import remote
from gemini2_core.content.remote import afetch, fetch
from gemini2_core.errors import (
    InvalidInputError,
    LimitError,
    MediaAccessError,
    MediaNotFoundError,
    ServiceTimeoutError,
)

BODY = b"picture " * 1000
BOMB = gzip.compress(bytes(50_000_000))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/to/"):
            self.answer(302, location=unquote(self.path.removeprefix("/to/")))
        elif path == "/loop":
            self.answer(307, location="/loop")
        elif path == "/relative":
            self.answer(301, location="picture")
        elif path == "/nowhere":
            self.answer(302)
        elif path == "/picture":
            self.answer(200, BODY)
        elif path == "/host":
            self.answer(200, self.headers["Host"].encode())
        elif path == "/gzip":
            self.answer(200, gzip.compress(BODY), encoding="gzip")
        elif path == "/bomb":
            self.answer(200, BOMB, encoding="gzip")
        elif path == "/cut-gzip":
            self.answer(200, gzip.compress(BODY)[:-20], encoding="gzip")
        elif path == "/brotli":
            self.answer(200, b"x", encoding="br")
        elif path == "/endless":
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            try:
                while True:
                    self.wfile.write(bytes(65_536))
            except OSError:
                self.close_connection = True
        elif path == "/short":
            self.answer(200, b"x" * 10, length=1000)
            self.close_connection = True
        elif path == "/drip":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            try:
                for _ in range(100):
                    self.wfile.write(b"x")
                    time.sleep(0.05)
            except OSError:
                self.close_connection = True
        else:
            self.answer(int(path[1:]) if path[1:].isdigit() else 404)

    def answer(
        self,
        status: int,
        body: bytes = b"",
        *,
        location: str | None = None,
        encoding: str | None = None,
        length: int | None = None,
    ) -> None:
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        if encoding:
            self.send_header("Content-Encoding", encoding)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()


def read(url: str, max_bytes: int = 100_000, timeout: float = 5.0) -> bytes:
    return fetch(url, max_bytes=max_bytes, timeout=timeout, allow_private=True)


@pytest.mark.parametrize("path", ["/picture", "/picture#t=3", "/gzip", "/relative", "/to//picture"])
def test_bodies_are_read_through_redirects_and_compression(server: str, path: str) -> None:
    assert read(server + path) == BODY


def test_it_works_beside_a_running_loop_and_as_a_coroutine(server: str) -> None:
    async def both() -> tuple[bytes, bytes]:
        inside = read(server + "/picture")
        url = server + "/picture"
        return inside, await afetch(url, max_bytes=10**6, timeout=5, allow_private=True)

    assert asyncio.run(both()) == (BODY, BODY)


@pytest.mark.parametrize("path", ["/picture", "/endless", "/bomb", "/gzip"])
def test_the_size_cap_holds_whatever_the_server_says(server: str, path: str) -> None:
    with pytest.raises(LimitError, match="7,000 bytes"):
        read(server + path, max_bytes=7000)
    if path in ("/picture", "/gzip"):
        assert len(read(server + path, max_bytes=len(BODY))) == len(BODY)


def test_the_time_limit_covers_a_slow_body_and_a_slow_lookup(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = time.monotonic()
    with pytest.raises(ServiceTimeoutError, match=r"0\.3 s"):
        read(server + "/drip", timeout=0.3)
    hold = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kw: hold.wait(10) and [])
    with pytest.raises(ServiceTimeoutError):
        read("http://slow.example/", timeout=0.3)
    hold.set()
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/404", MediaNotFoundError),
        ("/410", MediaNotFoundError),
        ("/403", MediaAccessError),
        ("/401", MediaAccessError),
        ("/500", MediaNotFoundError),
        ("/204", MediaNotFoundError),
        ("/nowhere", MediaNotFoundError),
        ("/loop", MediaAccessError),
        ("/short", MediaNotFoundError),
        ("/cut-gzip", MediaNotFoundError),
        ("/brotli", MediaNotFoundError),
        ("/to/file:///etc/passwd", MediaAccessError),
        ("/to/ftp://127.0.0.1/x", MediaAccessError),
        ("/to/http://user:hunter2@127.0.0.1/x", MediaAccessError),
        ("/to/http://[::bad/x", InvalidInputError),
    ],
)
def test_other_answers_are_clear_errors(server: str, path: str, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        read(server + path)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "localhost",
        "0.0.0.0",
        "0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "198.18.0.1",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[fe80::1]",
        "[fc00::1]",
        "[ff02::1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "127.0.0.1.",
        "[::127.0.0.1]",
        "[fec0::1]",
        "[2001::1]",
        "127。0。0。1",
        "①②⑦.0.0.1",
    ],
)
def test_hosts_that_are_not_public_are_refused(host: str) -> None:
    with pytest.raises((MediaAccessError, InvalidInputError)) as caught:
        fetch(f"http://{host}:9/x?key=hunter2", max_bytes=10, timeout=5)
    assert not isinstance(caught.value, MediaNotFoundError)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111"])
def test_public_addresses_pass(address: str) -> None:
    remote._check_address(ipaddress.ip_address(address), address)
    with pytest.raises(MediaAccessError):
        remote._check_address(ipaddress.ip_address("::ffff:10.0.0.1"), "x")


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.org/x",
        "gs://b/x",
        "//example.org/x",
        "x.png",
        "",
        "http://",
        "http://u:hunter2@example.org/",
        "http://hunter2@example.org/",
        "http://example.org:hunter2/",
        "http://[hunter2/",
        "http://:80/",
        "data:image/png;base64,x",
    ],
)
def test_urls_that_cannot_be_fetched_are_refused_without_quoting_secrets(url: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        fetch(url, max_bytes=10, timeout=5)
    assert "hunter2" not in str(caught.value)


def test_every_redirect_is_checked(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ipaddress.ip_address("127.0.0.1")
    check = remote._check_address

    def all_but_first(address: ipaddress.IPv4Address, host: str) -> None:
        if address != first:
            check(address, host)

    monkeypatch.setattr(remote, "_check_address", all_but_first)
    assert fetch(server + "/picture", max_bytes=10**6, timeout=5) == BODY
    for target in ("http://127.0.0.2/x", "http://169.254.169.254/latest", "http://[::1]:9/"):
        with pytest.raises(MediaAccessError, match="public"):
            fetch(f"{server}/to/{target}", max_bytes=10**6, timeout=5)


def test_the_connection_goes_to_the_address_that_was_checked(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(server.rpartition(":")[2])
    asked: list[str] = []

    def rebinding(host: str, *args: object, **kw: object) -> list[object]:
        asked.append(host)
        place = "127.0.0.1" if len(asked) == 1 else "127.0.0.99"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    assert read(f"http://rebind.example:{port}/host") == f"rebind.example:{port}".encode()
    assert asked == ["rebind.example"]


def test_one_private_address_among_public_ones_refuses_the_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entries = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, 80))
        for place in ("93.184.216.34", "10.0.0.1")
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kw: entries)
    with pytest.raises(MediaAccessError, match=r"mixed\.example"):
        fetch("http://mixed.example/x", max_bytes=10, timeout=5)


def test_a_host_that_does_not_exist_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*args: object, **kw: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "no")

    monkeypatch.setattr(socket, "getaddrinfo", nothing)
    with pytest.raises(MediaNotFoundError, match=r"nothing\.example"):
        fetch("http://nothing.example/x?key=hunter2", max_bytes=10, timeout=5)
    with pytest.raises(MediaNotFoundError):
        read("http://127.0.0.1:1/x")
