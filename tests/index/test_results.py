"""A result list in a notebook: what is shown, and that a payload can't draw anything itself."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

from gemini2_core.index import Hit, Results


class Tags(HTMLParser):
    """The elements and attribute names of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

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
    assert 'src="http' not in html


def test_a_changed_or_missing_medium_doesnt_hide_the_rest(media_root: Path) -> None:
    hit = Hit("a", {"text": 'Before ![gone](gone.png) ![old](pump.png "sha256:00") after'})
    text = " ".join(shown(Results([hit, hit], media_root=media_root)).texts)
    assert text.count("Before") == text.count("after") == 2


def test_an_empty_list_says_so() -> None:
    assert "no results" in Results()._repr_html_()
