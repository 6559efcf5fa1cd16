"""The Chaos Toolkit extension: actions, probes and the control of a world under test.

Decides nothing; `chaos discover --no-install cellwall` lists what there is.
"""

from __future__ import annotations

from typing import Any

__all__ = ["discover", "load_exported_activities"]


def load_exported_activities() -> list[Any]:
    """Every action and probe, as Chaos Toolkit describes them."""
    # Only `chaos discover` needs the toolkit; importing it here would cost the runbook its plain start.
    from chaoslib.discovery.discover import discover_actions, discover_probes

    return [*discover_actions("cellwall_lab.chaos.actions"), *discover_probes("cellwall_lab.chaos.probes")]


def discover(discover_system: bool = True) -> Any:
    """Called by `chaos discover`."""
    from chaoslib.discovery.discover import initialize_discovery_result

    from cellwall_lab import __name__ as package

    discovery = initialize_discovery_result("chaostoolkit-cellwall", "0.1.0", package)
    discovery["activities"].extend(load_exported_activities())
    return discovery
