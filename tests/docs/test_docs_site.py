"""The hooks of the site: what they make of links that leave docs/."""

import importlib.util
import types

import pytest
from doc_blocks import ROOT

pytest.importorskip("mkdocs", reason="mkdocs is not installed: make test-docs has it")
pytest.importorskip("latex2mathml", reason="latex2mathml is not installed: make test-docs has it")


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "site" / "hooks.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def page(text):
    return types.SimpleNamespace(file=types.SimpleNamespace(src_uri="how-to/a.md"), text=text)


def test_a_link_to_a_folder_leads_to_a_list_of_its_files(hooks):
    shown = hooks._source("examples", "contributing.md")
    assert shown.startswith("# examples")
    assert all(f"- `{path.name}`" in shown for path in (ROOT / "examples").glob("*.py"))
    one = page("[a](../../examples) [b](../../.ci/run)")
    assert hooks.on_page_markdown(one.text, one) == "[a](../source/examples.md) [b](../source/ci/run.md)"


def test_a_link_to_nothing_names_the_page(hooks):
    from mkdocs.exceptions import PluginError

    with pytest.raises(PluginError, match=r"how-to/a\.md links to nowhere\.py, which is no file or folder"):
        hooks._source("nowhere.py", "how-to/a.md")
