"""The process that converts, as on a kernel without seccomp; the tests start it in place of the real one."""

from unittest import mock

from vault.actions import convert_child
from vault.confinement import seccomp


def main() -> None:
    """Take seccomp away, then go on as ever."""
    with mock.patch.object(seccomp, "available", return_value=False):
        convert_child.main()
