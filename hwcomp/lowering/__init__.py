"""From programs to what runtimes execute; one runtime per file, heavy imports inside."""
