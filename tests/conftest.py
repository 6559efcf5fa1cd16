"""Settings shared by all tests. Helpers live beside the tests that use them."""

from hypothesis import HealthCheck, settings

# No deadline and no complaint about slowness: the suite also runs on two busy cores, and a timed
# assert would test the neighbours. Random, not derandomized: every run looks in new places, and a
# failure prints the blob that repeats it.
settings.register_profile(
    "ci",
    deadline=None,
    derandomize=False,
    print_blob=True,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci")
