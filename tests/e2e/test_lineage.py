"""Where versions come from and what came of them, by verified manifests, whatever lies in the storage."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests import builders
from tests.builders import Built
from vault.actions import lineage, packing, parentage, removing
from vault.actions.lineage import Lineage
from vault.core import envelope, layout, limits, manifest, names
from vault.core.manifest import Parent
from vault.core.names import Digest, Reference
from vault.errors import AccessDenied, NotFound, Refused


def publish(built: Built, model: str, *parents: str, data: Any = None, who: str = "owner") -> Reference:
    labels = packing.Labels(parents=parentage.named(parents), training_data=data)
    session = built.session(who)
    return packing.push(session, names.model(model), [b'{"w":[1]}'], None, labels, sample=None, public=False)


def graph(built: Built, ref: str, *, who: str | None = "owner", **more: Any) -> Lineage:
    return lineage.lineage(built.session(who), names.reference(ref), **more)


def edges(found: Lineage) -> set[tuple[str, str, str]]:
    return {
        (found.nodes[edge.child].reference, edge.relation, found.nodes[edge.parent].reference)
        for edge in found.edges
    }


@pytest.fixture(scope="module")
def family() -> Built:
    """Build base:1 → churn:1 → churn:2 (fine-tuned), small:1 (converted from churn:1), twin:1 (same data)."""
    built = builders.solo()
    rows = [[1.0, 2.0], [3.0, 4.0]]
    publish(built, "base", data=rows)
    publish(built, "churn", "base", data=[[1.0]])
    publish(built, "churn", "churn:1", "base:1=same-data", data=rows)
    publish(built, "small", "churn:1=converted-from")
    publish(built, "alone")
    return built


@pytest.fixture
def built(family: Built) -> Built:
    return family.fork()


TUNED = ("churn:2", "fine-tuned-from", "churn:1")
FROM_BASE = ("churn:1", "fine-tuned-from", "base:1")
SAME = ("churn:2", "same-data", "base:1")
SMALL = ("small:1", "converted-from", "churn:1")


def test_parents_and_children_make_one_graph(built: Built) -> None:
    assert edges(graph(built, "churn:2")) == {TUNED, FROM_BASE, SAME}
    assert edges(graph(built, "churn:1")) == {TUNED, FROM_BASE, SMALL}
    assert edges(graph(built, "base:1")) == {TUNED, FROM_BASE, SAME, SMALL}
    assert edges(graph(built, "churn:1", children=False)) == {FROM_BASE}
    alone = graph(built, "alone")
    assert (edges(alone), list(alone.nodes), alone.cut) == (set(), [alone.start], False)


def test_data_that_several_versions_were_trained_on_are_told(built: Built) -> None:
    found = graph(built, "churn:2")
    assert list(found.shared.values()) == [("churn:2", "base:1")]
    assert {node.reference for node in found.nodes.values() if node.training_data} == {
        *("churn:1", "churn:2", "base:1"),
    }


def test_who_may_not_read_sees_the_public_parents_alone(built: Built) -> None:
    built.identities["stranger"] = builders.new_identity("stranger")
    for who in ("stranger", None):
        found = graph(built, "churn:2", who=who)
        assert edges(found) == {TUNED, FROM_BASE, SAME}
        assert {node.training_data for node in found.nodes.values()} == {None}
        assert all(node.unread and node.publishers == ("owner",) for node in found.nodes.values())
        assert found.shared == {}


def test_a_depth_cuts_generations_and_says_so(built: Built) -> None:
    near = graph(built, "churn:2", depth=1)
    assert edges(near) == {TUNED, SAME}
    assert near.cut
    none = graph(built, "base:1", depth=0)
    assert (edges(none), none.cut) == (set(), True)
    assert not graph(built, "churn:2", depth=2).cut
    with pytest.raises(ValueError, match="negative"):
        graph(built, "churn:2", depth=-1)


def test_a_graph_has_so_many_versions_and_no_more(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LINEAGE", 2)
    found = graph(built, "base:1")
    assert len(found.nodes) == 2
    assert found.cut


# --- parents when publishing ---


def test_a_parent_is_what_its_reference_meant_when_the_child_was_published(built: Built) -> None:
    built.promote("churn:1")
    publish(built, "late", "churn@prod", "churn")
    told = built.manifest("late:1")[0].parents
    one, two = (built.manifest(ref)[1] for ref in ("churn:1", "churn:2"))
    assert [(entry.version, entry.manifest) for entry in told] == [("1", one), ("2", two)]
    digest = publish(built, "later", f"churn@sha256:{one}")
    assert [entry.version for entry in built.manifest(digest)[0].parents] == ["1"]


def test_the_same_parent_twice_is_one(built: Built) -> None:
    publish(built, "twice", "churn:1", "churn:1=fine-tuned-from", "churn:1=same-data")
    told = built.manifest("twice:1")[0].parents
    assert [entry.relation for entry in told] == ["fine-tuned-from", "same-data"]


@pytest.mark.parametrize("parent", ["churn:9", "nothing", "churn@prod", f"churn@sha256:{'0' * 64}"])
def test_a_parent_that_is_not_there_stops_the_publication(built: Built, parent: str) -> None:
    before = dict(built.store.objects)
    with pytest.raises((NotFound, Refused)):
        publish(built, "child", parent)
    assert built.store.objects == before


def test_a_parent_that_was_altered_stops_the_publication(built: Built) -> None:
    name = layout.manifest(names.model("base"), names.version("1"))
    built.store.objects[name] = built.store.objects[name].replace(b"A", b"B", 1)
    with pytest.raises(Refused):
        publish(built, "child", "base:1")


def test_parents_are_given_as_texts_pairs_or_a_mapping() -> None:
    expected = ((names.reference("a:1"), "same-data"), (names.reference("b@prod"), "fine-tuned-from"))
    assert parentage.named([("a:1", "same-data"), "b@prod"]) == expected
    assert parentage.named(["a:1=same-data", names.reference("b@prod")]) == expected
    assert parentage.named({"a:1": "same-data", "b@prod": "fine-tuned-from"}) == expected
    assert parentage.named(()) == ()
    for wrong in (["a:1=begotten-by"], ["a b"], [f"m:{n}" for n in range(1, limits.PARENTS + 2)]):
        with pytest.raises(ValueError, match=r"relation|is not a|at most 64"):
            parentage.named(wrong)
    for text in ("a:1", names.reference("a:1")):
        with pytest.raises(TypeError):
            parentage.named(text)  # type: ignore[arg-type]


# --- what a stranger, or a publisher, can spoil ---


def forged(built: Built, child: str, *parents: Parent, who: str = "owner") -> None:
    """Sign and store a version that names these parents, whatever they are."""
    found = built.manifest("alone:1")[0]
    made = replace(
        found,
        model=names.model(child),
        parents=tuple(sorted(parents)),
        publishers=(Digest(built.identities[who].key_id),),
    )
    name = layout.manifest(made.model, made.version)
    built.write(name, built.sign(manifest.KIND, manifest.encode(made), who))


def test_a_parent_that_does_not_verify_is_named_with_the_reason(built: Built) -> None:
    name = layout.manifest(names.model("churn"), names.version("1"))
    built.store.objects[name] = b"garbage"
    found = graph(built, "churn:2")
    troubled = {node.reference: node.trouble for node in found.nodes.values() if node.trouble}
    assert set(troubled) == {"churn:1"}
    del built.store.objects[name]
    assert (
        "no churn:1"
        in {node.reference: node.trouble for node in graph(built, "churn:2").nodes.values()}["churn:1"]
    )


def test_a_digest_that_is_not_the_versions_own_is_no_parent(built: Built) -> None:
    forged(built, "liar", Parent(names.model("churn"), names.version("1"), Digest("0" * 64), "same-data"))
    found = graph(built, "liar:1")
    assert [node.trouble != "" for node in found.nodes.values()] == [False, True]
    assert edges(graph(built, "churn:1")) == {TUNED, FROM_BASE, SMALL}


def test_children_that_a_stranger_signed_are_none(built: Built) -> None:
    built.identities["stranger"] = builders.new_identity("stranger")
    digest = built.manifest("base:1")[1]
    forged(
        built,
        "foundling",
        Parent(names.model("base"), names.version("1"), digest, "same-data"),
        who="stranger",
    )
    for name in ("models/x/@/1/manifest.json", "models/y/@/1/manifest.json"):
        built.store.objects[name] = b"[" * 1000
    assert "foundling:1" not in {node.reference for node in graph(built, "base:1").nodes.values()}


def test_a_chain_of_many_generations_is_followed_without_recursion(built: Built) -> None:
    def chain() -> Iterator[str]:
        digest, before = built.manifest("alone:1")[1], "alone"
        for number in range(300):
            child = f"g{number:03}"
            forged(built, child, Parent(names.model(before), names.version("1"), digest, "fine-tuned-from"))
            digest, before = built.manifest(f"{child}:1")[1], child
            yield child

    *_, last = chain()
    found = graph(built, f"{last}:1", depth=1_000)
    assert len(found.nodes) == 301
    assert len(found.edges) == 300
    assert not found.cut
    assert len(graph(built, "alone:1", depth=1_000).nodes) == 301


def test_a_manifest_in_the_layout_of_before_is_one_without_parents(built: Built) -> None:
    data = built.store.objects[layout.manifest(names.model("alone"), names.version("1"))]
    payload = envelope.parse(data, kind=manifest.KIND, subject="").payload
    assert b"parents" not in payload
    assert manifest.parse(payload, "").parents == ()


def test_who_may_not_publish_is_refused_whatever_the_parents(built: Built) -> None:
    built.identities["stranger"] = builders.new_identity("stranger")
    with pytest.raises(AccessDenied):
        publish(built, "child", "base:1", who="stranger")


def test_a_live_model_is_saved_with_parents_a_bump_and_its_data(built: Built) -> None:
    pytest.importorskip("sklearn")
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    from vault.actions import saving
    from vault.loaders.fingerprint import fingerprint

    rows = np.array([[0.0], [1.0], [2.0], [3.0]])
    model = LogisticRegression().fit(rows, [0, 0, 1, 1])
    described = saving.Description(
        training_data=iter([rows[:1], rows[1:]]), parents=parentage.named(["base:1"]), bump="minor"
    )
    ref = saving.save(
        built.session(), names.model("live"), model, None, described, format="skops", also=None, tolerance=0.0
    )
    assert str(ref) == "live:0.1.0"
    found = graph(built, "live:0.1.0")
    assert edges(found) == {("live:0.1.0", "fine-tuned-from", "base:1")}
    assert found.nodes[found.start].training_data == fingerprint(rows).digest


def test_a_version_that_was_removed_is_no_parent_of_a_new_one_and_told_as_such(
    built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise NotFound("base:1 was removed.", code="removed", subject="base:1")

    monkeypatch.setattr(removing, "demand", gone)
    with pytest.raises(NotFound) as caught:
        publish(built, "child", "base:1")
    assert caught.value.code == "removed"
    assert {node.trouble for node in graph(built, "churn:1", children=False).nodes.values()} == {
        "base:1 was removed."
    }
