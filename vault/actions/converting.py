"""Convert a legacy pickle or joblib file to skops or ONNX, without ever loading it in this process.

One confined process loads the pickle and writes it anew; a second one, which
has never seen the pickle, tries out what was written. This process reads the
bytes of both as it reads a stranger's (docs/convert.md).
"""

import hashlib
import os
import secrets
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vault import arguments
from vault.actions import local_files, opening
from vault.actions.convert_job import MEMORY, SECONDS, TARGETS, Job, Options, no_sandbox
from vault.arguments import Allow
from vault.confinement import confine
from vault.core import formats, limits, pickle_dangers
from vault.core.allowance import Allowance
from vault.core.inspection import Inspection, inspect_bytes
from vault.errors import Conflict, FormatRefused, Malformed, Unavailable
from vault.ports import Progress, no_progress
from vault.storage.folder import Folder


@dataclass(frozen=True, slots=True)
class Conversion:
    """What became of a legacy file.

    `globals` are the names in the old file as far as they can be traced,
    `dangers` those that no model needs, `types` the names to pin in the new one. `rows` is how many rows
    were compared, `differing` the fraction of them that the new file predicts
    otherwise, `weak` that this shows little: fewer than 100 rows, or rows that
    were made up (`sample` is `given`, `generated` or `none`). `landlock` is
    the ABI that the processes were confined with, 0 for none.
    """

    source: str
    source_format: str
    output: str
    format: str
    estimator: str
    saved_with: str
    globals: tuple[str, ...]
    dangers: tuple[str, ...]
    types: tuple[str, ...]
    sample: str
    rows: int
    differing: float
    weak: bool
    landlock: int
    seccomp: bool
    size: int
    sha256: str
    warnings: tuple[str, ...]


def convert(
    path: str | os.PathLike[str],
    *,
    to: str = formats.SKOPS,
    output: str | os.PathLike[str] | None = None,
    sample: Any = None,
    tolerance: float = 0.0,
    force: bool = False,
    allow: Allow | None = None,
    memory: int = MEMORY,
    seconds: int = SECONDS,
    unsafe_no_sandbox: bool = False,
    despite_dangers: bool = False,
    progress: Progress | None = None,
) -> Conversion:
    """Convert a legacy pickle or joblib file to `skops` or `onnx` in a confined process; write the result.

    `output` is `path` with the new format's extension unless given, and is not
    replaced without `force`. `sample` is rows to compare predictions on: an
    array, a DataFrame, or a .npz, .npy or .csv file; without it rows are made
    up. `tolerance` is the fraction of rows that may be predicted otherwise.
    `memory` (bytes) and `seconds` bound each process. `allow` names
    `skops_types` and `onnx_domains` beyond the default and the user configuration.
    `despite_dangers` runs, confined, what names `os.system` and its like;
    `unsafe_no_sandbox` goes on where the kernel cannot confine.

    Raises:
        FormatRefused: it is no pickle, it cannot be converted, or what came back does not hold
            (`conversion-failed`); it names what no model needs, or the new file types that are not
            allowed (`not-allowed`); the kernel has no Landlock or seccomp (`no-sandbox`).
        Conflict: `output` is there already.
        Malformed: the file, or the sample, is damaged or too large.
        NotFound, Unavailable, MissingLibrary, ValueError.
    """
    options = Options(sample, tolerance, force, memory, seconds, unsafe_no_sandbox, despite_dangers)
    return _convert(
        Path(path),
        to,
        None if output is None else Path(output),
        options,
        _allowance(allow),
        progress or no_progress,
    )


def _convert(
    source: Path, to: str, output: Path | None, options: Options, allowance: Allowance, progress: Progress
) -> Conversion:
    if to not in TARGETS:
        raise ValueError(f"A pickle is converted to {' or '.join(TARGETS)}, not {to!r}.")
    ending = formats.FORMATS[to].extensions[0]
    destination = output or source.with_suffix(ending)
    if formats.by_extension(destination.name) != to:
        raise ValueError(f"{destination.name} is no name for {to}: give it the extension {ending}.")
    if not options.force and os.path.lexists(destination):
        raise _exists(destination)
    _require_sandbox(options)
    job = Job(source, to, options, allowance, progress)
    with local_files.descriptor(source) as (opened, size):
        old = _look(source, opened, size, options)
        made = job.convert(opened, size)
    new = job.admit(made)
    proven = job.compare(made)
    data = made.parts["model"]
    _write(destination, data, force=options.force)
    return Conversion(
        source=str(source),
        source_format=old.format,
        output=str(destination),
        format=to,
        estimator=made.text("estimator"),
        saved_with=made.text("saved_with"),
        globals=old.globals,
        dangers=pickle_dangers.among(old.globals),
        types=new.types,
        sample=job.origin(made),
        rows=proven[0],
        differing=proven[1],
        weak=proven[2],
        landlock=job.level.landlock,
        seccomp=job.level.seccomp,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        warnings=made.texts("warnings"),
    )


def _allowance(allow: Allow | None) -> Allowance:
    """Join what the caller allows with what the user configuration does."""
    given, configured = arguments.allowance_of(allow), opening.gather({}).allow
    return Allowance(
        skops_types=given.skops_types | configured.skops_types,
        onnx_domains=given.onnx_domains | configured.onnx_domains,
    )


def _require_sandbox(options: Options) -> None:
    level = confine.available()
    if not level.whole and (not options.unsafe_no_sandbox or sys.platform != "linux"):
        raise no_sandbox(level)


def _look(source: Path, opened: int, size: int, options: Options) -> Inspection:
    """Find out what the old file is and names; nothing of it is loaded.

    Raises:
        FormatRefused: it is no pickle, or names what no model needs.
        Malformed: it is too large, or a damaged archive.
    """
    if size > limits.PICKLE_BYTES:
        raise Malformed(
            f"{source} has {size:,} bytes; at most {limits.PICKLE_BYTES:,} are converted.",
            code="too-large",
            subject=str(source),
        )
    with local_files.mapped(opened, size) as whole:
        kind = formats.detect(whole)
        if kind not in (formats.PICKLE, formats.JOBLIB):
            raise FormatRefused(
                f"{source} is no pickle or joblib file: its content is {kind}.",
                subject=str(source),
                hint="Save its weights as safetensors." if kind == formats.TORCH else "See: mvault inspect.",
            )
        found = inspect_bytes(source.name, whole)
    dangers = pickle_dangers.among(found.globals)
    if dangers and not options.despite_dangers:
        raise FormatRefused(
            f"{source} names {', '.join(dangers[:5])}, which no model needs. It was not loaded.",
            code="not-allowed",
            subject=str(source),
            hint="Do not trust it. To run it all the same, confined: --despite-dangers.",
        )
    return found


def _exists(destination: Path) -> Conflict:
    return Conflict(
        f"{destination} is there already.",
        subject=str(destination),
        hint="Give another name with --output, or replace it with --force.",
    )


def _write(destination: Path, data: memoryview, *, force: bool) -> None:
    """Write the new file whole or not at all.

    Raises:
        Conflict: something of that name is there, and `force` was not given.
        Unavailable: it cannot be written.
    """
    folder = Folder(destination.parent)
    name = f"{destination.name}.{secrets.token_hex(8)}.part" if force else destination.name
    try:
        with folder.create(name, size=len(data)) as sink:
            sink.write(data)
        if force:
            os.replace(destination.parent / name, destination)
    except Conflict:
        raise _exists(destination) from None
    except OSError as error:
        with suppress(Unavailable):
            folder.delete(name)
        raise Unavailable(
            f"{destination} cannot be written: {error.strerror}.", subject=str(destination)
        ) from None
