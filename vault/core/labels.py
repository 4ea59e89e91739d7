"""Tags and notes: signed words about a version, beside its manifest (docs/format.md, "Records").

A label gives tags, takes tags back, or notes something. Each is a document of
its own, named after its content, so that two people who write at once lose
nothing. What is taken back is named by the digests of the labels that gave it:
a tag that somebody else gives meanwhile stays.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from vault.core import limits, names, strict_json
from vault.core.beside import check_about, signers_somewhere
from vault.core.fields import Fields, malformed, plain, time
from vault.core.in_force import Context, Signed, attribute, check_policy
from vault.core.manifest import policy_value, read_policy
from vault.core.names import Digest, Model, Principal, Version
from vault.core.policy import PolicyId
from vault.core.trust import Skipped
from vault.errors import Malformed, Refused

KIND: Final = "label"
ACTION: Final = "tag"  # what a signer must be allowed in some environment
_TAG: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._:+-]{0,62}[A-Za-z0-9])?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Label:
    """One word about a version: tags given, tags taken back, a note; at least one of them.

    `untags` names, for each tag, the digests of the labels by which it was given.
    """

    vault: Digest
    policy: PolicyId
    model: Model
    version: Version
    manifest: Digest
    created: str
    tags: tuple[str, ...] = ()  # ascending
    untags: Mapping[str, tuple[Digest, ...]] | None = None  # digests ascending
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """A remark about a version, and who signed it."""

    created: str
    text: str
    who: tuple[Principal, ...]
    digest: Digest


@dataclass(frozen=True, slots=True)
class Labels:
    """What the labels of a version come to. `given` are the labels by which each tag was given."""

    tags: frozenset[str]
    notes: tuple[Note, ...]  # oldest first
    given: Mapping[str, tuple[Digest, ...]]


def tag(text: str) -> str:
    """Accept a tag such as `champion`: 1 to 64 of A-Z a-z 0-9 . _ : + -, a letter or digit at both ends.

    Raises:
        Malformed: `malformed-name`.
    """
    if not _TAG.match(text):
        shown = text if len(text) <= 80 else f"{text[:77]}…"
        raise Malformed(
            f"{shown!r} is not a tag: 1 to 64 of A-Z a-z 0-9 . _ : + - are one, with a letter or digit at "
            "both ends.",
            code="malformed-name",
            subject=shown.encode("unicode_escape").decode(),
        )
    return text


def note(text: str) -> str:
    """Accept a note: 1 to 4,096 characters, not all of them blank.

    Raises:
        Malformed: `malformed-document`.
    """
    plain(text)
    if not text.strip():
        raise malformed("A note", "it says nothing")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise malformed("A note", "it holds half a character") from None
    return text


def encode(label: Label) -> bytes:
    """Write the payload of a label."""
    return strict_json.encode(
        {
            "created": label.created,
            "manifest": label.manifest,
            "model": label.model,
            "note": label.note,
            "policy": policy_value(label.policy),
            "tags": list(label.tags),
            "untags": {name: list(digests) for name, digests in (label.untags or {}).items()},
            "vault": label.vault,
            "version": label.version,
        }
    )


def parse(payload: bytes, subject: str) -> Label:
    """Parse the payload of a label, after its signature was checked.

    Raises:
        Malformed: a field is missing, unknown or of another shape; a list is not in
            order; it gives and takes the same tag; it says nothing.
    """
    fields = Fields(strict_json.parse(payload, subject=subject), subject)
    label = Label(
        vault=fields.text("vault", names.digest),
        policy=fields.object("policy", read_policy),
        model=fields.text("model", names.model),
        version=fields.text("version", names.version),
        manifest=fields.text("manifest", names.digest),
        created=fields.text("created", time),
        tags=fields.texts("tags", tag, limits.LABEL_TAGS),
        untags=_untags(fields, subject),
        note=fields.optional("note", note),
    )
    fields.done()
    if list(label.tags) != sorted(label.tags):
        raise malformed(subject, "its tags are not in order")
    if not (label.tags or label.untags or label.note):
        raise malformed(subject, "it says nothing")
    if set(label.tags) & set(label.untags or {}):
        raise malformed(subject, "it gives and takes the same tag")
    return label


def _untags(fields: Fields, subject: str) -> Mapping[str, tuple[Digest, ...]] | None:
    found = {}
    for name, value in fields.mapping("untags", tag, limits.LABEL_TAGS).items():
        inner = Fields({"of": value}, f"{subject}: {name}")
        digests = inner.texts("of", names.digest, limits.LABELS)
        if not digests or list(digests) != sorted(digests):
            raise malformed(subject, "what is taken back is named by digests in order")
        found[name] = digests
    return found or None


def judge(
    context: Context, model: Model, version: Version, manifest: Digest, data: bytes, subject: str
) -> Signed[Label] | Skipped:
    """Judge one label of a manifest; it counts where a signer of it may `tag` the model in some environment.

    Raises:
        Rollback: `withheld`.
    """
    try:
        signed = attribute(context, data, KIND, subject)
        record = parse(signed.envelope.payload, subject)
        named = (record.vault, record.model, record.version, record.manifest)
        check_about(named, (context.vault, model, version, manifest), subject)
        signers = signers_somewhere(context, signed, ACTION, model, subject)
    except Refused as refusal:
        return Skipped(subject, refusal.message, refusal.code)
    check_policy(context, record.policy, subject)
    return Signed(record, signed.envelope.digest, signers)


def come_to(labels: Iterable[Signed[Label]]) -> Labels:
    """Give the tags that were given and not taken back, and the notes, whatever the order of the labels.

    A label counts once, however many copies of its envelope lie there: anybody can
    add a signature to one. It takes back only what others gave, since it cannot
    name its own digest.
    """
    once: dict[Digest, Signed[Label]] = {}
    for entry in labels:
        before = once.get(entry.digest)
        who = {*entry.signers, *(before.signers if before else ())}
        once[entry.digest] = Signed(entry.record, entry.digest, tuple(sorted(who)))
    found = list(once.values())
    taken = {
        (name, digest)
        for entry in found
        for name, digests in (entry.record.untags or {}).items()
        for digest in digests
    }
    given: dict[str, list[Digest]] = {}
    for entry in found:
        for name in entry.record.tags:
            if (name, entry.digest) not in taken:
                given.setdefault(name, []).append(entry.digest)
    notes = [
        Note(entry.record.created, entry.record.note, entry.signers, entry.digest)
        for entry in found
        if entry.record.note is not None
    ]
    return Labels(
        frozenset(given),
        tuple(sorted(notes, key=lambda note: (note.created, note.digest))),
        {name: tuple(sorted(set(digests))) for name, digests in sorted(given.items())},
    )
