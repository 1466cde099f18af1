from shadow.alerts.courier import AlertCourier
from shadow.alerts.patrol import Patrol
from shadow.alerts.posting import NO_APPRISE, TargetPoster

__all__ = ["NO_APPRISE", "AlertCourier", "Patrol", "TargetPoster"]
