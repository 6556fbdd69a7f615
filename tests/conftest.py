"""What holds for every test: on CI nothing is skipped.

A skip is for a machine that can't have a server. On CI it would be a test that nobody runs any
more, so there the run fails; elsewhere pytest lists the skips with their reasons at the end.
"""

import os

import pytest


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    on_ci = os.environ.get("CI", "").lower() in {"1", "true", "yes"}
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if not on_ci or terminal is None or hasattr(session.config, "workerinput"):
        return
    if terminal.stats.get("skipped") and session.exitstatus == pytest.ExitCode.OK:
        terminal.write_line("CI: a skipped test is a failure", red=True, bold=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
