"""Range reads over replicas: what several answers say together, and what a reader may be told of it."""
