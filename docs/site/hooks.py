"""Hooks of MkDocs: the changelog, the repository's files as pages, formulas as MathML, and a check of the result."""

from __future__ import annotations

import html
import posixpath
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\]\(((?:\.\./)+[^)#\s]+)")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
# What a browser loads by itself, from another host.
LOADED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?(?:https?:)?//[^"'\s>]+"""
    r"""|<link\b(?=[^>]*\brel=["']?(?:stylesheet|preload|preconnect|icon))[^>]*\bhref=["']?(?:https?:)?//[^"'\s>]+"""
)
# A tag that neither Markdown nor mkdocstrings makes is text such as <w, x>, which a browser would not show.
UNKNOWN_TAG = re.compile(
    r"<(?!(?:a|abbr|autoref|b|blockquote|br|code|del|details|div|em|h[1-6]|hr|img|input|kbd|label|li|nav|ol|p|path|pre"
    r"|small|span|strong|sub|summary|sup|svg|table|tbody|td|th|thead|tr|ul)[\s/>])[a-zA-Z][^\s/>]*"
)
LANGUAGES = {".yaml": "yaml", ".py": "python", ".sh": "bash", ".toml": "toml", ".cff": "yaml", ".j2": "jinja"}


def on_config(config: Any) -> Any:
    """The version, in the foot of every page."""
    package = (ROOT / "afterkernel" / "__init__.py").read_text()
    config.copyright = f"afterkernel {re.search(r'__version__ = .(.+?).$', package, re.MULTILINE)[1]}"  # type: ignore[index]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the changelog, and one page for each file of the repository that a page links to."""
    files.append(File.generated(config, "changelog.md", content=(ROOT / "CHANGELOG.md").read_text()))
    linked = {
        name: page.src_uri
        for page in files.documentation_pages()
        for _, name in _outside(page.src_uri, page.content_string)
    }
    for name, page in sorted(linked.items()):
        if name != "CHANGELOG.md":
            files.append(File.generated(config, _shown(name), content=_source(name, page)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links to files of the repository at the pages that show them, and read Markdown in <details>."""
    markdown = markdown.replace("<details>", '<details markdown="1">')
    for link, name in _outside(page.file.src_uri, markdown):
        target = posixpath.relpath(_shown(name), posixpath.dirname(page.file.src_uri) or ".")
        markdown = markdown.replace(f"]({link}", f"]({target}")
    return markdown


def on_page_content(text: str, page: Any, **_: Any) -> str:
    """Formulas as MathML, which browsers show without a script or a font. Refuses text that looks like a tag."""
    if unknown := sorted(set(UNKNOWN_TAG.findall(text))):
        raise PluginError(f"{page.file.src_uri}: text that looks like a tag, write it as a formula or code: {unknown}")
    return FORMULA.sub(_mathml, text)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Refuse a page that would load something from another host."""
    if found := LOADED.search(output):
        raise PluginError(f"{page.file.src_uri} loads something from another host: {found[0]}")
    return output


def _outside(page: str, markdown: str) -> list[tuple[str, str]]:
    """The links of a page that leave docs/, with the files of the repository that they mean."""
    found = []
    for match in LINK.finditer(markdown):
        name = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), match[1]))
        if not name.startswith("docs/"):
            found.append((match[1], name))
    return found


def _shown(name: str) -> str:
    """The page that shows a file or folder of the repository."""
    return (
        "changelog.md" if name == "CHANGELOG.md" else f"source/{name.lstrip('.')}.md"
    )  # MkDocs leaves dotted names out


def _source(name: str, page: str) -> str:
    """The Markdown that shows a file, or lists the files of a folder, to which a page links."""
    path = ROOT / name
    if path.is_dir():
        listed = sorted(each.name for each in path.iterdir() if each.is_file() and not each.name.startswith("."))
        return "\n".join(
            [
                f"# {name}",
                "",
                "The files of this folder of the repository:",
                "",
                *(f"- `{each}`" for each in listed),
                "",
            ]
        )
    if not path.is_file():
        raise PluginError(f"{page} links to {name}, which is no file or folder of the repository")
    if path.suffix == ".md":
        return path.read_text()
    language = LANGUAGES.get(path.suffix, "text")
    return f"---\ntitle: {path.name}\n---\n\n# {name}\n\n````{language}\n{path.read_text()}\n````\n"


def _mathml(match: re.Match[str]) -> str:
    display = "block" if match[1] == "div" else "inline"
    return convert(html.unescape(match[2]), display=display)
