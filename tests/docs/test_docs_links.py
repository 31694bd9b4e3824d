"""Links between the pages of the repository, to files and headings, as the repository's web page shows them."""

import itertools
import re

import doc_blocks
import pytest
from doc_blocks import ROOT

import afterkernel as ak

PAGES = [*doc_blocks.PAGES, ROOT / "CHANGELOG.md"]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def anchor(heading):
    """The anchor of a heading on the repository's web page."""
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


def anchors(page):
    # A line of code that begins with # is no heading.
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return {anchor(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def fault(page, link):
    path, _, heading = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if path == "changelog.md" or not target.is_relative_to(ROOT) or not target.exists():
        return f"{page.relative_to(ROOT)} links to {link}, which does not exist"
    if heading and target.suffix == ".md" and heading not in anchors(target):
        return f"{page.relative_to(ROOT)} links to {link}, a heading that {target.name} does not have"
    return None


def test_every_link_leads_somewhere():
    found = [(page, link) for page in PAGES for link in LINK.findall(FENCE.sub("", page.read_text()))]
    inside = [(page, link) for page, link in found if not link.startswith(("http://", "https://"))]
    assert len(inside) > 100
    assert not [text for page, link in inside if (text := fault(page, link))]


@pytest.mark.parametrize("link", ["docs/nowhere.md", "docs/concepts.md#no-such-heading", "../README.md"])
def test_a_broken_link_is_found(link):
    assert fault(ROOT / "README.md", link)


def test_the_version_is_the_package_s():
    for name in ("docs/index.md", "CITATION.cff", "CHANGELOG.md", "pyproject.toml"):
        assert re.search(rf"\b{re.escape(ak.__version__)}\b", (ROOT / name).read_text()), name


def test_the_api_page_has_every_public_name():
    text = (ROOT / "docs" / "api.md").read_text()
    assert [name for name in ak.__all__ if f"ak.{name}" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_list_has_an_empty_line_before_it(page):
    """Without one the site shows its items as text."""
    lines = FENCE.sub("", page.read_text()).splitlines()
    for before, line in itertools.pairwise(lines):
        if re.match(r"- |\d+\. ", line):
            assert re.match(r"$|#|\s*(- |\d+\. |  )", before), line
