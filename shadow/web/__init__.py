from shadow.web.admin import AdminSettings, Prices
from shadow.web.app import build_app
from shadow.web.verdicts import VerdictApi

__all__ = ["AdminSettings", "Prices", "VerdictApi", "build_app"]
