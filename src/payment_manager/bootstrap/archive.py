"""The archive, where one is set."""

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
