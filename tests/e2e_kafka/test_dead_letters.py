"""Dead letters worked through by the installed command, beside services that go on."""

import json
import subprocess
from typing import Any

import httpx
import psycopg

from payment_manager.adapters.postgres.embedded import running_url
from tests.e2e.service import COMMAND, Service, eventually
from tests.e2e_kafka.conftest import Deploy
from tests.webhooks import ANN, order_webhook

ORDERS = "/webhooks/payments/orders"


def dlq(service: Service, *arguments: str, code: int = 0) -> str:
    """What the command prints, beside the running service."""
    done = subprocess.run(
        [COMMAND, "dlq", *arguments],
        env={"PATH": "/usr/bin:/bin", "HOME": str(service.data_dir), **service.settings},
        cwd=service.data_dir,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done.stdout + done.stderr


def listed(service: Service, *arguments: str) -> dict[str, dict[str, Any]]:
    """The letters, by their error class."""
    document = json.loads(dlq(service, "list", "--json", *arguments))
    return {letter["error_class"]: letter for letter in document["letters"]}


def change_schema(service: Service, statement: bytes) -> None:
    url = running_url(service.data_dir)
    assert url is not None
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


REFUSE = b"""
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION USING ERRCODE = 'check_violation', CONSTRAINT = 'not_today'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON orders
FOR EACH ROW WHEN (NEW.order_id = 'ord-refused') EXECUTE FUNCTION refuse()
"""


def test_an_operator_works_through_dead_letters(deploy: Deploy) -> None:
    deployment = deploy()
    deployment.start()
    api, topics = deployment.api, deployment.topics
    change_schema(api, REFUSE)
    for minute in (0, 1):
        body = order_webhook("ord-fine", minute=minute, provider_event_id="evt-twice")
        deployment.deliver(ORDERS, body)
    deployment.deliver(ORDERS, order_webhook("ord-refused"), **{"X-Correlation-ID": "refused-1"})
    topics.put(topics.orders, ANN, b"\x1b]0;poison")
    deployment.settled()

    # Rehearsed: told, and nothing changed.
    before = listed(api)
    assert before.keys() == {"InvalidInput", "WebhookConflict", "WriteRefused"}
    assert before["WriteRefused"]["order_id"] == "ord-refused"
    ends = topics.ends(topics.orders)
    told = dlq(api, "replay", "--all", code=1)
    assert "2 letters would be replayed; 1 would be left as they are" in told
    assert "left, since it would still fail: must be an envelope" in told
    assert api.query("SELECT count(*)::int FROM dead_letter_actions") == [(0,)]
    assert topics.ends(topics.orders) == ends

    # What kept it from being applied is gone: the replay is applied, as the same webhook.
    change_schema(api, b"DROP TRIGGER refuse ON orders")
    reason = ["--yes", "--reason", "the trigger is gone", "--actor", "ann"]
    dlq(api, "replay", "--error-class", "WriteRefused", *reason)
    # What is still wrong comes back, once, and remembers.
    conflict = before["WebhookConflict"]
    dlq(api, "replay", conflict["id"], *reason)
    deployment.settled()
    assert deployment.operators.get("/orders/ord-refused").status_code == httpx.codes.OK
    events = "SELECT correlation_id FROM order_events WHERE order_id = 'ord-refused'"
    assert api.query(events) == [("refused-1",)]
    now = listed(api)
    assert now.keys() == {"InvalidInput", "WebhookConflict"}
    back = now["WebhookConflict"]
    assert (back["attempts"], back["first_failure"]) == (2, conflict["first_failure"])
    assert back["id"] != conflict["id"]

    # Dropped: gone from the list, kept with who and why.
    dlq(api, "drop", "--all", "--yes", "--reason", "seen by the sender")
    assert dlq(api, "list") == "no open dead letters\n"
    rows = api.query(
        "SELECT action, error_class, reason, actor = 'ann' FROM dead_letter_actions"
        " WHERE NOT is_copy ORDER BY 1, 2"
    )
    assert rows == [
        ("dropped", "InvalidInput", "seen by the sender", False),
        ("dropped", "WebhookConflict", "seen by the sender", False),
        ("replayed", "WebhookConflict", "the trigger is gone", True),
        ("replayed", "WriteRefused", "the trigger is gone", True),
    ]
    # Counted beside the consumers, every fifteen seconds.
    eventually(lambda: deployment.metric(api, "dead_letters_replayed", space="order") == 2, 90)
    eventually(lambda: deployment.metric(api, "dead_letters_open", space="order") == 0, 90)
    api.verify()
    deployment.stop()
