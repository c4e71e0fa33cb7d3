"""Where models run and are timed; one kind of device per file."""
