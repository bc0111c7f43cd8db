"""Property tests are repeatable wherever a failure must mean a change: in CI and under make."""

import os

from hypothesis import HealthCheck, settings

# the same examples every time, none kept from an earlier run, and nothing that depends on how fast the machine is
settings.register_profile(
    "repeatable",
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("search", deadline=None)
# no test asks a package index
os.environ["PIP_NO_INDEX"] = "1"
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("repeatable" if os.environ.get("CI") else "search"))
