"""Tell where a version comes from and what came of it, by the parents that verified manifests name.

Parents are public: whoever can verify a manifest can follow them. Which data,
runs and commits were behind a version is confidential, and told of those that
this identity may read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from vault.actions import checking, listing, parentage, removing, resolving
from vault.actions.session import Session
from vault.core import envelope, limits, manifest, names
from vault.core.manifest import Parent
from vault.core.names import Digest, Model, Reference, Version
from vault.core.stages import Resolved, Target, Verified
from vault.core.strict_json import JSONValue
from vault.errors import NotFound, Refused

DEPTH: Final = 32  # generations, unless more are asked for
_PARENTS: Final = b'"parents":['


@dataclass(frozen=True, slots=True)
class Node:
    """A version in a graph.

    `trouble` says that its manifest did not verify, or that it was removed, and is empty otherwise.
    `training_data`, `git` and `runs` are None where they were not recorded or
    may not be read, which `unread` then tells.
    """

    reference: str
    digest: str  # sha256:… of the manifest
    created: str = ""
    publishers: tuple[str, ...] = ()
    trouble: str = ""
    unread: str = ""
    training_data: str | None = None
    git: str | None = None  # the commit
    runs: Mapping[str, str] = field(default_factory=dict)  # tool → id


@dataclass(frozen=True, slots=True)
class Edge:
    """One version comes from another, both by their digests."""

    child: str
    parent: str
    relation: str


@dataclass(frozen=True, slots=True)
class Lineage:
    """The graph around a version, its ancestors and descendants; `cut` tells that there are more."""

    start: str  # the digest of the version that was asked for
    nodes: Mapping[str, Node]  # by digest, in the order in which they were found
    edges: tuple[Edge, ...]
    cut: bool

    def parents(self, digest: str) -> tuple[Edge, ...]:
        """Give the edges to the parents of a version."""
        return tuple(edge for edge in self.edges if edge.child == digest)

    def children(self, digest: str) -> tuple[Edge, ...]:
        """Give the edges to the children of a version."""
        return tuple(edge for edge in self.edges if edge.parent == digest)

    @property
    def shared(self) -> Mapping[str, tuple[str, ...]]:
        """Give the digests of training data that several of these versions have, and which do."""
        found: dict[str, list[str]] = {}
        for node in self.nodes.values():
            if node.training_data is not None:
                found.setdefault(node.training_data, []).append(node.reference)
        return {data: tuple(versions) for data, versions in found.items() if len(versions) > 1}


def lineage(session: Session, reference: Reference, *, children: bool = True, depth: int = DEPTH) -> Lineage:
    """Follow a version's parents, and with `children` what came of it, at most `depth` generations each way.

    Children are looked for in the manifests of all models, which takes a while in a large vault.

    Raises:
        ValueError: `depth` is negative, or the reference means nothing here.
        Refused, NotFound: the version itself does not verify, or is not there.
        Unavailable.
    """
    if depth < 0:
        raise ValueError("A depth is not negative.")
    graph = _Graph(session, parentage.find(session, reference))
    graph.ancestors(depth)
    if children:
        graph.descendants(depth)
    return graph.told()


class _Graph:
    """A graph that grows by one generation after another, each version once."""

    def __init__(self, session: Session, start: Verified) -> None:
        self._session = session
        self._resolved: Resolved = start.authorised.resolved
        self._start = start
        self._verified: dict[Digest, Verified] = {start.digest: start}
        self._troubled: dict[Digest, Node] = {}
        self._edges: dict[Edge, None] = {}
        self._cut = False

    def ancestors(self, depth: int) -> None:
        """Follow parents upward."""
        generation = [self._start]
        for left in range(depth, -1, -1):
            above = []
            for child in generation:
                for parent in child.manifest.parents:
                    if not left or self._full:
                        self._cut = True
                        continue
                    self._edge(child.digest, parent.manifest, parent.relation)
                    found = self._parent(parent)
                    if found is not None:
                        above.append(found)
            generation = above

    def descendants(self, depth: int) -> None:
        """Follow children downward, among all versions that name parents."""
        claims = self._claims()
        generation = [self._start]
        for left in range(depth, -1, -1):
            below = []
            for parent in generation:
                for place in claims.get(parent.digest, ()):
                    if not left or self._full:
                        self._cut = True
                        continue
                    found = self._child(*place, parent.digest)
                    if found is not None:
                        below.append(found)
            generation = below

    def told(self) -> Lineage:
        """Describe what was found; what is confidential, as far as this identity may read it."""
        nodes: dict[str, Node] = {}
        for done, verified in enumerate(self._verified.values(), start=1):
            self._session.progress(done, len(self._verified), "versions")
            nodes[_text(verified.digest)] = _described(self._session, self._resolved, verified)
        nodes |= {_text(digest): node for digest, node in self._troubled.items()}
        return Lineage(_text(self._start.digest), nodes, tuple(self._edges), self._cut)

    @property
    def _full(self) -> bool:
        return len(self._verified) + len(self._troubled) >= limits.LINEAGE

    def _edge(self, child: Digest, parent: Digest, relation: str) -> None:
        self._edges[Edge(_text(child), _text(parent), relation)] = None

    def _parent(self, parent: Parent) -> Verified | None:
        """Verify a parent by the digest that its child names; None if it is known, or does not verify."""
        if parent.manifest in self._verified or parent.manifest in self._troubled:
            return None
        try:
            found = self._verify(parent.model, parent.version, parent.manifest)
        except (Refused, NotFound) as error:
            name = str(Reference(parent.model, version=parent.version))
            self._troubled[parent.manifest] = Node(name, _text(parent.manifest), trouble=error.message)
            return None
        self._verified[found.digest] = found
        return found

    def _child(self, model: Model, version: Version, parent: Digest) -> Verified | None:
        """Verify what claims to be a child; None if it is none, or was found before."""
        try:
            found = self._verify(model, version, None)
        except (Refused, NotFound):
            return None  # a stranger's
        known = found.digest in self._verified
        self._verified[found.digest] = found
        for entry in found.manifest.parents:
            if entry.manifest == parent:
                self._edge(found.digest, parent, entry.relation)
        return None if known else found

    def _verify(self, model: Model, version: Version, digest: Digest | None) -> Verified:
        data = resolving.read_manifest(self._session, model, version)
        authorised = resolving.anybody(self._resolved, model)
        return resolving.verify(self._session, authorised, Target(version, digest, None, open=False), data)

    def _claims(self) -> Mapping[Digest, list[tuple[Model, Version]]]:
        """Give by parent which versions say that they come from it; verified by nobody yet."""
        found: dict[Digest, list[tuple[Model, Version]]] = {}
        for model, version in self._places():
            for parent in {entry.manifest for entry in self._named(model, version)}:
                found.setdefault(parent, []).append((model, version))
        return found

    def _places(self) -> Iterator[tuple[Model, Version]]:
        listed = list(checking.models(self._session))
        for done, model in enumerate(listed, start=1):
            self._session.progress(done, len(listed), "models")
            found = resolving.version_names(self._session, model)
            yield from ((model, version) for version in sorted(found, key=names.version_order))

    def _named(self, model: Model, version: Version) -> tuple[Parent, ...]:
        try:
            data = resolving.read_manifest(self._session, model, version)
            sealed = envelope.parse(data, kind=manifest.KIND, subject=f"{model}:{version}")
            if _PARENTS not in sealed.payload:
                return ()
            return manifest.parse(sealed.payload, f"{model}:{version}").parents
        except (Refused, NotFound):
            return ()


def _text(digest: Digest) -> str:
    return f"{names.DIGEST_PREFIX}{digest}"


def _described(session: Session, resolved: Resolved, verified: Verified) -> Node:
    found = verified.manifest
    node = Node(verified.subject, _text(verified.digest), found.created, verified.publishers)
    try:
        removing.demand(session, verified)
    except NotFound as gone:
        return replace(node, trouble=gone.message)
    try:
        opened, unread = listing.confidential(session, resolved, verified)
    except Refused as refusal:
        return replace(node, unread=refusal.message)
    if opened is None:
        return replace(node, unread=unread)
    info = opened.metadata.info
    git, runs = info.get("git"), info.get("runs")
    return replace(
        node,
        training_data=_told(info.get("training_data")),
        git=_told(git.get("commit")) if isinstance(git, dict) else None,
        runs={
            tool: told
            for tool, run in (runs.items() if isinstance(runs, dict) else ())
            if isinstance(run, dict) and (told := _told(run.get("run"))) is not None
        },
    )


def _told(value: JSONValue) -> str | None:
    return value if isinstance(value, str) else None
