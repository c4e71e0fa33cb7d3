"""An ARM core that nobody has at hand: qemu runs the real runtime, and a plugin counts the instructions it executes."""
