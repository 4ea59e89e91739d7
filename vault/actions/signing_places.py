"""Where a signature lies: beside what it is about, unless somebody says otherwise."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from vault.actions.signing_content import Target
from vault.settings import Settings, load_settings

Location = str | os.PathLike[str]
SUFFIX: Final = ".sig"
INSIDE: Final = "model.sig"  # where the reference tool puts its signature, if it is put into the folder


def here(flags: Mapping[str, object]) -> Settings:
    """Gather the settings of this process.

    Raises:
        Malformed, ValueError: see `settings.load_settings`.
    """
    return load_settings(flags=flags, environ=os.environ, cwd=Path.cwd())


def signature_place(target: Target, signature: Location | None) -> Path | None:
    """Give where a signature is written: as asked, else beside the path; None for what is in memory."""
    if signature is not None:
        return Path(os.path.abspath(signature))
    if not isinstance(target, str | os.PathLike):
        return None
    path = Path(os.path.abspath(target))
    if not path.name:
        raise ValueError(f"{path} has no name. Say where the signature goes: --signature FILE")
    return path.with_name(path.name + SUFFIX)


def find_signature(target: Target, signature: Location | None) -> Path | None:
    """Give where the signature of a path lies: as asked, else beside it, else `model.sig` in the folder."""
    place = signature_place(target, signature)
    if place is not None and signature is None and isinstance(target, str | os.PathLike):
        inside = Path(os.path.abspath(target)) / INSIDE
        if not os.path.lexists(place) and os.path.lexists(inside):
            return inside
    return place


def inside(target: Target, place: Path | None) -> str | None:
    """Give the path of a signature within the folder that it is about, or None."""
    if place is None or not isinstance(target, str | os.PathLike):
        return None
    top = Path(os.path.abspath(target))
    return place.relative_to(top).as_posix() if place.is_relative_to(top) and place != top else None
