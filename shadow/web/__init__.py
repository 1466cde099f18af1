from shadow.web.admin import AdminSettings, Prices
from shadow.web.app import build_app
from shadow.web.weekly import WeeklyApi

__all__ = ["AdminSettings", "Prices", "WeeklyApi", "build_app"]
