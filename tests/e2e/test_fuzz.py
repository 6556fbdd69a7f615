"""The service against its own OpenAPI document: what it takes, refuses and answers is what is said.

How to think about it: schemathesis makes requests out of the document, valid ones and broken ones,
and holds each answer against it. What JSON Schema can't say (a currency's decimals, an order that
has to be there) may turn a valid request into a 4xx; nothing may turn one into a 5xx.
"""

import subprocess
from pathlib import Path

import pytest

from tests.e2e.service import COMMAND, Service

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "positive_data_acceptance",
)

CONFIGURATION = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 400, 404, 409, 422]
"""

EXAMPLES = 25
"""A route, beside those that try each limit of each field."""


@pytest.mark.timeout(600)
def test_every_answer_is_what_the_document_says(service: Service, tmp_path: Path) -> None:
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(CONFIGURATION)
    done = subprocess.run(
        [
            *(COMMAND.with_name("schemathesis"), "--config-file", configuration),
            *("run", f"{service.url}/openapi.json", "--checks", ",".join(CHECKS)),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES)),
            # The same requests each time, however slowly they are made and answered.
            *("--generation-deterministic", "--no-color"),
            *("--suppress-health-check", "all", "--request-timeout", "60"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    with service.client() as api:
        fives = [line for line in api.get("/metrics").text.splitlines() if 'status="5' in line]
    assert fives == []
    service.verify()
