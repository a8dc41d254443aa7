"""Receive bounces and complaints: a listener behind a mail server, and a poller of a mailbox."""
