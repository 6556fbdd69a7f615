"""The key that the provider sees: fixed for ever, and each question has its own (decision 4)."""

from payment_manager.application.ask_provider import provider_key
from payment_manager.application.ports import Space


def test_the_providers_key_never_changes() -> None:
    """Another result for a question that is open would be a second capture."""
    assert provider_key(Space.ORDER, "ord-1", "k") == "f3560386-fe91-5425-98df-2aa6df4e7030"
    assert provider_key(Space.DISPUTE, "ord-1", "k") == "2265a74d-c896-502c-a4cd-49d3afc064ac"


def test_no_two_questions_share_a_providers_key() -> None:
    asked = [
        (space, order_id, key)
        for space in Space
        for order_id in ("a", "ab", "a:b", "order")
        for key in ("b", "a", "a b", ":", "order", "dispute")
    ]
    assert len({provider_key(*question) for question in asked}) == len(asked)
