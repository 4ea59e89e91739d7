"""The order of a backup: what others rest on comes first, by the names of the layout alone."""

from itertools import pairwise

import pytest

from vault.core import backup_order

IN_ORDER = (
    "log/env/prod/commit/000002",
    "log/env/prod/commit/000010",
    "log/env/prod/cosigned/000000000010/web-00",
    "log/env/prod/checkpoint",
    "trust/recipients/00",
    "keys/prod/all/1/web/0-1.age",
    "trust/policy/000002.json",
    "trust/policy/000010.json",
    "trust/root/000001.json",
    "trust/stray",
    "models/churn/@/3/files/00",
    "models/churn/@/3/keys/dev-1/0-1",
    "models/churn/@/3/sealed/000001.json",
    "models/churn/@/3/manifest.json",
    "models/churn/@/3/approvals/prod/0.json",
    "channels/prod/main/churn/@/000002.json",
    "channels/prod/b/churn/@/000010.json",
    "README.txt",
    "trust/heads/prod/000001.json",
)


def test_names_are_ranked_as_they_are_copied() -> None:
    assert sorted(IN_ORDER, key=backup_order.rank) == list(IN_ORDER)
    assert all(backup_order.phase(one) <= backup_order.phase(other) for one, other in pairwise(IN_ORDER))


def test_every_phase_has_its_folders() -> None:
    for name in IN_ORDER:
        found = backup_order.prefixes(backup_order.phase(name))
        assert any(name.startswith(prefix) for prefix in found) == (name != "README.txt")


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("trust/policy/000002.json", "trust"),
        ("trust/root/000002.json", "trust"),
        ("trust/recipients/00", ""),
        ("channels/prod/main/nepse/NABIL/@/000001.json", "channels/prod/nepse/NABIL"),
        ("channels/prod/b/nepse/NABIL/@/000009.json", "channels/prod/nepse/NABIL"),
        ("channels/stray", ""),
        ("log/trust/commit/000001", "log/trust"),
        ("log/access/web/0123456789abcdef/tile/0/000", "log/access/web/0123456789abcdef"),
        ("log/stray", "log/"),
        ("models/churn/@/3/files/00", ""),
    ],
)
def test_what_follows_each_other_is_one_group(name: str, group: str) -> None:
    assert backup_order.group(name) == group


def test_places_are_read_from_names() -> None:
    folder = "models/nepse/NABIL/@/1.4.0/"
    assert backup_order.version_folder(f"{folder}files/00") == folder
    assert backup_order.place_of(folder) == ("nepse/NABIL", "1.4.0")
    assert backup_order.place_of("models/Not A Model/@/1/") is None
    assert backup_order.place_of("channels/") is None
    assert backup_order.version_folder("models/stray") == ""
    assert backup_order.is_payload(f"{folder}files/00.units")
    assert not backup_order.is_payload(f"{folder}manifest.json")
    assert not backup_order.is_payload("files/00")


def test_what_is_derived_or_not_copied_is_told_by_name() -> None:
    assert backup_order.is_derived("log/trust/tile/0/000")
    assert backup_order.is_derived("log/env/prod/proof/00")
    assert backup_order.is_derived("log/trust/checkpoint")
    assert not backup_order.is_derived("log/trust/commit/000001")
    left_out = ("probe/0/a", "damaged/x", "backup.json", "restoring.json")
    assert not any(backup_order.is_copied(name) for name in left_out)
    assert all(backup_order.is_copied(name) for name in ("probe.json", "README.txt", "stray"))
