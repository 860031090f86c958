"""A result list in a notebook: what is shown, and that a payload can't draw anything itself."""

from __future__ import annotations

import base64
import io
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemini2_core.index import Hit, Results
from gemini2_core.index.page_image import page_image


class Tags(HTMLParser):
    """The elements and attribute names of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.depth = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.depth += tag not in {"img", "br"}

    def handle_endtag(self, tag: str) -> None:
        self.depth -= 1

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def shown(results: Results) -> Tags:
    return Tags(results._repr_html_())


@pytest.fixture
def media_root(tmp_path: Path) -> Path:
    from PIL import Image

    Image.new("RGB", (8, 8), "red").save(tmp_path / "pump.png")
    return tmp_path


def test_scores_trail_text_and_picture_are_shown(media_root: Path) -> None:
    payload: dict[str, object] = {
        "text": "The pump.\n\n![Fuel pump](pump.png)\n\nReplace it.",
        "metadata": {"headings": "Fuel > Pump", "source": "manual.md"},
    }
    page = shown(Results([Hit("a", payload, score=0.75, first_score=0.5)], media_root=media_root))
    text = " ".join(page.texts)
    for wanted in ("0.7500", "first pass 0.5000", "Fuel > Pump", "manual.md", "The pump."):
        assert wanted in text
    assert {"img", "mark"} <= page.tags


def test_without_a_folder_no_file_is_read(media_root: Path) -> None:
    hit = Hit("a", {"page_content": "![x](pump.png)"})
    assert "img" not in shown(Results([hit])).tags


def test_a_page_of_a_pdf_is_shown_as_a_picture(media_root: Path) -> None:
    """Browsers draw no embedded ``data:`` PDF."""
    pytest.importorskip("pypdfium2")
    from PIL import Image

    first, second = Image.new("RGB", (300, 400), "white"), Image.new("RGB", (300, 400), "red")
    first.save(media_root / "two.pdf", save_all=True, append_images=[second])
    first.save(media_root / "one.pdf")
    hits = [Hit("a", {"text": f"![The manual]({name})"}) for name in ("two.pdf", "one.pdf")]
    html = Results(hits, media_root=media_root)._repr_html_()
    assert html.count('src="data:image/jpeg;base64,') == 2
    assert html.count("page 1 of 2") == 1
    assert "embed" not in shown(Results(hits, media_root=media_root)).tags
    (drawn, _) = re.findall(r"base64,([^\"]+)", html)
    with Image.open(io.BytesIO(base64.b64decode(drawn))) as picture:
        assert max(picture.size) == 640


@pytest.mark.parametrize("without", [None, "pypdfium2", "PIL.Image"])
def test_what_cant_be_drawn_is_named(
    media_root: Path, monkeypatch: pytest.MonkeyPatch, without: str | None
) -> None:
    from PIL import Image

    Image.new("RGB", (30, 40)).save(media_root / "page.pdf")
    if without is None:
        monkeypatch.setattr("gemini2_core.index.showing.page_image", lambda _: page_image(b"%PDF"))
    else:
        monkeypatch.setitem(sys.modules, without, None)
    page = shown(Results([Hit("a", {"text": "![A <b>](page.pdf)"})], media_root=media_root))
    assert page.tags <= {"b", "code", "div"}
    assert "[application/pdf: A <b>]" in " ".join(page.texts)


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        '"><svg onload=alert(1)>',
        "![\"><script>](pump.png)",
        "![x](../../etc/passwd)",
        "![x](https://evil.example/x.png)",
        "![\" onerror=\"alert(1)](pump.png)",
        "![x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
        "![x](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9ImFsZXJ0KDEpIi8+)",
        "![x](javascript:alert(1))",
        "![x](file:///etc/passwd)",
        "</div></div><style>*{display:none}</style><form action=//evil.example>",
        "<!-- ",
        "\x00\ud800<iframe src=//evil.example>",
        "&lt;script&gt;<![CDATA[<script>]]>",
    ],
)  # fmt: skip
def test_a_hostile_payload_draws_nothing(media_root: Path, hostile: str) -> None:
    payload: dict[str, object] = {
        "text": hostile,
        "metadata": {"headings": [hostile], "source": hostile, "page": hostile},
    }
    page = shown(Results([Hit(hostile, payload)], media_root=media_root))
    assert page.tags <= {"b", "code", "div", "img", "mark", "small"}
    assert page.attributes <= {"alt", "src", "style", "title"}
    html = Results([Hit(hostile, payload)], media_root=media_root)._repr_html_()
    assert set(re.findall(r'src="([^;"]*)', html)) <= {"data:image/png"}
    assert "root:" not in html
    # What comes after it is still there, and in its own box.
    after = Results([Hit(hostile, payload), Hit("b", {"text": "the next"})], media_root=media_root)
    assert page.depth == 0
    assert "the next" in shown(after).texts


@given(st.text(max_size=80))
def test_any_text_is_shown_as_text(text: str) -> None:
    payload: dict[str, object] = {"text": text, "metadata": {"headings": text}}
    page = shown(Results([Hit("a", payload, score=1)]))
    assert page.tags <= {"b", "code", "div", "mark"}
    assert page.depth == 0


def test_a_changed_or_missing_medium_doesnt_hide_the_rest(media_root: Path) -> None:
    hit = Hit("a", {"text": 'Before ![gone](gone.png) ![old](pump.png "sha256:00") after'})
    text = " ".join(shown(Results([hit, hit], media_root=media_root)).texts)
    assert text.count("Before") == text.count("after") == 2


def test_an_empty_list_says_so() -> None:
    assert "no results" in Results()._repr_html_()
