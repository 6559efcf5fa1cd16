"""The backends: simulation, local processes; each a world server with the same verbs."""
