"""The result of an inspection, as a value."""

from __future__ import annotations

from collections.abc import Sequence

from eventmesh.doctor.checks import Finding
from eventmesh.model.value import value


@value
class Report:
    """The findings about a mesh: at least one for each subject that was checked."""

    findings: Sequence[Finding]

    @property
    def has_problems(self) -> bool:
        """Whether anything needs to be repaired; notes do not."""
        return any(finding.level == "problem" for finding in self.findings)

    @property
    def noteworthy(self) -> Sequence[Finding]:
        """The problems and the notes."""
        return [finding for finding in self.findings if finding.level != "ok"]
