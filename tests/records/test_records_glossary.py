"""The glossary has every column and measure, and is what the page of definitions shows."""

import definitions_page
import pytest

from afterkernel.measures import Measure
from afterkernel.records import glossary
from afterkernel.records.columns import COLUMNS


def test_it_has_every_column_once_and_no_other():
    names = [term.name for term in glossary.TERMS]
    assert len(names) == len(set(names))
    # What a record came from is not a column of the results.
    assert set(names) == {column.name for column in COLUMNS} - {"config", "provenance"} | {"schema_version"}
    assert {term.topic for term in glossary.TERMS} == set(glossary.TOPICS) - {"other", "training"}


def test_the_page_of_definitions_is_drawn_from_it():
    text = definitions_page.DOCS.read_text()
    assert text.count("| name | meaning | unit |") == 2
    assert text == definitions_page.page(text), "run python tests/records/definitions_page.py"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wall_s_svm", "time of the SVM (s)"),
        ("margin", "margin of the SVM on the normalised embedding; the smallest over classes"),
        ("shift_2px_invariance", "invariance under a shift by 2 pixels (mean cosine in [-1, 1])"),
        ("rotation_0.5rad_invariance", "invariance under a rotation by 0.5 rad (mean cosine in [-1, 1])"),
        ("eigenvalue_10", "eigenvalue 10 of K / n"),
        ("alignment_with_ntk", "alignment with ntk of the snapshot"),
        ("alignment_with_centred_ntk", "alignment with centred_ntk of the snapshot"),
        ("cka_with_initial_centred_ntk", "CKA with centred_ntk at epoch 0"),
        ("layers.1/effective_rank", "effective rank: trace / largest eigenvalue, layer layers.1"),
    ],
)
def test_a_name_has_its_words(name, words):
    assert glossary.term(name).heading == words


def test_a_definition_says_which_kernel_it_compares_with():
    found = {when: glossary.term(f"alignment_with_{when}ntk").definition for when in ("", "initial_")}
    assert found == {
        "": "the cosine between the kernel matrix and that of ntk of the snapshot (Frobenius)",
        "initial_": "the cosine between the kernel matrix and that of ntk at epoch 0 (Frobenius)",
    }


def test_a_measure_declares_the_words_of_its_numbers(monkeypatch):
    monkeypatch.setattr(glossary, "_PATTERNS", [*glossary._PATTERNS])

    class Sharpness(Measure):
        terms = (
            glossary.Term("NTK_sharpness", "sharpness of the NTK", "1 / step", "spectrum"),
            glossary.Term("sharpness_N", "sharpness after N steps", "", "spectrum"),
        )

    assert glossary.term("NTK_sharpness").heading == "sharpness of the NTK (1 / step)"
    found = glossary.term("layers.1/sharpness_20")
    assert (found.heading, found.topic) == ("sharpness after 20 steps, layer layers.1", "spectrum")


@pytest.mark.parametrize("name", ["eigenvalue_", "eigenvalue_N", "my_own_measure", "shift_px_invariance"])
def test_an_undeclared_measure_is_called_by_its_name(name):
    found = glossary.term(name)
    assert (found.heading, found.topic) == (name.replace("_", " "), "other")
    assert glossary.term(f"layers.1/{name}").heading == f"{name.replace('_', ' ')}, layer layers.1"
