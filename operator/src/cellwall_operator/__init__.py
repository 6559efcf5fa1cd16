"""The operator: watches the resources of cellwall.dev, plans, applies."""
