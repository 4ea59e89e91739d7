"""What the operator of a machine permits, whatever a package or a policy says."""

from dataclasses import dataclass

from vault.core import limits


@dataclass(frozen=True, slots=True)
class Allowance:
    """Exact names that are permitted beyond what needs no allowance.

    `formats` are formats that can run code (`joblib`, `pickle`, …);
    `skops_types` and `pickle_globals` are dotted names beyond the shipped
    default; `onnx_domains` are operator domains. `max_bytes` bounds one file
    that is loaded into memory.
    """

    formats: frozenset[str] = frozenset()
    skops_types: frozenset[str] = frozenset()
    pickle_globals: frozenset[str] = frozenset()
    onnx_domains: frozenset[str] = frozenset()
    max_bytes: int = limits.LOAD_BYTES
