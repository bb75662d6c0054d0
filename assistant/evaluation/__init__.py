"""Measures the quality of a turn: on a gold set written by hand, and on people's turns of ReDial."""
