"""What is suspicious about a data set: leaks between splits, copies, contradictions, and shortcuts to the class."""

from effmed.data.audit.findings import Finding
from effmed.data.audit.whole import audit_manifest

__all__ = ["Finding", "audit_manifest"]
