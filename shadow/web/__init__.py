from shadow.web.admin import AdminSettings, Prices
from shadow.web.app import build_app

__all__ = ["AdminSettings", "Prices", "build_app"]
