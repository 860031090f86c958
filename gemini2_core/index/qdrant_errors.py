"""The many errors of Qdrant's client, of httpx and of gRPC, as errors of ours."""

from __future__ import annotations

import json

from gemini2_core.errors import AuthenticationError, IndexUnavailableError

__all__ = ["ExistsError", "NotFoundError", "is_passing", "told_error"]

_PASSING = {408, 425, 429, 500, 502, 503, 504}


class NotFoundError(Exception):
    """There is no such collection."""


class ExistsError(Exception):
    """There is such a collection already."""


def is_passing(error: IndexUnavailableError) -> bool:
    """Whether the same request may well succeed in a moment."""
    return error.code is None or error.code in _PASSING


def told_error(error: Exception, where: str, *, remote: bool) -> Exception:
    """An error of the client's, of httpx or of gRPC as one of ours.

    Returns:
        A ``Gemini2Error``; or ``NotFoundError``, ``ExistsError``, which the operation decides on.
    """
    from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

    match error:
        case UnexpectedResponse(status_code=int(code)):
            return _by_status(where, code, _reason(error))
        case ResourceExhaustedResponse():
            return _by_status(where, 429, str(error))
        case ResponseHandlingException(source=source):
            cause = f"{type(source).__name__}: {source}".rstrip(": ")
            if isinstance(source, ValueError):
                return IndexUnavailableError(
                    f"Qdrant at {where} answered what its client can't read: {cause}",
                    code=200,
                )
            # Broken off or refused: httpx's words, and nothing came back.
            return IndexUnavailableError(
                f"Qdrant at {where} didn't answer ({cause}). Is it running, "
                "and is the address right?"
            )
    if type(error).__module__.startswith("grpc"):
        return _by_grpc(where, error)
    text = str(error)
    if isinstance(error, ValueError) and not remote:
        if "not found" in text and "Collection" in text:
            return NotFoundError()
        if "already exists" in text:
            return ExistsError()
    return IndexUnavailableError(f"Qdrant at {where} failed: {text or repr(error)}")


def _by_status(where: str, code: int, reason: str) -> Exception:
    if code == 404:
        return NotFoundError()
    if code == 409 or (code == 400 and "already exists" in reason):
        return ExistsError()
    if code in {401, 403}:
        return AuthenticationError(
            f"Qdrant at {where} refused the key (api_key=): {reason}", code=code
        )
    word = "failed" if code >= 500 or code == 429 else "refused"
    return IndexUnavailableError(f"Qdrant at {where} {word} ({code}): {reason}", code=code)


def _by_grpc(where: str, error: Exception) -> Exception:
    status = getattr(error, "code", lambda: None)()
    name = getattr(status, "name", "UNKNOWN")
    reason = str(getattr(error, "details", lambda: "")() or error)
    codes = {
        "NOT_FOUND": 404,
        "ALREADY_EXISTS": 409,
        "UNAUTHENTICATED": 401,
        "PERMISSION_DENIED": 403,
        "INVALID_ARGUMENT": 400,
        "RESOURCE_EXHAUSTED": 429,
        "DEADLINE_EXCEEDED": 504,
        "INTERNAL": 500,
    }
    if name in codes:
        return _by_status(where, codes[name], reason)
    return IndexUnavailableError(
        f"Qdrant at {where} didn't answer ({name}: {reason}). Is it running, "
        "and is the address right?"
    )


def _reason(error: Exception) -> str:
    content = getattr(error, "content", b"")
    try:
        return str(json.loads(content)["status"]["error"])
    except (ValueError, KeyError, TypeError):
        text = content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content)
        return text[:200] or str(getattr(error, "reason_phrase", ""))
