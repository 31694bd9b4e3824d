"""Which views are updated and which are created again, and what is stored about them."""

import json

import pytest

from afterkernel.dashboard import remote
from afterkernel.errors import UserError


class View:
    """A workspace or a report as wandb-workspaces has them, on a server that knows these URLs."""

    known: dict = {}  # noqa: RUF012
    _internal_name = _internal_id = id = ""

    @classmethod
    def from_url(cls, url):
        if url not in cls.known:
            raise ValueError("not found")
        found = cls()
        found._internal_name, found._internal_id, found.id = cls.known[url]
        return found

    def save(self):
        self._internal_name = self._internal_name or "new"
        self._internal_id = self._internal_id or "new"
        self.id = self.id or "new"

    @property
    def url(self):
        return f"{self._internal_name}-{self._internal_id}-{self.id}"


@pytest.mark.parametrize(
    ("known", "urls"),
    [
        ({}, {"workspace": "new-new-new", "report": "new-new-new"}),
        ({"w": ("a", "b", "c")}, {"workspace": "a-b-new", "report": "new-new-new"}),
        ({"r": ("a", "b", "c")}, {"workspace": "new-new-new", "report": "new-new-c"}),
        ({"w": ("a", "b", "c"), "r": ("d", "e", "f")}, {"workspace": "a-b-new", "report": "new-new-f"}),
    ],
)
def test_known_views_are_updated_and_deleted_ones_are_created_again(tmp_path, monkeypatch, known, urls):
    monkeypatch.setattr(View, "known", known)
    other = {"me/other": {"workspace": "x"}}
    (tmp_path / "saved.json").write_text(json.dumps(other | {"me/mine": {"workspace": "w", "report": "r"}}))
    assert remote.save(tmp_path, "me", "mine", View(), View) == urls
    assert json.loads((tmp_path / "saved.json").read_text()) == other | {"me/mine": urls}
    # Another project has separate views.
    assert remote.save(tmp_path, "us", "mine", View(), View)["workspace"] == "new-new-new"


def test_what_was_saved_is_remembered_where_the_rest_fails(tmp_path):
    def report():
        raise ConnectionError("gone")

    with pytest.raises(UserError, match=r"W&B did not accept the dashboard \(gone\)"):
        remote.save(tmp_path, "me", "mine", View(), report)
    assert json.loads((tmp_path / "saved.json").read_text()) == {"me/mine": {"workspace": "new-new-new"}}


def test_a_list_of_another_kind_is_refused(tmp_path):
    (tmp_path / "saved.json").write_text("[1]")
    with pytest.raises(UserError, match=r"saved.json holds no URLs by project: remove it"):
        remote.saved_urls(tmp_path)
