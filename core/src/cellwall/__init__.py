"""The pure core of Cellwall: values and decisions, no clock, socket, file, log or random generator.

Everything here is used unchanged by the services, the operator and the simulation.
Time comes in as ``now_s`` and chance as an ``rng`` argument, so the same input gives the same output (I1).
"""

__version__ = "0.1.0"
