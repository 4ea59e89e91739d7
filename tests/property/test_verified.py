"""A signed document that was altered in any way is refused, or says exactly what was signed."""

from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from tests import builders
from tests.builders import CHURN, DEV, Built, channel
from tests.property.mutations import attempt, hostile
from vault.core import admission, in_force, layout, policy_document, trust
from vault.core.in_force import Signed
from vault.core.names import Digest, Principal, Version
from vault.core.stages import Target
from vault.errors import Refused

RECORD = "channels/prod/main/churn/@/000001.json"
MANIFEST = "models/churn/@/1/manifest.json"
SEALING = "models/churn/@/1/sealed/000001.json"


@cache
def built() -> Built:
    made = builders.solo()
    made.promote(made.publish())
    return made


def stored(name: str) -> list[bytes]:
    return [built().store.objects[name]]


@settings(max_examples=100)
@given(hostile(lambda: stored(layout.root(1))))
def test_an_altered_root_is_refused_or_says_what_was_signed(data: bytes) -> None:
    found = attempt(lambda data: trust.verify_first(data, built().vault), data)
    assert isinstance(found, Refused) or found == built().trusted


@settings(max_examples=100)
@given(hostile(lambda: stored(layout.policy(1))))
def test_an_altered_policy_is_refused_or_says_what_was_signed(data: bytes) -> None:
    found = attempt(lambda data: policy_document.verify(built().trusted, 1, data), data)
    assert isinstance(found, Refused) or found == (built().policy, built().policy_id)


@settings(max_examples=100)
@given(hostile(lambda: stored(MANIFEST)))
def test_an_altered_manifest_is_refused_or_says_what_was_signed(data: bytes) -> None:
    made = built()
    resolved = made.session().resolve(DEV)
    authorised = admission.authorise(resolved, Digest(made.owner.key_id), "load", CHURN)
    target = Target(Version("1"), None, None)
    found = attempt(lambda data: admission.verify(authorised, target, data), data)
    assert isinstance(found, Refused) or (found.manifest, found.digest) == made.manifest("churn:1")


@settings(max_examples=100)
@given(hostile(lambda: stored(RECORD)), st.integers(1, 3))
def test_an_altered_channel_record_is_absent_or_says_what_was_signed(data: bytes, number: int) -> None:
    found = in_force.channel_record(built().context, channel(), number, data)
    if isinstance(found, Signed):
        genuine = in_force.channel_record(built().context, channel(), 1, stored(RECORD)[0])
        assert isinstance(genuine, Signed)
        assert (found, number) == (genuine, 1)


@settings(max_examples=100)
@given(hostile(lambda: stored(SEALING)))
def test_an_altered_sealing_record_is_absent_or_says_what_was_signed(data: bytes) -> None:
    made = built()
    _, digest = made.manifest("churn:1")

    def judge(data: bytes) -> object:
        owner = [Principal("owner")]
        return in_force.sealing_record(made.context, CHURN, Version("1"), digest, owner, 1, data)

    found = judge(data)
    assert not isinstance(found, Signed) or found == judge(stored(SEALING)[0])
