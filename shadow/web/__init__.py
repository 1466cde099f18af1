from shadow.web.admin import AdminSettings, Prices
from shadow.web.app import build_app
from shadow.web.verdicts import VerdictApi
from shadow.web.weekly import WeeklyApi

__all__ = ["AdminSettings", "Prices", "VerdictApi", "WeeklyApi", "build_app"]
