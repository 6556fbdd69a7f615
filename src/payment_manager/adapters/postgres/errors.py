"""The driver's errors, translated at the border.

How to think about it: the exception's type decides a message's fate, so the question is only
whether the same call may succeed later. A connection, a deadlock, a full disk, a server in
recovery, even a missing table (a deployment's trouble, not the message's): later. A value or a
constraint that refuses this very write: never.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from payment_manager.application.ports import Unavailable, WriteRefused


@contextmanager
def translated() -> Iterator[None]:
    """Raises `WriteRefused` for SQLSTATE classes 22 and 23, `Unavailable` for all else that the
    driver raises.
    """
    try:
        yield
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        # The constraint's name and no more: the server's own words show the row that it refused.
        words = (type(error).__name__, error.sqlstate, error.diag.constraint_name)
        raise WriteRefused(" ".join(word for word in words if word)) from error
    except psycopg.Error as error:
        raise Unavailable(f"{type(error).__name__} {error.sqlstate or ''}".strip()) from error
