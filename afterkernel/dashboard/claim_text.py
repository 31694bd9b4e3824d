"""The text of a claim on a dashboard, in Markdown: the texts and the verdict of the HTML page."""

from __future__ import annotations

from collections.abc import Sequence

from afterkernel.claims import CLAIMS, Finding
from afterkernel.claims.verdict import SHOWN
from afterkernel.report.claim_cards import summarise_parts

NOT_REQUESTED = "not tested"


def finding_on(name: str, findings: Sequence[Finding]) -> Finding | None:
    """The finding on a claim; None if the sweep does not include it."""
    return next((finding for finding in findings if finding.claim.name == name), None)


def verdict(name: str, findings: Sequence[Finding]) -> str:
    """The verdict on a claim; "not tested" if the sweep does not include it."""
    found = finding_on(name, findings)
    return NOT_REQUESTED if found is None else found.verdict


def claim_text(name: str, findings: Sequence[Finding], *, partial: bool) -> str:
    """A claim's statement, verdict, comparison and rule; a verdict is provisional if runs are missing (`partial`)."""
    claim, found = CLAIMS[name], finding_on(name, findings)
    if found is None:
        texts = [claim.statement, f"**Verdict: {NOT_REQUESTED} by this sweep.**"]
    else:
        provisional = " (provisional)" if partial and found.verdict in SHOWN else ""
        parts = [
            f"- **{part.title}: {part.verdict}.** "
            + "".join(f"{text}. " for text in (part.effect, part.elsewhere, part.detectable) if text)
            + f"{part.reason}."
            for part in summarise_parts(found)
        ]
        texts = [claim.statement, f"**Verdict: {found.verdict}{provisional}. {found.reason}.**", "\n".join(parts)]
    return "\n\n".join([*texts, f"**Compared:** {claim.comparison}", f"**Rule:** {claim.rule}"])
