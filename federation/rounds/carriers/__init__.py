"""What carries messages between server and devices: one process, Ray, or SuperLink and SuperNodes."""
