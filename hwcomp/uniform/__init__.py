"""A network as it is, in one precision throughout, for each runtime that may run it; the fastest is taken."""
