"""A report tells of every file, and no name in it is taken for anything else."""

from vault.core.adoption_report import AdoptionReport, Comparison, Item, Promotable

GIVEN = Comparison("given", 1_000, 0.0125, weak=False)
ITEMS = (
    Item("a.pkl", "adopted", "churn:1", "pickle", "skops", 10, "ab", GIVEN),
    Item("b.onnx", "adopted", "churn:2", "onnx", "onnx", 10, "cd"),
    Item("c.pkl", "adopted", "churn:3", "pickle", "skops", 10, "ef", Comparison("none", 0, 0.0, weak=True)),
    Item("d.pkl", "already", "churn:4", sha256="01"),
    Item(
        "e|<b>&_`x`.pkl", "remains", "churn:5", "pickle", code="not-allowed", reason="It\nruns.", hint="No."
    ),
)


def report(**more: object) -> AdoptionReport:
    return AdoptionReport("old/", "{model}.pkl", False, ITEMS, **more)  # type: ignore[arg-type]


def test_it_counts_and_separates() -> None:
    found = report()
    assert [item.reference for item in found.adopted] == ["churn:1", "churn:2", "churn:3"]
    assert [item.path for item in found.remaining] == [ITEMS[-1].path]
    told = found.as_json()
    assert told["summary"] == {
        "adopted": 3,
        "would-adopt": 0,
        "already": 1,
        "same": 0,
        "remains": 1,
        "unmatched": 0,
        "aside": 0,
    }


def test_markdown_keeps_every_name_in_its_cell() -> None:
    text = report().markdown()
    assert "| e\\|\\<b\\>&amp;\\_\\`x\\`.pkl | churn:5 | pickle | not-allowed | It�runs. No. |" in text
    assert "1.25% of 1,000 given rows differ" in text
    assert "| unchanged |" in text
    assert "| nothing to compare |" in text
    assert "Pattern: `{model}.pkl`" in text
    rows = [line for line in text.splitlines() if line.startswith("| e")]
    assert len(rows) == 1


def test_markdown_tells_what_was_not_looked_at_and_what_is_in_use() -> None:
    promotions = (
        Promotable("churn:1", "prod"),
        Promotable("churn:2", "staging", done=True),
        Promotable("churn:3", "qa", reason="the policy has no environment qa"),
    )
    aside = {"link": "It is a symbolic link."}
    text = report(unmatched=("README",), aside=aside, promotions=promotions).markdown()
    assert "| churn:1 | prod | mvault promote churn:1 --env prod |" in text
    assert "| churn:2 | staging | promoted |" in text
    assert "| churn:3 | qa | the policy has no environment qa |" in text
    assert "| README |" in text
    assert "| link | It is a symbolic link. |" in text
    told = report(promotions=promotions).as_json()
    assert isinstance(told["promotions"], list)
    assert len(told["promotions"]) == 3


def test_a_report_of_nothing_and_of_a_dry_run_says_so() -> None:
    text = AdoptionReport("`odd`", "", True, ()).markdown()
    assert text.startswith("# Adoption (dry run: nothing was published)\n")
    assert "Source: `` `odd` ``" in text
    assert "Pattern" not in text
    assert "- Nothing was found." in text


def test_long_lists_are_cut_in_markdown_and_whole_in_json() -> None:
    found = report(unmatched=tuple(f"f{number}" for number in range(1_500)))
    assert "… and 500 more" in found.markdown()
    assert "| f999 |" in found.markdown()
    assert "| f1000 |" not in found.markdown()
    told = found.as_json()["unmatched"]
    assert isinstance(told, list)
    assert len(told) == 1_500
