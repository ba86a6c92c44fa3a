"""One forward derivative of torch at a time.

torch counts the levels of forward derivatives for the whole process: with two threads at once a
product, its backward half too, ends in an error or in wrong numbers. Whoever takes one, whatever
the topic, holds this lock meanwhile.
"""

from threading import RLock

FORWARD = RLock()
