"""The archive, where one is set; and what a proof of the log must know of retention."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from payment_manager.settings import Settings, SettingsError

if TYPE_CHECKING:
    from payment_manager.adapters.parquet.archive import ParquetArchive


def archive_of(settings: Settings) -> "ParquetArchive | None":
    """None where no archive is set. Raises `SettingsError` where its library is missing.

    The library is optional and large: who needs no archive doesn't load it.
    """
    if settings.events_archive_dir is None:
        return None
    try:
        from payment_manager.adapters.parquet.archive import ParquetArchive
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "pyarrow":
            raise
        raise SettingsError(
            "These settings are wrong:\n"
            "  EVENTS_ARCHIVE_DIR: needs the extra: pip install 'payment-manager[archive]'"
        ) from None
    return ParquetArchive(settings.events_archive_dir)


def ids_known_since(settings: Settings, now: datetime) -> datetime:
    """Ids of webhooks taken before may be forgotten by now.

    A minute more: an id bears the time of its batch, which is a little before its event's, and
    processes' clocks differ.
    """
    return now - settings.webhook_ids_retention + timedelta(minutes=1)
