"""Arguments of ``GoogleGenerativeAIEmbeddings``, old and new, read as what they mean here."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gemini2_core.errors import ConfigurationError
from gemini2_core.model import Side, TaskType, task_type

if TYPE_CHECKING:
    from google.genai.types import HttpOptions

__all__ = [
    "base_url_of",
    "http_options_of",
    "side_of",
    "task_type_of",
    "timeout_of",
    "titles_of",
    "wants_vertex",
    "warn_of_transport",
]


def wants_vertex(vertexai: bool | None, *, project: bool, credentials: bool) -> bool | None:
    """Which service is meant, by the official class's rules.

    Args:
        vertexai: The argument; it decides if it isn't None.
        project: Whether a project was passed.
        credentials: Whether credentials were passed; either of them means Vertex, unless
            ``GOOGLE_GENAI_USE_VERTEXAI`` says otherwise.

    Returns:
        None if nothing decides it.
    """
    if vertexai is not None:
        return vertexai
    told = os.environ.get("GOOGLE_GENAI_USE_VERTEXAI", "").lower()
    if told in ("true", "1", "yes"):
        return True
    if told in ("false", "0", "no"):
        return False
    return True if project or credentials else None


def task_type_of(value: TaskType | str | None) -> TaskType | None:
    """A task type; the API's ``TASK_TYPE_UNSPECIFIED`` is none.

    Raises:
        ConfigurationError: No such task type.
    """
    if isinstance(value, str) and value.upper() == "TASK_TYPE_UNSPECIFIED":
        return None
    return task_type(value)


def side_of(task: TaskType | None, side: Side) -> Side:
    """The side a call is on, if it was given a task type of its own.

    Of the retrieval pair each name tells its side: ``embed_documents(questions,
    task_type="RETRIEVAL_QUERY")`` is how many questions are embedded with the official class.
    """
    if task is TaskType.RETRIEVAL_QUERY:
        return "query"
    if task is TaskType.RETRIEVAL_DOCUMENT:
        return "document"
    return side


def titles_of(title: str | None, side: Side, *, stacklevel: int) -> list[str | None]:
    """The title of one text; only a document has one."""
    if title is not None and side == "query":
        warnings.warn(
            "title= has no meaning for a query: it goes with task_type='RETRIEVAL_DOCUMENT'",
            UserWarning,
            stacklevel=stacklevel + 1,
        )
    return [title]


def base_url_of(
    base_url: str | None, client_options: Mapping[str, object] | None, *, stacklevel: int
) -> str | None:
    """Another server's address, which older releases took in ``client_options``.

    Raises:
        ConfigurationError: Two different addresses, or one that isn't text.
    """
    if not client_options:
        return base_url
    unread = sorted(client_options.keys() - {"api_endpoint"})
    if unread:
        warnings.warn(
            f"client_options: {', '.join(unread)} has no meaning here (api_endpoint has)",
            UserWarning,
            stacklevel=stacklevel + 1,
        )
    endpoint = client_options.get("api_endpoint")
    if endpoint is None:
        return base_url
    if not isinstance(endpoint, str):
        raise ConfigurationError("client_options: api_endpoint must be a str")
    if "://" not in endpoint:
        endpoint = f"https://{endpoint}"
    if base_url is not None and base_url != endpoint:
        raise ConfigurationError("base_url and client_options name different servers")
    return endpoint


def timeout_of(
    timeout: float, request_options: Mapping[str, object] | None, *, stacklevel: int
) -> float:
    """Seconds for a request: ``request_options={"timeout": 10}`` wins over the default.

    Raises:
        ConfigurationError: A timeout that isn't a number.
    """
    if not request_options:
        return timeout
    unread = sorted(request_options.keys() - {"timeout"})
    if unread:
        warnings.warn(
            f"request_options: {', '.join(unread)} has no meaning here (timeout has; retries are "
            "ruled by retry_seconds)",
            UserWarning,
            stacklevel=stacklevel + 1,
        )
    seconds = request_options.get("timeout", timeout)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise ConfigurationError("request_options: timeout must be a number of seconds")
    return float(seconds)


def warn_of_transport(transport: str | None, *, stacklevel: int) -> None:
    """Older releases could speak gRPC; REST is what there is.

    Raises:
        ConfigurationError: No transport that ever was.
    """
    if transport in (None, "rest"):
        return
    if transport not in ("grpc", "grpc_asyncio"):
        raise ConfigurationError(f"transport={transport!r}: there is only 'rest'")
    warnings.warn(
        f"transport={transport!r} has no meaning here: requests go over REST",
        UserWarning,
        stacklevel=stacklevel + 1,
    )


def http_options_of(
    given: HttpOptions | Mapping[str, object] | None,
    *,
    headers: Mapping[str, str] | None,
    api_version: str | None,
    client_args: Mapping[str, object] | None,
) -> HttpOptions | Mapping[str, object] | None:
    """google-genai's options: those given, with the official class's own arguments in them."""
    if not (headers or api_version or client_args):
        return given
    read = given.get if isinstance(given, Mapping) else lambda name: getattr(given, name, None)
    more: dict[str, object] = {}
    if headers:
        known = read("headers")
        more["headers"] = {**(known if isinstance(known, Mapping) else {}), **headers}
    if api_version:
        more["api_version"] = api_version
    if client_args:
        more["client_args"] = dict(client_args)
    if given is None or isinstance(given, Mapping):
        return {**(given or {}), **more}
    return given.model_copy(update=more)
