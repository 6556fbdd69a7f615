"""What the wire lets in, the database keeps, byte for byte: no webhook is a poison message."""

import pytest

from payment_manager.application.ports import Space
from payment_manager.contracts.wire import DEPTH_MAX, DIGITS_MAX
from payment_manager.domain.dispute_id import dispute_id_of
from tests.application.world import World
from tests.webhooks import chargeback_webhook, order_webhook

pytestmark = pytest.mark.asyncio(loop_scope="module")

STRANGE = {
    "as deep as it may be": b"[" * (DEPTH_MAX - 1) + b"]" * (DEPTH_MAX - 1),
    "deep where a later key hides it": b"[" * 500 + b"]" * 500 + b',"x":1',
    "a huge exponent": b"1e999999999999999999",
    "a tiny exponent": b"-1e-999999999999999999",
    "as many digits as it may have": b"9" * DIGITS_MAX,
    "a long integer with zeros": b"7" + b"0" * 200,
    "characters outside of every plane's middle": '"😀\U0010ffff\uffff\u2028\x7f\x80"'.encode(),
    "escapes": b'"\\ud83d\\ude00\\u00e9\\/\\b\\f\\n\\r\\t\\"\\\\\\\\u0000"',
    "blanks": b" [ 1 ,\r\n\t2 ] ",
    "repeated keys": b'{"a":1,"a":2,"":3,"":{}}',
    "a key in all letters": '{"ключ \\\\ \' $1 %s {} :x":null}'.encode(),
    "a long text": b'"' + b"x" * 200_000 + b'"',
    "a text like SQL": b'"\'); DROP TABLE orders; --"',
}


async def test_a_strange_payload_is_taken_parked_and_given_back(world: World) -> None:
    for n, (name, strange) in enumerate(STRANGE.items()):
        order_id = f"ord-{n}"
        chargeback = b'{"x":' + strange + b"," + chargeback_webhook(order_id)[1:]
        snapshot = b'{"x":' + strange + b"," + order_webhook(order_id)[1:]
        sent = (chargeback, snapshot, snapshot, chargeback)
        outcomes = [(await world.receive(body))[0].outcome for body in sent]
        assert outcomes == ["parked", "applied", "duplicate", "duplicate"], name
        [parked] = await world.events(Space.DISPUTE, str(dispute_id_of(order_id)))
        [taken] = await world.events(Space.ORDER, order_id)
        assert parked.data.startswith(
            b'{"outcome":"applied","payload":%b,"parked_at":"' % chargeback
        ), name
        assert taken.data == b'{"outcome":"applied","payload":%b}' % snapshot, name
