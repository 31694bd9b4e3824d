"""The tables of columns in docs/definitions.md: `python tests/records/definitions_page.py` writes them."""

import re
from pathlib import Path

from afterkernel.records import glossary

DOCS = Path(__file__).parents[2] / "docs" / "definitions.md"
_TABLE = re.compile(r"\| name \| meaning \| unit \|\n(?:\|.*\n)+")


def page(text: str) -> str:
    """The page with its tables as the glossary has them."""
    tables = iter([glossary.markdown(glossary.TERMS), glossary.markdown(glossary.MEASURE_TERMS)])
    return _TABLE.sub(lambda _: next(tables) + "\n", text)


if __name__ == "__main__":
    DOCS.write_text(page(DOCS.read_text()))
