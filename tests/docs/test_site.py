"""The site of the docs: it builds without a warning, is whole, and fetches nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import langchain_ptc
import langchain_ptc.display
import langchain_ptc.testing
from tests.support import ROOT
from tests.support.waiting import SECONDS

DOCS = ROOT / "docs"
FETCHED = {"src", "srcset", "data", "poster", "action", "xlink:href"}
"""Attributes whose address the browser loads by itself; of a `link` it is `href`."""

pytestmark = pytest.mark.slow


@dataclass
class Page(HTMLParser):
    """What one page of the site holds and asks for."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    inline: list[str] = field(default_factory=list)
    """Text of its scripts and styles."""

    def __post_init__(self) -> None:
        super().__init__()
        self._is_inline = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._is_inline = tag in ("script", "style")
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            elif name == "href" and tag == "a":
                self.links.append(value or "")
            elif name in FETCHED or (name == "href" and tag != "a"):
                self.fetched.append(value or "")
            elif name == "style":
                self.inline.append(value or "")

    def handle_data(self, data: str) -> None:
        if self._is_inline:
            self.inline.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._is_inline = False


@dataclass(frozen=True)
class Build:
    """What came of building the site."""

    site: Path
    exit_code: int
    told: str


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """The site, built as `make docs` builds it."""
    built = tmp_path_factory.mktemp("site")
    options = ["-W", "--keep-going", "-n", "-q", "-j", "auto", "-d", str(built / "doctrees")]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(DOCS), str(built / "html")],
        check=False,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    return Build(site=built / "html", exit_code=done.returncode, told=done.stdout + done.stderr)


@pytest.fixture(scope="module")
def site(build: Build) -> Path:
    """The folder of the site."""
    return build.site


@pytest.fixture(scope="module")
def pages(site: Path) -> Mapping[Path, Page]:
    """Every page of the site, read."""
    read = {}
    for path in sorted(site.rglob("*.html")):
        page = read[path] = Page()
        page.feed(path.read_text("utf-8"))
    return read


def find_sources() -> Iterator[Path]:
    """Find what must become a page."""
    for path in DOCS.rglob("*.md"):
        if "_build" not in path.parts:
            yield path.relative_to(DOCS)
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        yield path.relative_to(ROOT)


def test_it_builds_without_a_warning(build: Build) -> None:
    """A warning of the generator is an error."""
    assert build.exit_code == 0, build.told


def test_every_page_is_there(site: Path) -> None:
    """Each page of the docs and each notebook is a page of the site."""
    missing = [str(p) for p in find_sources() if not (site / p.with_suffix(".html")).is_file()]
    assert not missing


def test_links_lead_somewhere(site: Path, pages: Mapping[Path, Page]) -> None:
    """Each link within the site leads to a page that is there, and to a place on it."""
    broken = []
    for path, page in pages.items():
        for link in page.links:
            address = urlsplit(link)
            if address.scheme or address.netloc:
                continue
            target = (path.parent / unquote(address.path)).resolve() if address.path else path
            if not target.is_relative_to(site.resolve()) or not target.is_file():
                broken.append(f"{path.relative_to(site)}: {link}")
            elif address.fragment and target in pages:
                is_there = unquote(address.fragment) in pages[target].ids
                broken += [] if is_there else [f"{path.relative_to(site)}: {link}"]
    assert not broken


def find_fetched(page: Page) -> list[str]:
    """Find what the browser loads from another server to show a page."""
    return [address for address in page.fetched if urlsplit(address).netloc] + find_in_style(
        "\n".join(page.inline)
    )


def find_in_style(text: str) -> list[str]:
    """Find what a style loads from another server."""
    return re.findall(r"(?:url\(\s*['\"]?|@import\s+['\"])((?:https?:)?//[^)\s'\"]+)", text)


def test_nothing_is_fetched_from_elsewhere(site: Path, pages: Mapping[Path, Page]) -> None:
    """No script, style, font or picture comes from another server."""
    found = {str(path.relative_to(site)): find_fetched(page) for path, page in pages.items()}
    for path in site.rglob("*.css"):
        found[str(path.relative_to(site))] = find_in_style(path.read_text("utf-8"))
    assert not {path: addresses for path, addresses in found.items() if addresses}


@pytest.mark.parametrize(
    "html",
    [
        pytest.param('<script src="https://cdn.example/x.js"></script>', id="script"),
        pytest.param('<link rel="stylesheet" href="//cdn.example/x.css">', id="style"),
        pytest.param("<style>@import 'https://cdn.example/x.css';</style>", id="import"),
        pytest.param("<style>a{src:url(https://cdn.example/x.woff2)}</style>", id="font"),
        pytest.param('<img src="http://cdn.example/x.png">', id="picture"),
        pytest.param('<p style="background:url(https://cdn.example/x.png)">', id="attribute"),
    ],
)
def test_what_is_fetched_is_found(html: str) -> None:
    """Each way in which a page can load something from elsewhere is seen."""
    page = Page()
    page.feed(f'<a href="https://example.org">a link loads nothing</a>{html}')
    assert [urlsplit(address).netloc for address in find_fetched(page)] == ["cdn.example"]


def test_every_public_name_has_one_entry(site: Path, pages: Mapping[Path, Page]) -> None:
    """Each public name is documented, on one page of the API reference."""
    for module in (langchain_ptc, langchain_ptc.display, langchain_ptc.testing):
        for name in module.__all__:
            entry = f"{module.__name__}.{name}"
            homes = [path.relative_to(site) for path, page in pages.items() if entry in page.ids]
            assert [str(home.parent) for home in homes] == ["api"], (entry, homes)
