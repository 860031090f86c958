"""The service's error bodies: recorded where a recording or a public log shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = [
    "GRPC_CODES",
    "Refusal",
    "bad_key",
    "bad_token",
    "exhausted",
    "internal",
    "invalid",
    "missing_key",
    "missing_token",
    "model_not_found",
    "no_such_file",
    "not_found",
    "overloaded",
    "quota_exceeded",
]

_TYPE = "type.googleapis.com/google.rpc."
_VERTEX_TYPE = _TYPE + "ErrorInfo"
_AUTH_HELP = (
    "Expected OAuth 2 access token, login cookie or other valid authentication credential. "
    "See https://developers.google.com/identity/sign-in/web/devconsole-project."
)
#: google.rpc.Code of the statuses that a line of a batch job can end with.
GRPC_CODES: Mapping[str, int] = {"INVALID_ARGUMENT": 3, "NOT_FOUND": 5, "PERMISSION_DENIED": 7}


class Refusal(Exception):  # noqa: N818  # what the service says, no fault of ours
    """A request that the service answers with an error.

    Attributes:
        code: HTTP status.
        status: The service's word for it.
        details: The ``details`` of the body, which is left out when there are none.
    """

    def __init__(
        self,
        code: int,
        status: str,
        message: str,
        details: Sequence[Mapping[str, object]] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.message = message
        self.details = details

    @property
    def body(self) -> dict[str, object]:
        """The JSON body."""
        error: dict[str, object] = {
            "code": self.code,
            "message": self.message,
            "status": self.status,
        }
        if self.details:
            error["details"] = list(self.details)
        return {"error": error}


def invalid(message: str) -> Refusal:
    """400 INVALID_ARGUMENT."""
    return Refusal(400, "INVALID_ARGUMENT", message)


def not_found(message: str) -> Refusal:
    """404 NOT_FOUND."""
    return Refusal(404, "NOT_FOUND", message)


def model_not_found(name: str, version: str, method: str) -> Refusal:
    """404 of a model that isn't there (recordings/unknown_model_404)."""
    # The service names the single method even where the batch one was called.
    called = "embedContent" if method == "batchEmbedContents" else method
    return not_found(
        f"{name} is not found for API version {version}, or is not supported for {called}. "
        "Call ListModels to see the list of available models and their supported methods."
    )


def no_such_file(name: str) -> Refusal:
    """403 of a file that isn't there or isn't yours: the service doesn't say which."""
    return Refusal(
        403,
        "PERMISSION_DENIED",
        f"You do not have permission to access the File {name.removeprefix('files/')} "
        "or it may not exist.",
    )


def bad_key() -> Refusal:
    """400 of a key that isn't known: the service doesn't answer 401 (public logs of 2025)."""
    message = "API key not valid. Please pass a valid API key."
    return Refusal(
        400,
        "INVALID_ARGUMENT",
        message,
        [
            {
                "@type": _TYPE + "ErrorInfo",
                "reason": "API_KEY_INVALID",
                "domain": "googleapis.com",
                "metadata": {"service": "generativelanguage.googleapis.com"},
            },
            {"@type": _TYPE + "LocalizedMessage", "locale": "en-US", "message": message},
        ],
    )


def missing_key() -> Refusal:
    """403 of a call without a key (public logs of 2024 to 2026)."""
    return Refusal(
        403,
        "PERMISSION_DENIED",
        "Method doesn't allow unregistered callers (callers without established identity). "
        "Please use API Key or other form of API consumer identity to call this API.",
    )


def missing_token() -> Refusal:
    """401 of a Vertex call without credentials."""
    return Refusal(
        401,
        "UNAUTHENTICATED",
        "Request is missing required authentication credential. " + _AUTH_HELP,
        [
            {
                "@type": _VERTEX_TYPE,
                "reason": "CREDENTIALS_MISSING",
                "domain": "googleapis.com",
                "metadata": {"service": "aiplatform.googleapis.com"},
            }
        ],
    )


def bad_token() -> Refusal:
    """401 of a Vertex call with credentials that aren't valid."""
    return Refusal(
        401,
        "UNAUTHENTICATED",
        "Request had invalid authentication credentials. " + _AUTH_HELP,
        [
            {
                "@type": _VERTEX_TYPE,
                "reason": "ACCESS_TOKEN_EXPIRED",
                "domain": "googleapis.com",
                "metadata": {"service": "aiplatform.googleapis.com"},
            }
        ],
    )


def internal() -> Refusal:
    """500."""
    return Refusal(
        500,
        "INTERNAL",
        "An internal error has occurred. Please retry or report in "
        "https://developers.generativeai.google/guide/troubleshooting",
    )


def overloaded() -> Refusal:
    """503."""
    return Refusal(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")


def exhausted() -> Refusal:
    """A 429 without details: nothing says how long to wait."""
    return Refusal(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).")


def quota_exceeded(
    *, metric: str, quota_id: str, limit: int, model: str, delay: float, whole_seconds: bool
) -> Refusal:
    """A 429 with RetryInfo and QuotaFailure (recordings/errors/429_*).

    Args:
        metric: Last part of the quota's metric.
        quota_id: The quota's id; ``PerDay`` in it means that waiting doesn't help.
        limit: The quota's value.
        model: Model id.
        delay: Seconds to wait. The message gives them in full, RetryInfo cut to whole seconds.
        whole_seconds: False keeps RetryInfo's fraction, for quotas with a shortened minute.
    """
    page = "usage?tab=rate-limit" if "PerDay" in quota_id else "rate-limit"
    metric = f"generativelanguage.googleapis.com/{metric}"
    docs = "https://ai.google.dev/gemini-api/docs/rate-limits"
    return Refusal(
        429,
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota, please check your plan and billing details. "
        f"For more information on this error, head to: {docs}. "
        f"To monitor your current usage, head to: https://ai.dev/{page}. \n"
        f"* Quota exceeded for metric: {metric}, limit: {limit}, model: {model}\n"
        f"Please retry in {delay:.9f}s.",
        [
            {
                "@type": _TYPE + "Help",
                "links": [{"description": "Learn more about Gemini API quotas", "url": docs}],
            },
            {
                "@type": _TYPE + "QuotaFailure",
                "violations": [
                    {
                        "quotaMetric": metric,
                        "quotaId": quota_id,
                        "quotaDimensions": {"model": model, "location": "global"},
                        "quotaValue": str(limit),
                    }
                ],
            },
            {
                "@type": _TYPE + "RetryInfo",
                "retryDelay": f"{int(delay)}s" if whole_seconds else f"{delay:.3f}s",
            },
        ],
    )
