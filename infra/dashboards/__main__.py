"""Puts the dashboard into OpenSearch Dashboards: `python -m infra.dashboards [URL]`."""

import sys

from infra.dashboards import DASHBOARD, ImportFailed, address, import_into, saved_objects
from infra.launcher import LocalSettings
from payment_manager.settings import SettingsError, load


def main() -> None:
    try:
        # Which mode `.env` names doesn't matter here.
        settings = load(LocalSettings, webhook_mode="sync")
        assert isinstance(settings, LocalSettings)
        url = sys.argv[1] if sys.argv[1:] else f"http://127.0.0.1:{settings.dashboards_port}"
        objects = saved_objects(settings)
        import_into(url, objects)
    except (ImportFailed, SettingsError) as error:
        sys.exit(str(error))
    print(f"Imported {len(objects)} objects; see {address(url)}/app/dashboards#/view/{DASHBOARD}")


if __name__ == "__main__":
    main()
