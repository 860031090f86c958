"""What an agent's search is made of: kinds of chunks, arguments that can be read, a budget."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemini2_core.errors import ConfigurationError, InvalidInputError
from gemini2_core.index.asking import Asking
from gemini2_core.index.modalities import modalities_of, modality_filter
from gemini2_core.index.telling import Answer, Limits, heading, rule_for
from gemini2_core.model import Modality

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
arguments = st.dictionaries(
    st.sampled_from(["query", "filters", "modality", "k", "file", "x"]),
    values | st.dictionaries(st.sampled_from(["page", "source", "y"]), values),
)


@pytest.mark.parametrize(
    ("text", "metadata", "kinds"),
    [
        ("Wash the screen.", {}, ["text"]),
        ("# Strainer\n\n![section](a.png)", {}, ["image"]),
        ("# Strainer", {}, ["text"]),
        ("", {}, []),
        ("Listen ![](a.wav#t=1,2) and see ![](b.MP4)", {}, ["text", "audio", "video"]),
        ("`![not a link](a.png)`", {}, ["text"]),
        ("![](data:application/pdf;base64,AAAA)", {}, ["document"]),
        ("![](gs://bucket/a.jpeg)", {}, ["image"]),
        ("![](a.bin)", {"media": json.dumps([{"mime_type": "audio/x-wav"}])}, ["audio"]),
        ("![](a.png)", {"media": [{"mime_type": "video/mp4"}]}, ["video"]),
        ("![](a.png)", {"media": "not JSON"}, ["image"]),
        ("words", {"media": '[{"mime_type": 3}, "x"]'}, ["text"]),
    ],
)
def test_a_chunk_says_what_it_holds(
    text: str, metadata: dict[str, object], kinds: list[str]
) -> None:
    assert modalities_of(text, metadata) == kinds
    assert "video" in modalities_of(text, metadata, [Modality.VIDEO])


def test_an_unknown_modality_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="text, image, audio, video, document"):
        modality_filter("smell")


@settings(max_examples=50)
@given(arguments)
def test_any_arguments_are_read_or_refused_in_words(arguments: dict[str, object]) -> None:
    asking = Asking(fields={"page": int, "source": ["a.md", "b.md"]}, max_k=5)
    try:
        asked = asking.read(arguments)
    except InvalidInputError as error:
        assert "wrong" in error.message or "query" in error.message  # noqa: PT017  # either way
        return
    assert asked.query
    assert 1 <= asked.k <= 5
    assert set(asked.fields) <= {"page", "source"}
    json.dumps(asked.filter({"owner": "me"}, prefix="metadata"))


@pytest.mark.parametrize("number", [2**63, -(10**30), float("inf"), float("nan")])
def test_a_number_that_no_engine_takes_is_refused_in_words(number: float) -> None:
    asking = Asking(fields={"page": int, "weight": float})
    for field in ("page", "weight"):
        if field == "weight" and isinstance(number, int):
            continue
        for condition in (number, {"gte": number}):
            with pytest.raises(InvalidInputError, match=rf"filters.{field}: .*Try again"):
                asking.read({"query": "pump", "filters": {field: condition}})
    largest = {"query": "pump", "filters": {"page": 2**63 - 1, "weight": -1e300}}
    assert asking.read(largest).fields == {"page": 2**63 - 1, "weight": -1e300}


@pytest.mark.parametrize(
    "field", [{"type": "integer"}, {"a", "b"}, 5, None, "text", [], str | None, [[1]], b"ab"]
)
def test_a_field_that_is_no_field_is_the_developers_mistake(field: object) -> None:
    with pytest.raises(ConfigurationError, match="field 'page'"):
        Asking(fields={"page": field})  # type: ignore[dict-item]  # that is the point


def test_a_field_needs_a_name_in_words() -> None:
    for name in ("", "$or", "must", 1):
        with pytest.raises(ConfigurationError, match="can't be called"):
            Asking(fields={name: str})  # type: ignore[dict-item]  # that is the point


@settings(max_examples=50)
@given(arguments)
def test_what_always_holds_is_never_lost(arguments: dict[str, object]) -> None:
    asking = Asking(fields={"page": int, "source": str})
    try:
        asked = asking.read(arguments)
    except InvalidInputError:
        return
    own = {"key": "owner", "match": {"value": "me"}}
    where = asked.filter({"owner": "me"})
    assert where is not None
    conditions = where["must"]
    assert isinstance(conditions, list)
    assert own in conditions or {"must": [own]} in conditions


@settings(max_examples=50)
@given(
    st.lists(
        st.text(max_size=30) | st.tuples(st.sampled_from(Modality), st.integers(0, 50)), max_size=12
    )
)
def test_an_answer_keeps_its_budget_and_says_what_it_leaves_out(
    parts: list[str | tuple[Modality, int]],
) -> None:
    answer: Answer[tuple[int, int]] = Answer(Limits(frozenset({"image", "audio"}), 2, 60, 40))
    for at, part in enumerate(parts):
        if isinstance(part, str):
            answer.quote(part)
        else:
            answer.show((at, part[1]), part[0], "a/b", part[1], str(at))
    shown = [part for part in answer.parts if not isinstance(part, str)]
    words = "".join(part for part in answer.parts if isinstance(part, str))
    given_media = [part for part in parts if not isinstance(part, str)]
    assert len(shown) <= 2
    assert sum(size for _, size in shown) <= 60
    assert len(shown) + words.count("a/b") == len(given_media)
    assert shown == sorted(shown)
    for one, other in zip(answer.parts, answer.parts[1:], strict=False):
        assert not (isinstance(one, str) and isinstance(other, str))


def test_all_texts_together_keep_the_budget() -> None:
    answer: Answer[int] = Answer(Limits(frozenset(), 9, 900, 10))
    for text in ("1234567", "abcdefg", "xyz"):
        answer.quote(text)
    (said,) = answer.parts
    assert said == (
        "1234567\n\nabc\n[left out: 4 more characters of text]\n\n"
        "[left out: 3 more characters of text]"
    )


def test_a_medium_is_shown_once() -> None:
    answer: Answer[int] = Answer(Limits(frozenset({"image"}), 9, 900, 90))
    for at, data in enumerate(["one", "two", "one", "", ""]):
        answer.show(at, Modality.IMAGE, "image/png", 1, data)
    assert answer.parts == [0, 1, "[image/png: the same as above]", 3, 4]


@settings(max_examples=50)
@given(st.lists(st.text(), max_size=4), st.text(), st.text())
def test_no_document_holds_the_line_that_begins_a_result(
    texts: list[str], source: str, trail: str
) -> None:
    rule = rule_for(texts)
    assert not any(rule in text for text in texts)
    line = heading(rule, 1, {"source": source, "headings": trail, "page": 3}, 0.5)
    assert len(line.splitlines()) == 1
