"""The machine of `test_team_machine`, narrowed to insiders: what they approve, promote and bar by hand."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from tests.property import team_world as world
from tests.property.team_acts import SHORT, Team, run
from tests.property.test_team_machine import HonestTeam, HostileTeam

WHO = st.sampled_from(("dora", "ann", "bob", "cat", "rex", "eve", "robot"))


class Insiders(Team):
    """People who sign whatever they like, under policies that change, over a store that forges along."""

    honest = False

    @initialize()
    def begin(self) -> None:
        """Begin with a version by a person, one by somebody's service, and one by who may approve."""
        for who in ("dora", "robot", "cat"):
            self.publish("churn", who)

    @rule(
        change=st.one_of(
            st.builds(world.requires, st.just("prod"), approvals=world.approvals()),
            st.builds(world.leaves, WHO),
            st.builds(world.returns, WHO),
            st.builds(world.keys_change, WHO, revoke=st.booleans()),
            st.builds(world.role_changes, WHO, st.sampled_from(("manager", "scientist", "releaser"))),
        )
    )
    def the_policy_changes(self, change: world.Change) -> None:
        """Ask for other approvals, or of other people."""
        self.amend(change)

    one_load = HonestTeam.one_load
    claim = HostileTeam.claim
    an_era_begins = HonestTeam.an_era_begins
    somebody_loads = HonestTeam.somebody_loads
    somebody_signs_by_hand = HostileTeam.somebody_signs_by_hand
    a_release_is_pushed_through = HostileTeam.a_release_is_pushed_through
    a_version_is_barred = HostileTeam.a_version_is_barred
    is_published = HostileTeam.is_published
    vote = HostileTeam.vote
    next_number = HostileTeam.next_number
    look_at = HostileTeam.look_at
    two_publish_together = HostileTeam.two_publish_together
    the_store_is_attacked = HostileTeam.the_store_is_attacked


def test_insiders_get_nothing_into_an_environment_that_its_policy_does_not_allow() -> None:
    run(Insiders, 12, 12, **SHORT)


@pytest.mark.slow
def test_insiders_get_nothing_into_an_environment_for_a_long_time() -> None:
    run(Insiders, 600, 40)
