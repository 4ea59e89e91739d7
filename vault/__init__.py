"""Signed, encrypted, policy-gated models over storage you already have.

    import vault

    v = vault.open("models/")
    ref = v.save_model("churn", pipeline, sample_input=X[:500], metrics={"auc": 0.91})
    v.promote(ref, env="prod")
    model = v.load_model("churn@prod")

Importing this imports nothing else: each name is resolved when it is first used.
"""

from importlib import import_module

TYPE_CHECKING = False  # as type checkers know it; `typing` itself would be half of this import's time
if TYPE_CHECKING:
    from vault._version import __version__ as __version__
    from vault.actions.converting import Conversion as Conversion
    from vault.actions.converting import convert as convert
    from vault.actions.founding import new_identity as new_identity
    from vault.actions.init import Joining as Joining
    from vault.actions.loading import LoadedPackage as LoadedPackage
    from vault.actions.provenance import data_digest as data_digest
    from vault.actions.signing import Signed as Signed
    from vault.actions.signing import sign as sign
    from vault.actions.verifying import verify as verify
    from vault.actions.verifying import verify_then_open as verify_then_open
    from vault.actions.verifying_results import VerifiedFiles as VerifiedFiles
    from vault.actions.verifying_results import VerifiedModel as VerifiedModel
    from vault.core.allowance import Allowance as Allowance
    from vault.core.inspection import Inspection as Inspection
    from vault.errors import AccessDenied as AccessDenied
    from vault.errors import BadSignature as BadSignature
    from vault.errors import Conflict as Conflict
    from vault.errors import DigestMismatch as DigestMismatch
    from vault.errors import Expired as Expired
    from vault.errors import FeatureMismatch as FeatureMismatch
    from vault.errors import FormatRefused as FormatRefused
    from vault.errors import LogInconsistent as LogInconsistent
    from vault.errors import Malformed as Malformed
    from vault.errors import MissingLibrary as MissingLibrary
    from vault.errors import NotFound as NotFound
    from vault.errors import NoUsableKey as NoUsableKey
    from vault.errors import PickleRefused as PickleRefused
    from vault.errors import Refused as Refused
    from vault.errors import Rollback as Rollback
    from vault.errors import Unavailable as Unavailable
    from vault.errors import Unsigned as Unsigned
    from vault.errors import UntrustedSigner as UntrustedSigner
    from vault.errors import VaultError as VaultError
    from vault.starting import init as init
    from vault.starting import inspect as inspect
    from vault.starting import open as open
    from vault.starting import restore as restore
    from vault.vault import Vault as Vault

_PLACES = {
    "__version__": "vault._version",
    "Allowance": "vault.core.allowance",
    "Conversion": "vault.actions.converting",
    "Inspection": "vault.core.inspection",
    "Joining": "vault.actions.init",
    "LoadedPackage": "vault.actions.loading",
    "Signed": "vault.actions.signing",
    "Vault": "vault.vault",
    "VerifiedFiles": "vault.actions.verifying_results",
    "VerifiedModel": "vault.actions.verifying_results",
    "convert": "vault.actions.converting",
    "data_digest": "vault.actions.provenance",
    "init": "vault.starting",
    "inspect": "vault.starting",
    "new_identity": "vault.actions.founding",
    "open": "vault.starting",
    "restore": "vault.starting",
    "sign": "vault.actions.signing",
    "verify": "vault.actions.verifying",
    "verify_then_open": "vault.actions.verifying",
}
_ERRORS = (
    "AccessDenied",
    "BadSignature",
    "Conflict",
    "DigestMismatch",
    "Expired",
    "FeatureMismatch",
    "FormatRefused",
    "LogInconsistent",
    "Malformed",
    "MissingLibrary",
    "NoUsableKey",
    "NotFound",
    "PickleRefused",
    "Refused",
    "Rollback",
    "Unavailable",
    "Unsigned",
    "UntrustedSigner",
    "VaultError",
)


def __getattr__(name: str) -> object:
    """Resolve a public name on first use (PEP 562)."""
    place = "vault.errors" if name in _ERRORS else _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'vault' has no attribute {name!r}")
    found = getattr(import_module(place), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """List the public names."""
    return sorted([*_PLACES, *_ERRORS])
