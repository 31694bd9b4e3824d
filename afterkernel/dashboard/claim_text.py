"""What a dashboard says of a claim, in Markdown: the words and the verdict of the HTML page."""

from __future__ import annotations

from collections.abc import Sequence

from afterkernel.claims import HYPOTHESES, Finding
from afterkernel.report import claims

NOT_ASKED = "not asked"


def verdict(name: str, findings: Sequence[Finding]) -> str:
    """The verdict on a claim; "not asked" where the sweep leaves it out."""
    return next((str(one.verdict) for one in findings if one.hypothesis.name == name), NOT_ASKED)


def claim(name: str, findings: Sequence[Finding], *, partial: bool) -> str:
    """The statement of a claim, what is compared, the rule, and what these runs say; provisional where some lack."""
    hypothesis = HYPOTHESES[name]
    found = next((one for one in findings if one.hypothesis.name == name), None)
    parts = [
        hypothesis.statement,
        f"**Verdict: {_told(found, partial=partial)}**",
        f"**Compared:** {hypothesis.comparison}",
        f"**Rule:** {hypothesis.rule}",
    ]
    if found is not None:
        lines = [
            f"- **{line.title}: {line.verdict}.** {f'{line.effect}. ' if line.effect else ''}{line.reason}."
            for line in claims.part_lines(found)
        ]
        parts.insert(2, "\n".join(lines))
    return "\n\n".join(parts)


def _told(found: Finding | None, *, partial: bool) -> str:
    if found is None:
        return f"{NOT_ASKED} of this sweep."
    provisional = partial and found.verdict in ("confirmed", "refuted")
    return f"{found.verdict}{' (provisional)' if provisional else ''}. {found.reason}."
