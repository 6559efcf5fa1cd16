"""A world that people walk around in: started, kept, watched and changed by hand."""
