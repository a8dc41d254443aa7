"""Tidings: notifications by email, SMS and push that are not lost and not sent twice."""
