"""Links resolve to plain files under ``media_root`` and to nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemini2_core.content.paths import link_to, resolve_path
from gemini2_core.errors import (
    ConfigurationError,
    InvalidInputError,
    MediaAccessError,
    MediaNotFoundError,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "media"
    (root / "figures").mkdir(parents=True)
    (root / "figures" / "fuel pump.png").write_bytes(b"x")
    (root / "100%.png").write_bytes(b"x")
    (tmp_path / "secret.txt").write_text("secret")
    return root


def test_links_are_percent_decoded(root: Path) -> None:
    expected = (root / "figures" / "fuel pump.png").resolve()
    assert resolve_path("figures/fuel%20pump.png", root) == expected
    assert resolve_path("figures/fuel pump.png", root) == expected
    assert resolve_path("./figures//fuel%20pump.png#t=3", root) == expected
    assert resolve_path("100%25.png", root) == (root / "100%.png").resolve()


def test_an_absolute_path_counts_inside_the_root_only(root: Path) -> None:
    inside = root / "figures" / "fuel pump.png"
    assert resolve_path(str(inside), root) == inside.resolve()
    with pytest.raises(MediaAccessError):
        resolve_path(str(root.parent / "secret.txt"), root)


@pytest.mark.parametrize(
    "link",
    [
        "../secret.txt",
        "%2e%2e/secret.txt",
        "figures/../../secret.txt",
        "figures/../100%25.png",
        "..%2fsecret.txt",
        "/etc/passwd",
        "//server/share",
        "file:///etc/passwd",
        "FILE:x",
        "C:/x",
        "..\\secret.txt",
        "%2e%2e%5csecret.txt",
        "a%00.png",
        "a\0.png",
        "a%0a.png",
        "figures",
        ".",
    ],
)
def test_links_out_of_the_root_are_refused(root: Path, link: str) -> None:
    with pytest.raises(MediaAccessError) as caught:
        resolve_path(link, root)
    assert str(root) not in str(caught.value)


def test_symbolic_links_count_by_where_they_lead(root: Path) -> None:
    (root / "in.png").symlink_to(root / "100%.png")
    (root / "out.txt").symlink_to(root.parent / "secret.txt")
    (root / "nowhere").symlink_to(root.parent / "not-there")
    (root / "up").symlink_to(root.parent)
    (root / "loop").symlink_to(root / "loop")
    assert resolve_path("in.png", root) == (root / "100%.png").resolve()
    for link in ("out.txt", "nowhere", "up/secret.txt", "up/media/../secret.txt"):
        with pytest.raises(MediaAccessError):
            resolve_path(link, root)
    with pytest.raises(InvalidInputError):
        resolve_path("loop", root)


def test_a_root_that_is_itself_a_symbolic_link_works(root: Path) -> None:
    other = root.parent / "other"
    other.symlink_to(root)
    assert resolve_path(str(other / "100%.png").replace("%", "%25"), other).name == "100%.png"


def test_devices_and_fifos_are_refused(root: Path) -> None:
    os.mkfifo(root / "fifo")
    with pytest.raises(MediaAccessError):
        resolve_path("fifo", root)
    with pytest.raises(MediaAccessError):
        resolve_path("/dev/zero", Path("/dev"))


@pytest.mark.parametrize("link", ["no.png", "100%25.png/x", "x" * 5000, "\ud800.png", "%ff.png"])
def test_what_is_not_there_is_not_found(root: Path, link: str) -> None:
    with pytest.raises(MediaNotFoundError) as caught:
        resolve_path(link, root)
    assert len(str(caught.value)) < 250


def test_an_empty_link_and_a_missing_root_are_errors(root: Path) -> None:
    for link in ("", "#t=3"):
        with pytest.raises(InvalidInputError):
            resolve_path(link, root)
    with pytest.raises(ConfigurationError):
        resolve_path("a.png", root / "nothing")


names = st.text(
    st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/\\"), min_size=1
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(names.filter(lambda name: name not in (".", "..") and len(name.encode()) < 200))
def test_resolving_is_the_inverse_of_link_to(root: Path, name: str) -> None:
    path = root / "figures" / name
    path.write_bytes(b"")
    assert resolve_path(link_to(path, root), root) == path.resolve()


def test_no_link_names_a_file_outside(root: Path) -> None:
    with pytest.raises(MediaAccessError):
        link_to(root.parent / "secret.txt", root)
