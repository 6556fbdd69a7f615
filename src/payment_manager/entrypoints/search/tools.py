"""What the commands about search work with; a command imports what that is when it is called."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from payment_manager.application.build_search import BuildSearch
    from payment_manager.application.check_search import Estimates
    from payment_manager.application.ports import Clock, EventTail, SearchIndex, WholeLog


@dataclass(frozen=True, slots=True)
class Tools:
    """`rows`: about how many of each kind PostgreSQL has."""

    tail: "EventTail"
    whole: "WholeLog"
    index: "SearchIndex"
    build: "BuildSearch"
    rows: "Estimates"
    clock: "Clock"
