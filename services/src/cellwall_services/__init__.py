"""The services: metadata nodes, storage hosts, the front end; they share formats and the core, no code."""
