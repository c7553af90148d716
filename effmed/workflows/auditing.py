"""What the audit of the data finds is told, and stops a training unless the recipe allows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effmed.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effmed.data.audit import Finding
    from effmed.recipe import AuditSettings
    from effmed.workflows.talk import Talk

N_NAMED = 4  # images that a warning names; audit.json names more


def blocking(findings: Sequence[Finding], settings: AuditSettings) -> list[Finding]:
    """Return the findings that make every number wrong and that the recipe does not allow."""
    return [finding for finding in findings if finding.severity == "error" and finding.kind not in settings.allow]


def check_audit(findings: Sequence[Finding], settings: AuditSettings, talk: Talk) -> None:
    """Tell what was found, and stop where the numbers would be wrong.

    Raises:
        DataError: A finding of severity "error" is of a kind that ``audit.allow`` does not name.
    """
    for finding in findings:
        named = ", ".join(finding.images[:N_NAMED]) + (" …" if finding.n_images > N_NAMED else "")
        talk.warn(f"audit: {finding.severity}: {finding.kind}: {finding.text} ({finding.hint}): {named}")
    stops = blocking(findings, settings)
    if stops:
        kinds = sorted({finding.kind for finding in stops})
        problem = f"the audit of the data found {', '.join(kinds)}: {stops[0].text}"
        hint = (
            f"{stops[0].hint}; or, if it is right as it is: --set audit.allow=[{','.join([*settings.allow, *kinds])}]"
        )
        raise DataError(problem, hint=hint)


def audit_record(findings: Sequence[Finding], settings: AuditSettings) -> dict[str, object]:
    """Return what a run writes of its audit: one line, what was allowed, and every finding."""
    return {
        "summary": _summary(findings, settings),
        "allowed": list(settings.allow),
        "findings": [finding.model_dump(mode="json") for finding in findings],
    }


def _summary(findings: Sequence[Finding], settings: AuditSettings) -> str:
    if not findings:
        return "nothing found"
    kinds = {f"{finding.severity}: {finding.kind}": None for finding in findings}
    allowed = sorted({finding.kind for finding in findings if finding.severity == "error"} & set(settings.allow))
    return "; ".join(kinds) + (f" (allowed by the recipe: {', '.join(allowed)})" if allowed else "")
