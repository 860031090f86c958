"""Media read from ``http(s)`` addresses: public ones only, with a size cap and a time limit."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
import zlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from gemini2_core.errors import (
    Gemini2Error,
    InvalidInputError,
    LimitError,
    MediaAccessError,
    MediaNotFoundError,
    ServiceTimeoutError,
)

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.abc import AbstractResolver
    from yarl import URL

__all__ = ["afetch", "fetch"]

_MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NOT_FOUND = frozenset({404, 410})
_REFUSED = frozenset({401, 403, 407, 451})
_CHUNK = 65_536
_SHOWN = 200

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def fetch(url: str, *, max_bytes: int, timeout: float, allow_private: bool = False) -> bytes:
    """Read the bytes at ``url``; the blocking form of ``afetch``, same arguments and errors.

    Where an event loop runs in the calling thread, the work is done in a thread beside it.
    """
    work = afetch(url, max_bytes=max_bytes, timeout=timeout, allow_private=allow_private)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    results: list[bytes] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(asyncio.run(work))
        except BaseException as error:  # noqa: BLE001 - handed over to the calling thread
            errors.append(error)

    thread = threading.Thread(target=run, name="gemini2-fetch", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


async def afetch(
    url: str,
    *,
    max_bytes: int,
    timeout: float,  # noqa: ASYNC109 - covers redirects and name lookups too
    allow_private: bool = False,
) -> bytes:
    """Read the bytes at ``url``.

    Up to 5 redirects are followed. At each, every address of the host must be a public one, and
    the connection goes to an address that was checked. Proxies of the environment aren't used.

    Args:
        url: ``http:`` or ``https:``, without user and password.
        max_bytes: Cap on the bytes, counted as they arrive and after decompression.
        timeout: Seconds for everything together.
        allow_private: Let private and loopback addresses through. For tests with a server of
            their own; never to be set from what a user or a document says.

    Raises:
        MediaAccessError: Another scheme, credentials in the URL, a host with a private, loopback
            or otherwise special address, too many redirects, or the server refuses (401, 403).
        MediaNotFoundError: No such host, no connection, or no success from the server.
        LimitError: More than ``max_bytes``.
        ServiceTimeoutError: Not read within ``timeout``.
        InvalidInputError: No URL.
    """
    target = _parsed(url)
    name = _shown(target)
    try:
        async with asyncio.timeout(timeout):
            return await _follow(target, max_bytes, allow_private)
    except Gemini2Error:
        raise
    except TimeoutError:
        raise ServiceTimeoutError(f"{name} wasn't read within {timeout:g} s") from None
    except (OSError, ValueError) as error:
        raise MediaNotFoundError(f"{name} can't be read: {type(error).__name__}") from None


async def _follow(url: URL, max_bytes: int, allow_private: bool) -> bytes:
    import aiohttp

    connector = aiohttp.TCPConnector(
        resolver=_resolver(allow_private), use_dns_cache=False, force_close=True
    )
    async with aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,  # done here, under the cap
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity", "Accept": "*/*"},
        timeout=aiohttp.ClientTimeout(total=None),
        trust_env=False,
    ) as session:
        for _ in range(_MAX_REDIRECTS + 1):
            _check_literal(url, allow_private)
            try:
                async with session.get(url, allow_redirects=False) as response:
                    if response.status not in _REDIRECTS:
                        return await _body(response, url, max_bytes)
                    location = response.headers.get("Location", "")
                    response.close()  # its body is of no interest
            except aiohttp.ClientError as error:
                raise _own(error, url) from None
            if not location:
                raise MediaNotFoundError(f"{_shown(url)} redirects to nowhere")
            url = _parsed(location, base=url)
    raise MediaAccessError(f"{_shown(url)}: more than {_MAX_REDIRECTS} redirects")


async def _body(response: aiohttp.ClientResponse, url: URL, max_bytes: int) -> bytes:
    status = response.status
    if status in _NOT_FOUND:
        raise MediaNotFoundError(f"there is nothing at {_shown(url)} (HTTP {status})")
    if status in _REFUSED:
        raise MediaAccessError(f"{_shown(url)} may not be read (HTTP {status})")
    if status != 200:
        raise MediaNotFoundError(f"{_shown(url)} answered HTTP {status}")
    too_much = LimitError(
        f"{_shown(url)} has more than {max_bytes:,} bytes, the most that is fetched"
    )
    if (response.content_length or 0) > max_bytes:
        response.close()
        raise too_much
    body = bytearray()
    async for chunk in _decoded(response, url):
        body += chunk
        if len(body) > max_bytes:
            response.close()
            raise too_much
    return bytes(body)


async def _decoded(response: aiohttp.ClientResponse, url: URL) -> AsyncIterator[bytes]:
    """The body in chunks of bounded size, decompressed if the server compressed it unasked."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        async for chunk in response.content.iter_chunked(_CHUNK):
            yield chunk
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise MediaNotFoundError(f"{_shown(url)} is compressed as {encoding[:20]!r}, unasked")
    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # gzip or zlib, by its header
    try:
        async for chunk in response.content.iter_chunked(_CHUNK):
            data = chunk
            while data and not decoder.eof:
                yield decoder.decompress(data, _CHUNK)
                data = decoder.unconsumed_tail
        yield decoder.flush()
    except zlib.error:
        raise MediaNotFoundError(f"{_shown(url)} is compressed, and broken") from None
    if not decoder.eof:
        raise MediaNotFoundError(f"{_shown(url)} is compressed, and cut off")


def _parsed(url: str, base: URL | None = None) -> URL:
    from yarl import URL

    # Messages name no part of a URL that couldn't be read: a password could be in it.
    try:
        parsed = URL(url)
        if base is not None:
            parsed = base.join(parsed)
        scheme, host, user, password = parsed.scheme, parsed.host, parsed.user, parsed.password
        _ = parsed.port
    except (ValueError, TypeError):
        raise InvalidInputError("this is no URL that can be fetched") from None
    if scheme not in ("http", "https"):
        raise MediaAccessError(f"only http and https are fetched, not {scheme[:20]!r}")
    if user is not None or password is not None:
        raise MediaAccessError("a URL with a user or password in it isn't fetched")
    if not host:
        raise InvalidInputError("this URL names no host")
    return parsed.with_fragment(None)


def _check_literal(url: URL, allow_private: bool) -> None:
    """Check a host that is an address itself: aiohttp asks no resolver for it."""
    host = (url.host or "").rstrip(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        _check_number(host)
        return
    if not allow_private:
        _check_address(address, host)


def _check_number(host: str) -> None:
    """Refuse what the C library reads as an address and nobody else (``127.1``, ``0x7f.1``)."""
    try:
        socket.inet_aton(host)
    except (OSError, ValueError):
        return
    raise MediaAccessError(f"the host {host!r} is an address in disguise")


def _check_address(address: _Address, host: str) -> None:
    """Refuse an address that isn't public, or that wraps one that isn't."""
    inner: _Address | None = None
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address.teredo or address.is_site_local:
            raise _refused(host)
    if inner is not None:
        _check_address(inner, host)
        if address.ipv4_mapped:  # type: ignore[union-attr]  # inner is of an IPv6 only
            return
    if (
        not address.is_global
        or address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
    ):
        raise _refused(host)


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def _refused(host: str) -> MediaAccessError:
    # The address itself stays unsaid: it would map the inner network to whoever asks.
    return MediaAccessError(f"the host {host[:_SHOWN]!r} isn't at a public address")


def _resolver(allow_private: bool) -> AbstractResolver:
    from aiohttp.abc import AbstractResolver, ResolveResult

    class Checked(AbstractResolver):
        """Looks a host up and lets nothing but public addresses through to the connection."""

        async def resolve(
            self,
            host: str,
            port: int = 0,
            family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 - both are looked up
        ) -> list[ResolveResult]:
            found = []
            for sort, protocol, address in await _look_up(host, port):
                if not allow_private:
                    _check_address(ipaddress.ip_address(address), host)
                found.append(
                    ResolveResult(
                        hostname=host,
                        host=address,
                        port=port,
                        family=sort,
                        proto=protocol,
                        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                    )
                )
            return found

        async def close(self) -> None:
            pass

    return Checked()


_Entry = tuple[socket.AddressFamily, int, str]  # family, protocol, address


async def _look_up(host: str, port: int) -> list[_Entry]:
    """``getaddrinfo`` in a thread that nobody waits for, so that the time limit holds."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[_Entry]] = loop.create_future()

    def settle(entries: list[_Entry], error: OSError | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(entries)
        else:
            answer.set_exception(error)

    def ask() -> None:
        entries: list[_Entry] = []
        failure: OSError | None = None
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            entries = [(family, protocol, str(place[0])) for family, _, protocol, _, place in found]
        except OSError as error:
            failure = error
        except UnicodeError:
            failure = OSError("no name of a host")
        try:
            loop.call_soon_threadsafe(settle, entries, failure)
        except RuntimeError:
            return  # the loop was closed meanwhile: the time was up

    threading.Thread(target=ask, name="gemini2-lookup", daemon=True).start()
    return await answer


def _own(error: aiohttp.ClientError, url: URL) -> Gemini2Error:
    """Our error for one of aiohttp's; aiohttp's own text may quote the whole URL."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, Gemini2Error):
            return cause
        cause = cause.__cause__ or cause.__context__
    return MediaNotFoundError(f"{_shown(url)} can't be read: {type(error).__name__}")


def _shown(url: URL) -> str:
    """The URL without its query, where signatures and keys stand."""
    text = f"{url.scheme}://{url.host}{url.path}"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
