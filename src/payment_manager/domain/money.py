"""Money: an integer number of minor units and a currency, never a float."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Money:
    minor: int
    currency: str
