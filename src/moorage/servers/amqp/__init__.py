"""AMQP 1.0 behind the doors: one connection, its credentials, and the nodes that its links go to."""
