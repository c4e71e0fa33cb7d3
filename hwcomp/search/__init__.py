"""Search methods, one per file: from a cost table to an assignment."""
