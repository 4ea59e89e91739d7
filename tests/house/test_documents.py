"""The specification cannot drift: what the code has, docs/format.md names."""

import re

import pytest

from tests.house.source_tree import ROOT, texts
from vault.core import admission, archives, envelope, heads, limits, manifest, policy, records, trust
from vault.errors import CODES, VaultError

FORMAT = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
KINDS = (
    *(trust.KIND, policy.KIND, heads.KIND, manifest.KIND),
    *(records.SEALING, records.APPROVAL, records.CHANNEL),
    archives.KIND,
)


@pytest.mark.parametrize("kind", KINDS)
def test_the_format_names_every_payload_type(kind: str) -> None:
    assert envelope.payload_type(kind) in FORMAT


def test_the_format_numbers_every_step_of_the_admission() -> None:
    section = FORMAT[FORMAT.index("## Admission") :]
    section = section[: section.index("\n## ", 5)]
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", section, re.MULTILINE)]
    table = [int(number) for number in re.findall(r"^    (\d+)  ", admission.__doc__ or "", re.MULTILINE)]
    assert numbers == table == list(range(1, 13))


@pytest.mark.parametrize(
    "part", ["Strict JSON", "Names", "Envelope", "Root", "Policy", "Manifest", "Records"]
)
def test_modules_that_cite_a_section_cite_one_that_exists(part: str) -> None:
    assert re.search(rf"^## {part}", FORMAT, re.MULTILINE)


def test_every_section_that_a_module_cites_exists() -> None:
    headings = set(re.findall(r"^#+ (.+)$", FORMAT, re.MULTILINE))
    for name, text in texts():
        if name.startswith("vault/"):
            for cited in re.findall(r'docs/format\.md,\s+"([^"]+)"', text):
                assert cited in headings, f"{name} cites {cited!r}"


def test_the_exit_statuses_of_the_readme_are_those_of_the_classes() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    documented = {int(number) for number in re.findall(r"^\| (\d) \|", readme, re.MULTILINE)}
    kinds = [VaultError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    assert {kind.exit_status for kind in kinds} | {0, 2} <= documented


def test_the_list_of_codes_says_what_the_code_says() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    documented = dict(re.findall(r"^\| `([a-z-]+)` \| (.+?) \|$", page, re.MULTILINE))
    assert documented == dict(CODES)


def test_writers_leave_the_gaps_that_the_format_allows() -> None:
    assert f"at most {limits.GAP:,}" in FORMAT
