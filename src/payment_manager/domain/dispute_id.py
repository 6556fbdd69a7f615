"""A dispute's identity, which anybody can derive who knows its order."""

from uuid import UUID, uuid5

# Drawn once, at random. Changing it would give every dispute a new identity.
_DISPUTES = UUID("6f6b7b1e-9c57-4f1c-8f0a-0a3f0f6f2c51")


def dispute_id_of(order_id: str) -> UUID:
    """The dispute of this order: the same on every replica and in every replay."""
    return uuid5(_DISPUTES, order_id)
