"""What runs on a person's device: the private store of events, the examples made of them, and the tuner."""
