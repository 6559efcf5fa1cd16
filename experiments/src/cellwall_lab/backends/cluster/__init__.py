"""The Kubernetes backend's parts: a world whose services are pods."""
