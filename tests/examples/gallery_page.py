"""The pictures of the examples and docs/gallery.md: `python tests/examples/gallery_page.py [NAME ...]` makes them.

With names, only the pictures of these examples are drawn. The text of the page comes from the examples, its alternative
texts from the pictures, which hold their finding and a hash of the example that drew them.
"""

from __future__ import annotations

import hashlib
import os
import runpy
import sys
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parents[2]
EXAMPLES, PICTURES, PAGE = ROOT / "examples", ROOT / "docs" / "images" / "gallery", ROOT / "docs" / "gallery.md"
# In the order of the page, with the extra of the package that an example needs.
NAMES = {
    "own_training_loop": "",
    "lazy_and_rich": "",
    "kernel_dynamics": "",
    "label_alignment": "",
    "noisy_labels": "",
    "layers": "",
    "invariances": "",
    "ten_classes": "",
    "sequence_classifier": "families",
    "lora": "families",
    "physics_informed": "",
    "scikit_learn": "",
    "operator_lanczos": "",
    "sketches": "",
}
_HEAD = """# Gallery

{count} short programs, each with a question, a picture and its code, in the folder `examples`. Data are the digits of
scikit-learn, or made up, so nothing is downloaded. Each takes some ten seconds on one core.

```sh
python examples/{first}.py    # prints its finding and saves {first}.png
make gallery                             # draws all pictures and writes this page
```

With `--small` an example computes less: a first look in a second or two, whose finding may differ.
Titles of pictures are computed from the numbers that the program has just measured. `examples/common.py` has what
all of them share: the digits, a training loop and the style of the pictures.

"""


def load(name: str) -> dict[str, Any]:
    """The names that an example defines, without running its command line."""
    if str(EXAMPLES) not in sys.path:
        sys.path.insert(0, str(EXAMPLES))
    return runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name=name)


def source_sha256(name: str) -> str:
    """A hash of what an example's picture follows from."""
    return hashlib.sha256(b"".join((EXAMPLES / f"{one}.py").read_bytes() for one in (name, "common"))).hexdigest()


def draw(name: str) -> None:
    """Run an example and save its picture, with its finding and the hash of the example."""
    example = load(name)
    chart = example["picture"](example["compute"](False))
    finding = " ".join(f"{one}." for one in (chart.title.text, chart.title.subtitle))
    load("common")["save"](chart, PICTURES / f"{name}.png", Description=finding, Source=source_sha256(name))


def notes(name: str) -> dict[str, str]:
    """The texts that a picture holds."""
    with Image.open(PICTURES / f"{name}.png") as image:
        return dict(image.text)  # type: ignore[attr-defined]


def page() -> str:
    """docs/gallery.md, from the examples and their pictures."""
    parts = {name: _parts(name) for name in NAMES}
    contents = "".join(
        f"- [{title}](#{_anchor(title)}): {prose.partition('?')[0]}?\n" for title, prose, _ in parts.values()
    )
    return _HEAD.format(count=len(NAMES), first=next(iter(NAMES))) + contents + "".join(map(_section, NAMES))


def _parts(name: str) -> tuple[str, str, str]:
    """Title, prose and code of an example."""
    _, docstring, code = (EXAMPLES / f"{name}.py").read_text().split('"""', 2)
    title, _, prose = docstring.partition("\n")
    return title, prose.strip().replace("\n\n", "\0").replace("\n", " ").replace("\0", "\n\n"), code.strip()


def _anchor(title: str) -> str:
    return "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c == "-")


def _section(name: str) -> str:
    title, prose, code = _parts(name)
    extra = f" It needs the extra `{NAMES[name]}`: `pip install 'afterkernel[{NAMES[name]}]'`." if NAMES[name] else ""
    finding = notes(name)["Description"].replace("[", "(").replace("]", ")")
    return (
        f"\n## {title}\n\n{prose}\n\n![{finding}](images/gallery/{name}.png)\n\n"
        f"Run it with `python examples/{name}.py`.{extra}\n\n```python\n{code}\n```\n"
    )


if __name__ == "__main__":
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    for chosen in sys.argv[1:] or NAMES:
        draw(chosen)
        print(f"{chosen}: {notes(chosen)['Description']}", flush=True)
    PAGE.write_text(page())
