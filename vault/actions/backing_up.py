"""Back a vault up to another store: what is missing is copied, verified there, and a receipt is signed.

No key is needed but the vault's pin. What the backup has is never removed or
overwritten, unless `prune` is asked for; what is derived may be written again.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

from vault.actions import (
    archived,
    backing_up_places,
    backing_up_plan,
    backing_up_versions,
    backup_receipts,
    log_writers,
    logged,
)
from vault.actions.backing_up_plan import Plan
from vault.actions.backing_up_run import Backup, Options, Run
from vault.actions.backing_up_throttle import Throttle
from vault.actions.check_report import Finding
from vault.actions.session import Session
from vault.core import backup_order, backup_receipt, layout, log_names
from vault.core.backup_receipt import BackupReceipt, Covered
from vault.core.in_force import Signed
from vault.core.names import Digest, Model, Slot
from vault.core.policy import LogHead
from vault.core.stages import Resolved
from vault.errors import Expired, NotFound, NoUsableKey, Refused, VaultError
from vault.ports import Store
from vault.storage.ahead import AheadStore

Heads = list[LogHead]


def backup(session: Session, target: Store, options: Options) -> Backup:
    """Bring a backup up to date, verify what is new there, and sign a receipt where this identity may.

    Raises:
        ValueError: the destination and the vault lie in one another, or a limit is none.
        Conflict: something else lies at the destination.
        Refused, NotFound: this vault does not verify, or is older than this machine has seen.
        Unavailable: a store failed or is full; what was copied stays, and the next run goes on from there.
    """
    source = behind(session.store)
    throttle = Throttle(options.limit, options.limit_requests)
    backing_up_places.demand_apart(source, target)
    with suppress(Expired):
        session.resolve(next(iter(session.trust().policy.environments)))
    claim = backing_up_places.is_vault if options.dry_run else backing_up_places.claim
    founded = claim(target, session.pin)
    heads, doubts = log_heads(session)
    plan = backing_up_plan.compare(
        source, target, seen=lambda count: session.progress(count, count, "objects compared")
    )
    name = options.name or backing_up_places.name_of(target)
    result = Backup(name, target.location, plan.objects, plan.size, dry_run=options.dry_run)
    result.findings += doubts
    for altered in plan.altered:
        result.bad(altered, "the vault and the backup have it in different sizes", "digest-mismatch")
    if options.dry_run:
        result.copied, result.copied_bytes = plan.items, plan.bytes
        result.pruned = len(_surplus(plan)) if options.prune else 0
        return result
    run = Run(session, source, target, throttle, options.threads)
    run.copy(plan, founded=founded, into=result)
    covered = _verified(session, run, plan, name, result)
    if options.prune:
        for surplus in _surplus(plan):
            target.delete(surplus)
            result.pruned += 1
    result.no_receipt = why_none(session, options)
    if not result.no_receipt:
        result.receipt = receipt(session, run, covered, heads, result, read=False).record.number
    return result


def behind(store: Store) -> Store:
    """Give the store itself, which lists sizes, where answers are fetched ahead."""
    return behind(store.inner) if isinstance(store, AheadStore) else store


def log_heads(session: Session) -> tuple[Heads, list[Finding]]:
    """Give the heads of the trust log and of the environments' logs, before any of them is copied.

    Raises:
        Unavailable: one cannot be read.
    """
    heads, doubts = [], []
    policy = session.trust().policy
    logs = [log_names.TRUST_LOG, *(log_names.environment_log(name) for name in policy.environments)]
    for log in logs:
        try:
            head = log_writers.verified_head(session, log, policy, log_writers.known(session, log))
        except Refused as refusal:
            doubts.append(Finding("bad", f"log {log}", refusal.message, refusal.code))
            continue
        if head.size:
            heads.append(log_writers.told(session, log, head))
    return sorted(heads, key=lambda head: head.origin), doubts


def _surplus(plan: Plan) -> list[str]:
    """Give what only the backup has, but for its receipts: what rests on others goes before them."""
    found = (name for name in plan.extra if not name.startswith(layout.BACKUPS))
    return sorted(found, key=backup_order.rank, reverse=True)


# --- what the destination holds now ---


def _verified(session: Session, run: Run, plan: Plan, name: Slot, result: Backup) -> list[Covered]:
    """Verify at the destination every version that an earlier receipt does not name, or that changed."""
    before = backup_receipts.last(session, name)
    known = {} if before is None else backup_receipt.by_place(before.covered)
    there = backing_up_versions.session_for(session, run.target)
    try:
        resolved = backing_up_versions.resolved_of(there)
    except (NotFound, Refused) as error:
        result.bad(run.target.location, error.message, error.code)
        return []
    covered: list[Covered] = []
    todo: list[str] = []
    for folder, payloads in sorted(plan.versions.items()):
        place = backup_order.place_of(folder)
        if place is None or not payloads.published or folder in run.broken:
            continue
        earlier = known.get((Model(place[0]), place[1]))
        if (
            earlier is not None
            and folder not in run.touched
            and payloads.objects >= earlier.objects
            and payloads.size >= earlier.size
        ):
            covered.append(earlier)
        else:
            todo.append(folder)

    def look(folder: str) -> Covered | Finding | None:
        return look_at(there, resolved, folder, plan.versions[folder])

    with ThreadPoolExecutor(run.threads, thread_name_prefix="backup-verify") as pool:
        for done, found in enumerate(pool.map(look, todo), start=1):
            session.progress(done, len(todo), "versions verified")
            if isinstance(found, Covered):
                covered.append(found)
                result.verified_bytes += found.size
            elif found is not None:
                result.findings.append(found)
    result.versions = len(covered)
    return covered


def look_at(
    there: Session,
    resolved: Resolved,
    folder: str,
    payloads: backing_up_plan.Payloads,
    *,
    read: bool = True,
) -> Covered | Finding | None:
    """Verify a version where a copy of the vault lies; None for what was removed, or is no version.

    With `read` every payload is read; otherwise only what is signed is verified.
    """
    place = backup_order.place_of(folder)
    if place is None:
        return None
    model, version = Model(place[0]), place[1]
    subject = f"{model}:{version}"
    try:
        found = backing_up_versions.known(there, resolved, model, version)
    except VaultError as error:  # perhaps a stranger's: it is there as it is in the vault
        return Finding("skipped", subject, error.message, error.code)
    if found.removed:
        return None
    try:
        if read:
            backing_up_versions.scrub(there, found)
    except VaultError as error:
        level = "skipped" if error.code == archived.CODE else "bad"
        return Finding(level, subject, error.message, error.code)
    return Covered(model, version, found.manifest, payloads.objects, payloads.size)


# --- the receipt ---


def why_none(session: Session, options: Options) -> str:
    """Say why no receipt is signed; empty where one is."""
    if not options.receipt:
        return "none was wanted"
    if session.unlock is None:
        return "no identity is set up here"
    try:
        allowed = backup_receipts.may_sign(session)
    except NoUsableKey as error:
        return error.message.removesuffix(".")
    return (
        "" if allowed else "this identity may neither archive nor delete every model, so it would not count"
    )


def receipt(
    session: Session, run: Run, covered: list[Covered], heads: Heads, result: Backup, *, read: bool
) -> Signed[BackupReceipt]:
    """Sign and store a receipt of what was found; then copy what that added to the logs.

    Raises:
        Conflict, Refused, Unavailable.
    """
    listed = backup_receipt.encode_list(covered)

    def build(number: int, digest: Digest) -> BackupReceipt:
        return BackupReceipt(
            vault=session.pin,
            policy=session.trust().policy_id,
            name=result.name,
            number=number,
            destination=run.target.location,
            created=session.now(),
            logs=tuple(heads),
            objects=result.objects,
            size=result.size,
            versions=len(covered),
            list_digest=digest,
            list_size=len(listed),
            read=read,
        )

    signed = backup_receipts.write(
        replace(session, store=run.source), result.name, listed, build, to=run.target
    )
    logged.change(session, "backup", None, signed.digest, subject=result.name)
    for store in (run.source, run.target):
        backup_receipts.sweep(store, result.name, signed.record.list_digest)
    tail = backing_up_plan.compare(run.source, run.target, phases=(backup_order.LOG,))
    run.copy(tail, founded=True, into=replace(result))
    return signed
