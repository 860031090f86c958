"""The routes: the Gemini API on /v1 and /v1beta, and Vertex's paths."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from gemini2_core.emulator.answers import TRANSPORT, Answer, dump, embedding, embeddings
from gemini2_core.emulator.batches import BatchJobs
from gemini2_core.emulator.encoding import Encoded
from gemini2_core.emulator.failures import Failure, Failures
from gemini2_core.emulator.files import FileStore
from gemini2_core.emulator.log import RequestRecord, safe_headers
from gemini2_core.emulator.quota import Quota
from gemini2_core.emulator.reading import Item, as_mapping, items_of, read_contents, read_item
from gemini2_core.emulator.refusals import (
    Refusal,
    bad_key,
    bad_token,
    internal,
    invalid,
    missing_key,
    missing_token,
    model_not_found,
    not_found,
)
from gemini2_core.emulator.rules import batch_too_long, token_details
from gemini2_core.emulator.service import Embedded, Read, Service, find_model
from gemini2_core.emulator.settings import Settings
from gemini2_core.model import MODELS, VERTEX_LOCATIONS, Backend, Modality, ModelSpec

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["State", "application"]

_log = logging.getLogger(__name__)
_VERSIONS = {Backend.GEMINI_API: ("v1", "v1beta"), Backend.VERTEX: ("v1", "v1beta1")}
_BAD_KEY = "bad-key"
_LOG_LENGTH = 20_000
_PAGE = 50


@dataclass(slots=True)
class State:
    """All that a running emulator knows."""

    settings: Settings
    files: FileStore = field(default_factory=FileStore)
    quota: Quota = field(default_factory=Quota)
    failures: Failures = field(default_factory=Failures)
    requests: deque[RequestRecord] = field(default_factory=lambda: deque(maxlen=_LOG_LENGTH))
    service: Service = field(init=False)
    batches: BatchJobs = field(init=False)

    def __post_init__(self) -> None:
        self.service = Service(self.settings, self.files)
        self.batches = BatchJobs(self.service, self.files)

    def configure(self, settings: Settings) -> None:
        """Take new settings from the next request on."""
        self.settings = settings
        self.service.settings = settings

    def reset(self) -> None:
        """Forget the log, quotas, failures, files and jobs."""
        for part in (self.files, self.quota, self.failures, self.batches):
            part.reset()
        self.requests.clear()


@dataclass(slots=True)
class _Call:
    """One request on its way through."""

    request: Request
    state: State
    settings: Settings
    raw: bytes = b""
    body: dict[str, object] | None = None
    items: int = 0
    failure: Failure | None = None
    model: str = ""

    def json(self) -> dict[str, object]:
        """The body as a JSON object."""
        try:
            body = orjson.loads(self.raw) if self.raw else {}
        except orjson.JSONDecodeError as error:
            raise invalid(f"Invalid JSON payload received. {error}") from None
        if not isinstance(body, dict):
            raise invalid(
                'Invalid JSON payload received. Unknown name "": Root element must be a message.'
            )
        self.body = body
        return body

    @property
    def pretty(self) -> bool:
        query = self.request.query_params
        asked = query.get("prettyPrint", query.get("$prettyPrint"))
        return self.settings.pretty if asked is None else asked.lower() not in ("false", "0")

    @property
    def missing(self) -> int | None:
        """A number that settles which embedding comes without values, or None for none."""
        return self.failure.draw if self.failure and self.failure.kind == "missing" else None

    def may_fail(self) -> None:
        """Draw a failure; those with an error body are raised."""
        self.failure = self.state.failures.draw(self.request.url.path, self.raw, self.settings)
        if self.failure and (refusal := self.failure.refusal(self.model, self.settings)):
            raise refusal

    def answer(self, value: object, headers: Mapping[str, str] | None = None) -> Answer:
        return Answer(200, [dump(value, pretty=self.pretty)], headers or {})


_Handler = Callable[[_Call], Awaitable[Answer]]


def _endpoint(
    state: State, handler: _Handler, backend: Backend
) -> Callable[[Request], Awaitable[Answer]]:
    """Wrap a handler: keys, errors, latency, gzip, the log."""

    async def endpoint(request: Request) -> Answer:
        began = time.perf_counter()
        settings = state.settings
        call = _Call(request, state, settings, await request.body())
        try:
            if request.path_params.get("version") in _VERSIONS[backend]:
                _check_key(request, settings, backend)
                answer = await handler(call)
            else:
                answer = _no_such_page()
        except Refusal as refusal:
            answer = Answer(refusal.code, [dump(refusal.body, pretty=call.pretty)])
        except Exception:  # noqa: BLE001  # a fault of the emulator's own must be seen, and answered
            _log.exception("%s %s", request.method, request.url.path)
            answer = Answer(500, [dump(internal().body, pretty=call.pretty)])
        answer.failure, answer.slow_seconds = call.failure, settings.slow_seconds
        answer.gzip = (
            settings.gzip
            and "gzip" in request.headers.get("accept-encoding", "")
            and not answer.headers
        )
        if answer.gzip:
            answer.pieces = [
                Encoded(p) if isinstance(p, bytes) and len(p) > 1000 else p for p in answer.pieces
            ]
        elapsed = time.perf_counter() - began
        if settings.log_requests:
            dropped = answer.failure is not None and answer.failure.kind == "drop"
            state.requests.append(
                RequestRecord(
                    request.method,
                    request.url.path,
                    call.body,
                    0 if dropped else answer.status,
                    call.items,
                    call.failure.kind if call.failure else "",
                    safe_headers(request.scope["headers"]),
                )
            )
        if settings.latency > elapsed:
            await asyncio.sleep(settings.latency - elapsed)
        return answer

    return endpoint


def _check_key(request: Request, settings: Settings, backend: Backend) -> None:
    token = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    key = request.headers.get("x-goog-api-key") or request.query_params.get("key")
    given = key or token
    if not given and "upload_id" in request.query_params:
        return  # an upload's own URL is its permission
    if not given:
        raise missing_key() if backend is Backend.GEMINI_API else missing_token()
    known = given != _BAD_KEY if settings.api_keys is None else given in settings.api_keys
    # Any token will do beside any list of keys: credentials are google-auth's business.
    if not known and (key or given == _BAD_KEY):
        raise bad_key() if key else bad_token()


# The Gemini API ------------------------------------------------------------------------------


async def _model_method(call: _Call) -> Answer:
    path = call.request.path_params
    name, method, version = path["model"], path["method"], path["version"]
    methods: dict[str, Callable[[_Call, ModelSpec], Awaitable[Answer]]] = {
        "embedContent": _embed_content,
        "batchEmbedContents": _batch_embed_contents,
        "countTokens": _count_tokens,
        "asyncBatchEmbedContent": _create_batch,
    }
    spec = find_model(name)
    if method not in methods:
        if spec is None:
            raise model_not_found(f"models/{name}", version, method)
        return _no_such_page()
    body = call.json()
    call.model = name
    if spec is None:
        raise model_not_found(f"models/{name}", version, method)
    call.items = len(items_of(body)) if method == "batchEmbedContents" else 1
    call.may_fail()
    return await methods[method](call, spec)


async def _embed(
    call: _Call, items: list[Item], spec: ModelSpec, backend: Backend
) -> tuple[list[Embedded], Counter[Modality]]:
    """Check, take off the quotas, embed. Media are read off the event loop."""
    service, pretty = call.state.service, call.pretty

    def read() -> list[Read]:
        return [service.read(item, spec, backend) for item in items]

    def embed() -> list[Embedded]:
        return [
            service.embed(item, content, spec, pretty=pretty)
            for item, content in zip(items, contents, strict=True)
        ]

    text_only = all(isinstance(part, str) for item in items for part in item.parts)
    contents = read() if text_only else await asyncio.to_thread(read)
    tokens: Counter[Modality] = Counter()
    for content in contents:
        tokens.update(content.tokens)
    call.state.quota.spend(spec.id, len(items), tokens.total(), call.settings)
    return (embed() if text_only else await asyncio.to_thread(embed)), tokens


def _usage(spec: ModelSpec, tokens: Counter[Modality]) -> dict[str, object] | None:
    # Neither 001 nor the preview says what it bills (recordings).
    if not spec.task_in_prompt or spec.shut_down:
        return None
    return {"promptTokenCount": tokens.total(), "promptTokenDetails": token_details(tokens)}


async def _embed_content(call: _Call, spec: ModelSpec) -> Answer:
    item = read_item(call.body)
    _check_model(item, spec, "EmbedContentRequest", required=False)
    done, tokens = await _embed(call, [item], spec, Backend.GEMINI_API)
    rest = {"usageMetadata": _usage(spec, tokens)}
    missing = call.missing is not None
    return Answer(200, embedding(done[0].vector, rest, pretty=call.pretty, missing=missing))


async def _batch_embed_contents(call: _Call, spec: ModelSpec) -> Answer:
    requests = items_of(call.body)
    batch_too_long(len(requests))
    items = []
    for number, request in enumerate(requests):
        message = f"BatchEmbedContentsRequest.requests[{number}]"
        item = read_item(request, f"requests[{number}]", message)
        _check_model(item, spec, message, required=True)
        items.append(item)
    if not items:
        return call.answer({})
    done, tokens = await _embed(call, items, spec, Backend.GEMINI_API)
    missing = None if call.missing is None else call.missing % len(done)
    vectors = [one.vector for one in done]
    usage = _usage(spec, tokens)
    return Answer(200, embeddings(vectors, usage, pretty=call.pretty, missing=missing))


def _check_model(item: Item, spec: ModelSpec, message: str, *, required: bool) -> None:
    """Each item of a batch must name the model (public logs of 2026-07)."""
    if not item.model:
        if required:
            raise invalid(f"* {message}.model: model is not specified\n")
        return
    if not item.model.startswith("models/"):
        raise invalid(f"* {message}.model: unexpected model name format\n")
    if item.model != f"models/{spec.id}":
        raise invalid(f"* {message}.model: model must match the model in the URL\n")


async def _count_tokens(call: _Call, _: ModelSpec) -> Answer:
    parts = read_contents(call.body)
    tokens = await asyncio.to_thread(call.state.service.count, parts, Backend.GEMINI_API)
    return call.answer(
        {"totalTokens": tokens.total(), "promptTokensDetails": token_details(tokens)}
    )


async def _create_batch(call: _Call, spec: ModelSpec) -> Answer:
    job = call.state.batches.create(spec, call.body, len(call.raw))
    call.items = len(job.lines)
    return call.answer(call.state.batches.operation(job, with_output=False))


def _model_resource(spec: ModelSpec) -> dict[str, object]:
    return {
        "name": f"models/{spec.id}",
        "version": "001" if not spec.task_in_prompt else "2",
        "displayName": spec.id.replace("-", " ").title(),
        "description": "Not the model: gemini2-embeddings' emulator of it.",
        "inputTokenLimit": spec.max_input_tokens,
        "outputTokenLimit": 1,
        "supportedGenerationMethods": [
            "embedContent",
            "countTextTokens",
            "countTokens",
            "asyncBatchEmbedContent",
        ],
    }


async def _list_models(call: _Call) -> Answer:
    return call.answer({"models": [_model_resource(spec) for spec in MODELS.values()]})


async def _get_model(call: _Call) -> Answer:
    name = call.request.path_params["model"]
    spec = find_model(name)
    if spec is None:
        raise not_found(
            f"Model is not found: models/{name} for api version "
            f"{call.request.path_params['version']}"
        )
    return call.answer(_model_resource(spec))


# Batch jobs and files ------------------------------------------------------------------------


def _page(call: _Call, name: str, entries: list[dict[str, object]]) -> Answer:
    """One page of a list; its token is where the next one begins."""
    query = call.request.query_params
    size = query.get("pageSize", query.get("page_size", ""))
    start = query.get("pageToken", query.get("page_token", "")) or "0"
    if not start.isdecimal() or (size and not size.isdecimal()):
        raise invalid("Invalid page token or page size.")
    first, length = int(start), int(size or 0) or _PAGE
    page: dict[str, object] = {}
    if some := entries[first : first + length]:
        page[name] = some
    if first + length < len(entries):
        page["nextPageToken"] = str(first + length)
    return call.answer(page)


async def _list_batches(call: _Call) -> Answer:
    jobs = call.state.batches

    def told() -> list[dict[str, object]]:
        return [jobs.operation(job, with_output=False) for job in jobs.all()]

    return _page(call, "operations", await asyncio.to_thread(told))


async def _get_batch(call: _Call) -> Answer:
    jobs = call.state.batches
    job = jobs.get(f"batches/{call.request.path_params['batch']}")
    return call.answer(await asyncio.to_thread(jobs.operation, job))


async def _cancel_batch(call: _Call) -> Answer:
    call.state.batches.cancel(f"batches/{call.request.path_params['batch']}")
    return call.answer({})


async def _delete_batch(call: _Call) -> Answer:
    call.state.batches.delete(f"batches/{call.request.path_params['batch']}")
    return call.answer({})


def _base(call: _Call) -> str:
    return f"{str(call.request.base_url).rstrip('/')}/v1beta"


async def _upload(call: _Call) -> Answer:
    """The resumable protocol: start, then upload and finalize, or query."""
    headers = call.request.headers
    command = headers.get("x-goog-upload-command", "")
    files = call.state.files
    if command == "start":
        key = files.begin(as_mapping(call.json()), headers)
        url = f"{call.request.url.remove_query_params(list(call.request.query_params))}"
        return call.answer(
            {},
            {
                "x-goog-upload-url": f"{url}?upload_id={key}&upload_protocol=resumable",
                "x-goog-upload-status": "active",
                "x-goog-upload-chunk-granularity": "262144",
            },
        )
    key = call.request.query_params.get("upload_id", "")
    if command == "query":
        upload = files.received(key)
        status = "final" if upload.file else "active"
        size = str(len(upload.data))
        return call.answer(
            {}, {"x-goog-upload-status": status, "x-goog-upload-size-received": size}
        )
    offset = headers.get("x-goog-upload-offset", "0")
    if "upload" not in command or not offset.isdecimal():
        raise invalid("Invalid upload command or offset.")
    upload = files.receive(key, int(offset), call.raw, final="finalize" in command)
    if upload.file is None:
        return call.answer({}, {"x-goog-upload-status": "active"})
    resource = upload.file.resource(_base(call), call.settings)
    return call.answer({"file": resource}, {"x-goog-upload-status": "final"})


async def _list_files(call: _Call) -> Answer:
    base, settings = _base(call), call.settings
    return _page(call, "files", [f.resource(base, settings) for f in call.state.files.all()])


async def _get_file(call: _Call) -> Answer:
    file = call.state.files.get(f"files/{call.request.path_params['file']}", call.settings)
    return call.answer(file.resource(_base(call), call.settings))


async def _delete_file(call: _Call) -> Answer:
    call.state.files.delete(f"files/{call.request.path_params['file']}", call.settings)
    return call.answer({})


async def _download_file(call: _Call) -> Answer:
    file = call.state.files.get(f"files/{call.request.path_params['file']}", call.settings)
    if not file.generated:
        raise invalid(f"File {file.name.removeprefix('files/')} is not downloadable.")
    return Answer(200, [file.data], content_type=file.mime_type)


# Vertex --------------------------------------------------------------------------------------


async def _vertex_method(call: _Call) -> Answer:
    path = call.request.path_params
    name, method, location = path["model"], path["method"], path.get("location", "global")
    methods: dict[str, Callable[[_Call, ModelSpec], Awaitable[Answer]]] = {
        "embedContent": _vertex_embed_content,
        "countTokens": _vertex_count_tokens,
        "predict": _vertex_predict,
    }
    if call.settings.vertex_batch:
        methods["batchEmbedContents"] = _vertex_batch_embed_contents
    if method not in methods:
        return _no_such_page()
    body = call.json()
    call.model = name
    spec = find_model(name)
    if spec is None or (spec.task_in_prompt and location not in VERTEX_LOCATIONS):
        raise not_found(
            f"Publisher Model `projects/{path.get('project', '-')}/locations/{location}/"
            f"publishers/google/models/{name}` was not found or your project does not have access "
            "to it. Please ensure you are using a valid model version."
        )
    lists = {"batchEmbedContents": "requests", "predict": "instances"}
    entries = as_mapping(body).get(lists.get(method, ""))
    call.items = len(entries) if isinstance(entries, list) else 1
    call.may_fail()
    return await methods[method](call, spec)


def _vertex_usage(tokens: Counter[Modality]) -> dict[str, object]:
    total = tokens.total()
    return {
        "promptTokenCount": total,
        "promptTokensDetails": token_details(tokens),
        "totalTokenCount": total,
    }


async def _vertex_embed_content(call: _Call, spec: ModelSpec) -> Answer:
    item = read_item(call.body)
    done, tokens = await _embed(call, [item], spec, Backend.VERTEX)
    rest = {"usageMetadata": _vertex_usage(tokens), "truncated": done[0].truncated or None}
    missing = call.missing is not None
    return Answer(200, embedding(done[0].vector, rest, pretty=call.pretty, missing=missing))


async def _vertex_batch_embed_contents(call: _Call, spec: ModelSpec) -> Answer:
    # Not recorded: shaped as google-genai 3.4 reads it.
    requests = items_of(call.body)
    batch_too_long(len(requests))
    items = [
        read_item(request, f"requests[{n}]", f"BatchEmbedContentsRequest.requests[{n}]")
        for n, request in enumerate(requests)
    ]
    if not items:
        return call.answer({})
    done, tokens = await _embed(call, items, spec, Backend.VERTEX)
    missing = None if call.missing is None else call.missing % len(done)
    vectors = [one.vector for one in done]
    usage = _vertex_usage(tokens)
    return Answer(200, embeddings(vectors, usage, pretty=call.pretty, missing=missing))


async def _vertex_count_tokens(call: _Call, _: ModelSpec) -> Answer:
    parts = read_contents(call.body)
    tokens = await asyncio.to_thread(call.state.service.count, parts, Backend.VERTEX)
    letters = sum(len("".join(part.split())) for part in parts if isinstance(part, str))
    return call.answer(
        {
            "totalTokens": tokens.total(),
            "totalBillableCharacters": letters,
            "promptTokensDetails": token_details(tokens),
        }
    )


async def _vertex_predict(call: _Call, spec: ModelSpec) -> Answer:
    """The older form, which 001 is served by: one prediction for each instance."""
    if spec.task_in_prompt:
        raise invalid(f"{spec.id} is not supported by this method: use embedContent.")
    body = as_mapping(call.body)
    parameters = as_mapping(body.get("parameters"))
    instances = body.get("instances")
    items = []
    letters = 0
    for number, instance in enumerate(instances if isinstance(instances, list) else []):
        fields = as_mapping(instance)
        text = fields.get("content")
        letters += len(text) if isinstance(text, str) else 0
        request = {
            "content": {"parts": [{"text": text}]},
            "taskType": fields.get("taskType"),
            "title": fields.get("title"),
            "outputDimensionality": parameters.get("outputDimensionality"),
        }
        items.append(read_item(request, f"instances[{number}]"))
    if not items:
        raise invalid("Empty instances.")
    done, _ = await _embed(call, items, spec, Backend.VERTEX)
    predictions = []
    for one in done:
        values: dict[str, object] = orjson.loads(one.vector.text())
        statistics = {"token_count": sum(one.tokens.values()), "truncated": one.truncated}
        predictions.append({"embeddings": {**values, "statistics": statistics}})
    if call.missing is not None:
        del predictions[call.missing % len(predictions)]["embeddings"]["values"]
    return call.answer(
        {"predictions": predictions, "metadata": {"billableCharacterCount": letters}}
    )


# Everything else -----------------------------------------------------------------------------


def _no_such_page() -> Answer:
    """What Google's front end says to a path or a method that isn't there: not JSON."""
    page = (
        "<!DOCTYPE html>\n<html lang=en>\n  <title>Error 404 (Not Found)!!1</title>\n"
        "  <p><b>404.</b> <ins>That&#39;s an error.</ins>\n"
        "  <p>The requested URL was not found on this server.  <ins>That&#39;s all we know.</ins>\n"
    )
    return Answer(404, [page.encode()], content_type="text/html; charset=UTF-8")


class _Outermost:
    """Puts the connection where a failure can find it: ASGI has no word for dropping it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            # uvicorn's send is a method of the object that holds the transport.
            scope[TRANSPORT] = getattr(getattr(send, "__self__", None), "transport", None)
        await self.app(scope, receive, send)


def application(state: State) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """The ASGI application of an emulator."""
    from starlette.applications import Starlette
    from starlette.routing import Route

    def route(path: str, handler: _Handler, *methods: str) -> Route:
        vertex = "publishers" in path
        backend = Backend.VERTEX if vertex else Backend.GEMINI_API
        return Route(path, _endpoint(state, handler, backend), methods=list(methods))

    routes = [
        route("/{version}/models/{model}:{method}", _model_method, "POST"),
        route(
            "/{version}/projects/{project}/locations/{location}/publishers/google/models/"
            "{model}:{method}",
            _vertex_method,
            "POST",
        ),
        route("/{version}/publishers/google/models/{model}:{method}", _vertex_method, "POST"),
        route("/{version}/models", _list_models, "GET"),
        route("/{version}/models/{model}", _get_model, "GET"),
        route("/{version}/batches", _list_batches, "GET"),
        route("/{version}/batches/{batch}:cancel", _cancel_batch, "POST"),
        route("/{version}/batches/{batch}", _get_batch, "GET"),
        route("/{version}/batches/{batch}", _delete_batch, "DELETE"),
        route("/upload/{version}/files", _upload, "POST", "PUT"),
        route("/{version}/files", _list_files, "GET"),
        route("/{version}/files/{file}:download", _download_file, "GET"),
        route("/{version}/files/{file}", _get_file, "GET"),
        route("/{version}/files/{file}", _delete_file, "DELETE"),
        # Without a version, so that it's answered with 404.
        route("/{anything:path}", _get_model, "GET", "POST", "DELETE", "PUT", "PATCH"),
    ]
    app: Starlette = Starlette(routes=routes)
    return _Outermost(app)
