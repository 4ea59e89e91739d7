"""The ten-minute start in a real notebook kernel: passphrases are asked for in the notebook itself."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel

SECONDS = 120
TRAIN = """
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
X, y = make_classification(300, 5, random_state=0)
churn = LogisticRegression().fit(X, y)
"""


class Notebook:
    """A kernel of its own, and what its cells print."""

    def __init__(self, folder: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MVAULT_")}
        environment.update(
            HOME=str(folder), XDG_CONFIG_HOME="", XDG_STATE_HOME="", PYTHONDONTWRITEBYTECODE="1"
        )
        self._manager, self._client = start_new_kernel(cwd=str(folder), env=environment)
        self.prompts: list[str] = []

    def run(self, code: str, *answers: str) -> str:
        """Run a cell, answer its prompts in order, and give what it printed."""
        printed: list[str] = []
        waiting = list(answers)

        def output(message: dict[str, dict[str, str]]) -> None:
            content = message["content"]
            printed.append(content.get("text", "") + content.get("evalue", ""))

        def prompt(message: dict[str, dict[str, str]]) -> None:
            assert message["content"]["password"], "what is typed must not be shown"
            self.prompts.append(message["content"]["prompt"])
            self._client.input(waiting.pop(0))

        self._client.execute_interactive(
            code, allow_stdin=True, stdin_hook=prompt, output_hook=output, timeout=SECONDS
        )
        assert not waiting
        return "".join(printed)

    def restart(self) -> None:
        """Start over with an empty kernel."""
        self._manager.restart_kernel(now=True)
        self._client.wait_for_ready(timeout=SECONDS)
        self.prompts.clear()

    def close(self) -> None:
        """End the kernel."""
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


@pytest.fixture
def notebook(tmp_path: Path) -> Iterator[Notebook]:
    """A notebook in an empty home folder."""
    opened = Notebook(tmp_path)
    try:
        yield opened
    finally:
        opened.close()


@pytest.mark.slow
def test_the_ten_minute_start_works_in_a_notebook_and_asks_for_the_passphrase_once_a_process(
    notebook: Notebook,
) -> None:
    """Init, save, promote, load; then a new kernel that opens the vault again."""
    notebook.run("import vault; v = vault.init('models/')", "correct horse", "correct horse")
    assert [prompt.split(" ")[0] for prompt in notebook.prompts] == ["New", "The"]
    notebook.run(TRAIN)
    saved = notebook.run("ref = v.save_model('churn', churn, sample_input=X[:100]); print(ref)")
    assert saved.strip() == "churn:1"
    notebook.run("v.promote(ref, env='prod')")
    assert notebook.run("print(v.load_model('churn@prod'))").strip() == "LogisticRegression()"

    notebook.restart()
    notebook.run("import vault; v = vault.open('models/')")
    assert notebook.prompts == []
    loaded = notebook.run("print(v.load_model('churn@prod'))", "correct horse")
    assert loaded.strip() == "LogisticRegression()"
    again = notebook.run("print(vault.open('models/').load_model('churn:1'))")
    assert again.strip() == "LogisticRegression()"
    assert len(notebook.prompts) == 1

    notebook.restart()
    assert "passphrase" in notebook.run("import vault; vault.open('models/').load_model('churn')", "wrong")
