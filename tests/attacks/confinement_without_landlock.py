"""The process that converts, as on a kernel without Landlock; the tests start it in place of the real one."""

from unittest import mock

from vault.actions import convert_child
from vault.confinement import landlock


def main() -> None:
    """Take Landlock away, then go on as ever."""
    with mock.patch.object(landlock, "abi", return_value=0):
        convert_child.main()
