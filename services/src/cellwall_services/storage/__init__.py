"""A storage host: many logical storage servers, each with its agent, its store and its part in every cut."""
