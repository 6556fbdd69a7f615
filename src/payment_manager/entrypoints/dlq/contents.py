"""What a message says, read as a consumer of this version would read it."""

import msgspec

from payment_manager.application.ports import Message, Space
from payment_manager.contracts.wire import InvalidInput
from payment_manager.entrypoints.worker.reading import read


class _Webhook(msgspec.Struct):
    order_id: str


class _Envelope(msgspec.Struct):
    payload: _Webhook


_peek = msgspec.json.Decoder(_Envelope).decode


class ReadContents:
    """`Contents`."""

    def fault(self, message: Message, space: Space) -> str | None:
        try:
            read(message, space)
        except InvalidInput as invalid:
            return str(invalid)
        except Exception as fault:  # what a consumer dead-letters too
            return f"a fault in the service ({type(fault).__name__})"
        return None

    def order_id(self, message: Message) -> str | None:
        """Of a message that is wrong elsewhere, too."""
        try:
            return _peek(message.value or b"").payload.order_id
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
