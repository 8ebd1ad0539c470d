"""One folder for each architecture, with only what is special to it."""
