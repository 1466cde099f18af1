from shadow.web.dashboard.site import Dashboard

__all__ = ["Dashboard"]
