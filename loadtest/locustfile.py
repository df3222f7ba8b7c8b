"""What `locust -f loadtest/locustfile.py` runs; all of it is in the package."""

from clickclean_loadtest.locustfile import TritonUser

__all__ = ["TritonUser"]
