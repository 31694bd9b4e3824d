"""Progress of work in stages, and its display on a terminal."""
