"""A Silvergate to develop, test and learn against: real HTTP, real memory, faults on request.

How to think about it: `app` is the provider's rules, `faults` what people asked to go wrong,
`ledger` what it remembers across restarts, `server` the way to run it.
"""

from payment_manager.adapters.silvergate.simulator.app import (
    CAPTURE_PATH,
    SUBMIT_REPRESENTMENT_PATH,
    Simulator,
    create_app,
)
from payment_manager.adapters.silvergate.simulator.faults import Fault
from payment_manager.adapters.silvergate.simulator.server import (
    RunningSimulator,
    running_simulator,
    serve,
)

__all__ = [
    "CAPTURE_PATH",
    "SUBMIT_REPRESENTMENT_PATH",
    "Fault",
    "RunningSimulator",
    "Simulator",
    "create_app",
    "running_simulator",
    "serve",
]
